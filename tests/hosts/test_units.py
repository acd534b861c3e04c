"""Driver systemd on a real host: what systemd does by itself, and what is told of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from longshore.drivers.base import DriverError, Exit, Handle, Launch, LogLine, Output
from longshore.drivers.systemd.driver import SystemdDriver
from longshore.drivers.systemd.existing import Existing
from longshore.errors import LeaseLost
from longshore.model import Resources, Systemd
from support.hosts import Host, HostSet, HostsMissing, open_hosts
from support.launching import until
from support.units import RELEASE, WORK, driver_for, launch_there

pytestmark = pytest.mark.slow

SERVER = """
import http.server, os
http.server.HTTPServer(("0.0.0.0", int(os.environ["PORT"])), http.server.BaseHTTPRequestHandler).serve_forever()
"""
#: says that it is ready after a second, and that it is alive as often as it should
NOTIFIER = """
import os, socket, sys, time
def say(what):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(what, os.environ["NOTIFY_SOCKET"])
time.sleep(float(sys.argv[1]))
say(b"READY=1")
for _ in range(int(sys.argv[2])):
    say(b"WATCHDOG=1")
    time.sleep(0.2)
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSet]:
    try:
        with open_hosts(tmp_path_factory.mktemp("units"), 1) as hosts, hosts.inside():
            yield hosts
    except HostsMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def host(hosts: HostSet) -> Host:
    found: Host = hosts[0]
    return found


@pytest.fixture
async def driver(host: Host) -> AsyncIterator[SystemdDriver]:
    async with driver_for(host) as driver:
        yield driver
        for handle in (await driver.survey()).values():
            await driver.stop(handle, 0)
    assert left_on(host) == ""


def left_on(host: Host) -> str:
    """What there is of ours on a host, apart from what every session leaves."""
    return host.shell(
        "find /etc/systemd /home/deploy/.config /home/deploy/.local /var/lib/longshore-host /run/systemd/transient "
        "-name '*shop*' -o -path '*longshore-host/*' ! -name '*.lock' ! -name '*.epoch' ! -name '*.sessions' 2>&1 "
        "| grep -v 'No such file' ; systemctl list-units --all --no-legend '*shop*' 'longshore-*'; "
        "runuser -u deploy -- env XDG_RUNTIME_DIR=/run/user/1000 "
        "systemctl --user list-units --all --no-legend '*shop*'",
        expect=None,
    ).strip()


def ignore(handle: Handle) -> None:
    """The persist of a test that has its handle anyway."""


async def start(driver: SystemdDriver, launch: Launch) -> Handle:
    return await driver.start(launch, ignore)


async def until_ready(driver: SystemdDriver, handle: Handle) -> None:
    async with asyncio.timeout(20):
        while not (found := await driver.inspect(handle)).ready:
            assert found.state == "running", found
            await asyncio.sleep(0.05)


async def until_lines(host: Host, handle: Handle, count: int) -> list[str]:
    found: list[str] = await until(lambda: (lines := said(host, handle))[count - 1 :] and lines, f"{count} lines")
    return found


def said(host: Host, handle: Handle) -> list[str]:
    match = f"_SYSTEMD_INVOCATION_ID={handle['invocation']}"
    return host.shell(f"journalctl --output=cat {match} | iconv -c -f utf-8 -t utf-8", expect=None).splitlines()


# ------------------------------------------------------------------------------------- what systemd does by itself


async def test_what_crashes_is_started_again_by_systemd_and_found_by_its_launch(
    driver: SystemdDriver, host: Host
) -> None:
    launch = launch_there(host)
    handle = await start(driver, launch)
    ended = asyncio.create_task(driver.exited(handle))
    host.ask("systemctl", "kill", "--signal=KILL", handle["unit"])
    assert await ended == Exit(-9)
    successor = await driver.successor(handle)
    assert successor is not None
    assert (await driver.inspect(successor)).state == "running"
    assert await driver.survey() == {launch.launch_id: successor}
    found = await driver.inspect(handle)
    assert (found.state, found.exit) == ("exited", Exit(-9))
    assert "systemd has started it again" in found.message


async def test_what_runs_has_no_successor(driver: SystemdDriver, host: Host) -> None:
    assert await driver.successor(await start(driver, launch_there(host))) is None


async def test_how_a_run_ended_is_known_to_the_next_manager(driver: SystemdDriver, host: Host) -> None:
    handle = await start(driver, launch_there(host, "sleep 0.5; exit 7"))
    await driver.exited(handle)
    assert await driver.successor(handle) is not None
    async with driver_for(host) as fresh:
        assert (await fresh.inspect(handle)).exit == Exit(7)


async def test_after_a_reboot_it_runs_again_without_a_manager(driver: SystemdDriver, host: Host) -> None:
    launch = launch_there(host)
    handle = await start(driver, launch)
    ended = asyncio.create_task(driver.exited(handle))
    host.reboot()
    async with asyncio.timeout(30):
        await ended
    successor = await driver.successor(handle)
    assert successor is not None
    assert await driver.survey() == {launch.launch_id: successor}


async def test_after_a_power_cut_it_runs_again_without_a_manager(driver: SystemdDriver, host: Host) -> None:
    handle = await start(driver, launch_there(host))
    host.crash()
    host.start()
    async with driver_for(host) as fresh:
        successor = await fresh.successor(handle)
        assert successor is not None
        await fresh.stop(handle, 5)


async def test_who_waits_for_an_instance_waits_through_a_lost_connection(host: Host) -> None:
    async with driver_for(host, keepalive="1s") as driver:
        handle = await start(driver, launch_there(host))
        ended = asyncio.create_task(driver.exited(handle))
        host.cut()
        found = await driver.inspect(handle)
        assert (found.state, ended.done()) == ("unknown", False)
        host.ask("systemctl", "kill", "--signal=KILL", handle["unit"])
        host.mend()
        async with asyncio.timeout(30):
            assert await ended == Exit(-9)
        await driver.stop(handle, 0)


async def test_a_manager_that_was_replaced_changes_nothing(host: Host) -> None:
    async with driver_for(host, manager_id="replaced", epoch=1) as older:
        handle = await start(older, launch_there(host))
        async with driver_for(host, manager_id="replaced", epoch=2) as newer:
            assert (await newer.inspect(handle)).state == "running"
            with pytest.raises(LeaseLost):
                await older.stop(handle, 5)
            with pytest.raises(LeaseLost):
                await start(older, launch_there(host, instance="shop-1-1"))
            assert (await newer.inspect(handle)).state == "running"
            await newer.stop(handle, 5)
    assert left_on(host) == ""


# ---------------------------------------------------------------------------------------------- limits and ends


async def test_what_goes_over_its_memory_limit_ends_and_that_is_named(driver: SystemdDriver, hosts: HostSet) -> None:
    if "memory" not in hosts.limits:
        pytest.skip("no memory controller on these hosts")
    greedy = "import time; time.sleep(0.5); x = bytearray(300 << 20); time.sleep(60)"
    launch = launch_there(hosts[0], ("python3", "-S", "-c", greedy), resources=Resources(memory=64 << 20))
    handle = await start(driver, launch)
    async with asyncio.timeout(30):
        await driver.exited(handle)
    assert "memory limit" in (await driver.inspect(handle)).message


async def test_limits_hold_from_the_first_instruction_on(driver: SystemdDriver, hosts: HostSet) -> None:
    limits = Resources(tasks=20, files=77, cpu=0.5)
    handle = await start(driver, launch_there(hosts[0], "ulimit -n; exec sleep 60", resources=limits))
    assert await until_lines(hosts[0], handle, 1) == ["77"]
    assert hosts[0].show(handle["unit"], "TasksMax") == "20"
    assert hosts[0].show(handle["unit"], "CPUQuotaPerSecUSec") == "500ms"


async def test_a_watchdog_that_hears_nothing_ends_it_and_that_is_named(driver: SystemdDriver, host: Host) -> None:
    asked = Systemd(type="notify", watchdog=1.0)
    handle = await start(driver, launch_there(host, ("python3", "-S", "-c", NOTIFIER, "0", "3"), systemd=asked))
    async with asyncio.timeout(30):
        await driver.exited(handle)
    assert "watchdog" in (await driver.inspect(handle)).message


async def test_an_application_that_notifies_is_ready_when_it_says_so(driver: SystemdDriver, host: Host) -> None:
    launch = launch_there(host, ("python3", "-S", "-c", NOTIFIER, "1", "0"), systemd=Systemd(type="notify"))
    handle = await start(driver, launch)
    found = await driver.inspect(handle)
    assert (found.state, found.ready, driver.notifies(handle)) == ("running", False, True)
    await until_ready(driver, handle)
    assert not driver.notifies(await start(driver, launch_there(host, instance="shop-1-1")))


async def test_what_ignores_sigterm_is_killed_after_the_grace(driver: SystemdDriver, host: Host) -> None:
    handle = await start(driver, launch_there(host, "trap '' TERM; echo up; while :; do sleep 1; done"))
    await until_lines(host, handle, 1)
    stopped = await driver.stop(handle, 0.5)
    assert (stopped.killed, stopped.exit) == (True, Exit(-9))


async def test_a_grace_beyond_what_its_unit_says_is_given(driver: SystemdDriver, host: Host) -> None:
    slow = "trap 'sleep 2; exit 5' TERM; echo up; while :; do sleep 0.1; done"
    handle = await start(driver, launch_there(host, slow, stop_timeout=0.2))
    await until_lines(host, handle, 1)
    stopped = await driver.stop(handle, 20)
    assert (stopped.killed, stopped.exit) == (False, Exit(5))


async def test_an_older_handle_does_not_stop_a_newer_launch(driver: SystemdDriver, host: Host) -> None:
    older = await start(driver, launch_there(host))
    newer = await start(driver, launch_there(host))
    assert (await driver.inspect(older)).state == "exited"
    await driver.stop(older, 5)
    assert (await driver.inspect(newer)).state == "running"


async def test_starting_the_same_launch_again_is_starting_it_once(driver: SystemdDriver, host: Host) -> None:
    launch = launch_there(host)
    assert await start(driver, launch) == await start(driver, launch)


async def test_a_template_stays_until_its_last_instance_goes(driver: SystemdDriver, host: Host) -> None:
    first = await start(driver, launch_there(host))
    second = await start(driver, launch_there(host, instance="shop-1-1"))
    await driver.stop(first, 5)
    assert host.path("/etc/systemd/system/shop@.service").exists()
    await driver.stop(second, 5)
    assert not host.path("/etc/systemd/system/shop@.service").exists()


# ------------------------------------------------------------------------------------------- what cannot be started


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"command": ("./missing",)}, "no such program: /srv/shop/releases/1/missing"),
        ({"command": ("missing",)}, "Failed to locate executable missing"),
        ({"command": ("/etc/passwd",)}, "/etc/passwd is not executable: give it the executable bit"),
        ({"user": "nosuch"}, "there is no user 'nosuch'"),
        ({"command": ("missing",), "systemd": Systemd(type="notify")}, "Failed to locate executable missing"),
        ({"environment": {"A.B": "1"}}, "the variable 'A.B' cannot be given to a unit of systemd"),
    ],
)
async def test_what_cannot_be_executed_is_refused_with_the_reason_and_leaves_nothing(
    driver: SystemdDriver, host: Host, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DriverError) as caught:
        await start(driver, launch_there(host, **changes))
    assert words in str(caught.value)
    assert left_on(host) == ""


async def test_a_program_without_an_interpreter_is_refused(driver: SystemdDriver, host: Host) -> None:
    launch = launch_there(host, ("./run",))
    program = host.path(RELEASE / "run")
    program.write_text("#!/no/such/shell\n")
    program.chmod(0o755)
    with pytest.raises(DriverError, match="Failed to execute"):
        await start(driver, launch)


async def test_a_directory_that_is_missing_is_named(driver: SystemdDriver, host: Host) -> None:
    launch = launch_there(host, directory=Path("/srv/gone"))
    host.path("/srv/gone").rmdir()
    with pytest.raises(DriverError, match="the directory /srv/gone to run in does not exist"):
        await start(driver, launch)


async def test_a_template_of_somebody_elses_is_not_written_over(driver: SystemdDriver, host: Host) -> None:
    theirs = host.path("/etc/systemd/system/shop@.service")
    theirs.write_text("[Service]\nExecStart=/bin/true\n")
    try:
        with pytest.raises(DriverError, match="is not Longshore's: choose another service_name"):
            await start(driver, launch_there(host))
        assert theirs.read_text() == "[Service]\nExecStart=/bin/true\n"
    finally:
        theirs.unlink()


async def test_two_deployments_do_not_share_a_service(driver: SystemdDriver, host: Host) -> None:
    await start(driver, launch_there(host))
    with pytest.raises(DriverError, match="belongs to another deployment or manager"):
        await start(driver, launch_there(host, deployment="other", instance="other-1-0"))


# ------------------------------------------------------------------------------------------------ what it is given


VARIABLES = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=60)
SHOW = """
import json, os, sys, time
with open("shown.new", "w") as file:
    json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], file)
os.rename("shown.new", "shown.json")
time.sleep(600)
"""


async def test_a_unit_is_given_exactly_what_was_meant(driver: SystemdDriver, host: Host) -> None:
    """Examples at random, all of them by one unit: 40 units would take a minute."""
    values: list[str] = [
        '%h $A ${A} "',
        "'",
        "\\",
        "\\n",
        "\n\n",
        "# ;",
        "`x`",
        " a ",
        "ü€🚢",
        "\x01\x7f\t\r",
        "$$",
        "%%",
        ";",
    ]

    @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
    @given(VARIABLES)
    def collect(value: str) -> None:
        values.append(value)

    collect()
    environment = {f"V{number}": value for number, value in enumerate(values)}
    shown = RELEASE / "shown.json"
    launch = launch_there(host, ("/usr/bin/python3", "-S", "-c", SHOW, *values), environment=environment)
    await start(driver, launch)
    await until(lambda: host.path(shown).exists() and host.path(shown).read_text(), "what it was given")
    arguments, found, directory = json.loads(host.path(shown).read_text())
    assert arguments == values
    assert {name: found.get(name) for name in environment} == environment
    assert directory == str(RELEASE)


@pytest.mark.parametrize("sandbox", ["off", "full", "strict"])
async def test_an_application_runs_in_each_sandbox_and_writes_its_own_directories(
    driver: SystemdDriver, host: Host, sandbox: Any
) -> None:
    launch = launch_there(
        host,
        "touch own && touch /srv/shop/shared/own && touch /tmp/own && echo own; touch /etc/strange && echo strange; "
        "exec sleep 60",
        systemd=Systemd(sandbox=sandbox),
    )
    host.path(WORK / "shared").mkdir(exist_ok=True)
    handle = await start(driver, launch)
    lines = await until_lines(host, handle, 2)
    assert lines[0] == "own"
    assert ("strange" in lines) == (sandbox == "off")
    host.path("/etc/strange").unlink(missing_ok=True)


async def test_a_dynamic_user_exists_while_it_runs(driver: SystemdDriver, host: Host) -> None:
    host.path(RELEASE).mkdir(parents=True, exist_ok=True)
    for place in ("/srv", WORK, WORK / "releases", RELEASE):
        host.path(place).chmod(0o755)
    handle = await start(driver, launch_there(host, "id -u; exec sleep 60", systemd=Systemd(dynamic_user=True)))
    (uid,) = await until_lines(host, handle, 1)
    assert int(uid) > 60000


async def test_it_runs_as_its_user(driver: SystemdDriver, host: Host) -> None:
    handle = await start(driver, launch_there(host, "id -un; echo $HOME; exec sleep 60", user="deploy"))
    assert await until_lines(host, handle, 2) == ["deploy", "/home/deploy"]


# --------------------------------------------------------------------------------------------------------- ports


async def test_ports_connections_and_strangers_are_found_where_it_runs(driver: SystemdDriver, host: Host) -> None:
    launch = launch_there(host, ("python3", "-S", "-c", SERVER), environment={"PORT": "8111"}, port=8111)
    handle = await start(driver, launch)
    await until(lambda: not refuses(host.address, 8111), "that it listens")
    assert await driver.ports(handle) == {8111}
    other = await start(driver, launch_there(host, instance="shop-1-1"))
    assert await driver.stranger(handle, 8111) == ""
    assert (await driver.stranger(other, 8111)).startswith("python3 (pid ")
    assert await driver.connections(handle, 8111) == 0
    _, writer = await asyncio.open_connection(host.address, 8111)
    assert await asyncio.gather(*(driver.connections(handle, port) for port in (8111, 8111, 8112))) == [1, 1, 0]
    writer.close()


# ---------------------------------------------------------------------------------------------------------- logs

COUNTER = "for i in 1 2 3 4 5; do echo line $i; sleep 0.05; done; printf 'odd \\377 \\033[1mbold\\n'; exec sleep 600"


def output_of(instance: str, handle: Handle | None = None) -> Output:
    return Output("shop", instance, Path("/unused"), handle, host="host1", service="shop")


async def read(driver: SystemdDriver, instance: str, **asked: Any) -> list[LogLine]:
    async with aclosing(driver.logs(output_of(instance), **asked)) as lines:
        return [line async for line in lines]


async def test_the_last_lines_of_an_instance_are_in_the_journal_also_when_it_is_gone(
    driver: SystemdDriver, host: Host
) -> None:
    launch = launch_there(host, COUNTER, instance="shop-71-0")
    handle = await start(driver, launch)
    await until_lines(host, handle, 6)
    await driver.stop(handle, 1)
    found = await read(driver, "shop-71-0", tail=3)
    assert [line.text for line in found] == ["line 4", "line 5", "odd \ufffd \x1b[1mbold"]
    assert await read(driver, "shop-71-0", since=found[1].latest) == found[1:]
    assert await read(driver, "shop-71-0", tail=0) == []


async def test_what_an_instance_says_is_followed_through_restarts_and_lost_connections(host: Host) -> None:
    chatty = "echo began; i=0; while :; do i=$((i + 1)); echo $i; sleep 0.1; done"
    texts: list[str] = []
    async with driver_for(host, keepalive="1s") as driver, asyncio.timeout(60):
        handle = await start(driver, launch_there(host, chatty, instance="shop-72-0"))
        async with aclosing(driver.logs(output_of("shop-72-0", handle), follow=True)) as lines:
            async for line in lines:
                texts.append(line.text)
                if texts[-1] == "5" and texts.count("5") == 1:
                    host.cut()
                    await asyncio.sleep(4)
                    host.mend()
                elif texts[-1] == "60" and texts.count("60") == 1:
                    host.ask("systemctl", "kill", "--signal=KILL", handle["unit"])
                elif texts[-1] == "3" and texts.count("3") == 2:
                    break
        await driver.stop(handle, 0)
    second = texts.index("began", 1)
    assert texts[:second] == ["began", *(str(number) for number in range(1, second))]
    assert texts[second:] == ["began", "1", "2", "3"]


# ------------------------------------------------------------------------------------------------ the user's own


@pytest.fixture
def own(host: Host) -> Iterator[Host]:
    """A unit of the user's own, with a socket, that runs whatever `current` leads to."""
    for version in ("1", "2"):
        release = host.path(WORK / "releases" / version)
        release.mkdir(parents=True, exist_ok=True)
        (release / "say").write_text(f"#!/bin/sh\necho {version}\nexec sleep 600\n")
        (release / "say").chmod(0o755)
    units = host.path("/etc/systemd/system")
    (units / "own.service").write_text("[Service]\nType=exec\nExecStart=/srv/shop/current/say\n")
    (units / "own.socket").write_text("[Socket]\nListenStream=8222\n")
    host.ask("systemctl", "daemon-reload")
    host.ask("systemctl", "start", "own.socket")
    yield host
    host.ask("systemctl", "stop", "own.socket", "own.service")
    (units / "own.service").unlink()
    (units / "own.socket").unlink()
    host.path(WORK / "current").unlink(missing_ok=True)


def own_launch(host: Host, version: str) -> Launch:
    return launch_there(
        host,
        instance=f"shop-{version}-0",
        service="own",
        systemd=Systemd(unit="existing"),
        directory=WORK / "releases" / version,
    )


async def test_a_unit_of_the_users_own_is_linked_restarted_and_stopped(driver: SystemdDriver, own: Host) -> None:
    first = await start(driver, own_launch(own, "1"))
    launch = own_launch(own, "2")
    second = await start(driver, launch)
    assert own.path(WORK / "current").readlink() == Path("releases/2")
    assert (await until_lines(own, first, 1), await until_lines(own, second, 1)) == (["1"], ["2"])
    assert (await driver.inspect(first)).state == "exited"
    assert await driver.survey() == {launch.launch_id: second}
    await driver.stop(first, 5)  # its unit is another launch's by now
    assert (await driver.inspect(second)).state == "running"
    assert (await driver.stop(second, 5)).exit == Exit(-15)
    assert own.show("own.socket", "ActiveState") == "active"
    assert own.path("/etc/systemd/system/own.service").exists()


async def test_a_unit_that_its_socket_starts_before_it_was_linked_is_restarted(
    driver: SystemdDriver, own: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await start(driver, own_launch(own, "1"))
    await until_lines(own, first, 1)
    own.ask("systemctl", "stop", "own.service")
    claimed = Existing._claim

    async def late(existing: Existing, *args: Any) -> str:
        own.ask("systemctl", "start", "own.service")  # as a connection to its socket does: it runs what was linked
        return await claimed(existing, *args)

    monkeypatch.setattr(Existing, "_claim", late)
    second = await start(driver, own_launch(own, "2"))
    assert await until_lines(own, second, 1) == ["2"]


async def test_starting_a_unit_of_the_users_own_again_restarts_it_once(driver: SystemdDriver, own: Host) -> None:
    launch = own_launch(own, "1")
    assert await start(driver, launch) == await start(driver, launch)


async def test_a_unit_of_the_users_own_that_is_missing_is_named(driver: SystemdDriver, host: Host) -> None:
    launch = launch_there(host, service="nothing", systemd=Systemd(unit="existing"))
    with pytest.raises(DriverError, match=r"there is no unit nothing\.service"):
        await start(driver, launch)


# ---------------------------------------------------------------------------------------------- a user's own systemd


async def test_a_users_own_systemd_runs_instances_and_brings_them_back(host: Host) -> None:
    home = Path("/home/deploy/shop")
    launch = launch_there(
        host,
        ("python3", "-S", "-c", "import time; print('up', flush=True); time.sleep(600)"),
        directory=home,
        working_directory=None,
    )
    async with driver_for(host, scope="user", user="deploy") as driver:
        assert (await driver.fingerprint()).usable
        handle = await start(driver, launch)
        assert (
            host.ask("ps", "-o", "user=", "-p", str(pid_of((await driver.inspect(handle)).message))).strip() == "deploy"
        )
        host.reboot()
        async with asyncio.timeout(30):
            await driver.exited(handle)
            successor = await driver.successor(handle)
        assert successor is not None
        assert (await driver.stop(successor, 5)).exit == Exit(-15)
        assert await driver.survey() == {}
    assert left_on(host) == ""


def pid_of(message: str) -> int:
    return int(message.split()[1].rstrip(","))


def refuses(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) != 0
