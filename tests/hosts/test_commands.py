"""A user's shell lines on a real host: once, whatever happens to the connection and to the manager."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message

from longshore.drivers.base import DriverError
from longshore.drivers.systemd.commands import NotBegun, command_name, end_commands, rollouts_there, run_command
from longshore.hosts import HostUnreachable, SshHost, attempt
from longshore.proc import HookResult
from support.hosts import Host, HostSet, HostsMissing, open_hosts
from support.launching import until

pytestmark = pytest.mark.slow

ROLLOUT = "0192-rollout"
NAME = command_name(ROLLOUT, "pre_deploy", 1)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSet]:
    try:
        with open_hosts(tmp_path_factory.mktemp("commands"), 1) as hosts, hosts.inside():
            hosts[0].shell("mkdir -p /srv/shop; chmod 755 /srv /srv/shop")
            yield hosts
    except HostsMissing as error:
        pytest.skip(str(error))


@pytest.fixture
async def host(hosts: HostSet) -> AsyncIterator[SshHost]:
    """As a manager reaches it; nothing is left on it afterwards."""
    machine: Host = hosts[0]
    found = connected(machine)
    yield found
    await end_commands(found, ROLLOUT)
    await found.close()
    left = machine.shell("ls -d /var/lib/longshore-host/commands/* /run/longshore-0* 2>/dev/null", expect=None)
    assert left == ""
    assert "longshore-0" not in machine.ask("systemctl", "list-units", "--all", "--no-legend")


def connected(machine: Host, **more: Any) -> SshHost:
    return SshHost(machine.settings(**more), machine.ssh(keepalive="1s"), "system", "manager", 1)


async def run(host: SshHost, line: str, name: str = NAME, **changes: Any) -> HookResult:
    given: dict[str, Any] = {
        "directory": Path("/srv/shop"),
        "environment": {"PATH": "/usr/bin:/bin"},
        "user": None,
        "timeout_s": 30.0,
    }
    return await run_command(host, name, line, **(given | changes))


async def test_a_command_says_how_it_ended_and_what_it_printed(host: SshHost) -> None:
    result = await run(host, "pwd; echo oops >&2; exit 4")
    assert (result.exit_code, result.timed_out, result.tail) == (4, False, "/srv/shop\noops\n")


async def test_what_it_says_is_read_while_it_runs(host: SshHost) -> None:
    said = bytearray()
    await host.run("mkfifo /var/tmp/go")
    line = "echo begun; read line < /var/tmp/go; echo done $line"
    running = asyncio.create_task(run(host, line, on_output=said.extend))
    await until(lambda: bytes(said) == b"begun\n", "its first line", 30)
    await host.run("echo at last > /var/tmp/go; rm /var/tmp/go")
    assert (await running).exit_code == 0
    assert bytes(said) == b"begun\ndone at last\n"


async def test_all_of_a_long_output_is_read_once_and_in_order(host: SshHost) -> None:
    said = bytearray()
    # In three pieces, over some seconds.
    line = "for i in $(seq 0 24); do seq -f %09.0f $((i * 10000)) $((i * 10000 + 9999)); sleep 0.1; done"
    result = await run(host, line, on_output=said.extend)
    assert (result.exit_code, len(result.tail)) == (0, 16 * 1024)
    assert said.split() == [b"%09d" % number for number in range(250_000)]


async def test_it_has_the_environment_that_it_was_given(host: SshHost) -> None:
    value = "a \"b\" $C `d` \\e %h 'f'\nü"
    result = await run(host, 'printf %s "$SECRET"', environment={"PATH": "/usr/bin:/bin", "SECRET": value})
    assert result.tail == value


async def test_a_secret_is_in_no_list_of_processes_and_no_property(host: SshHost, hosts: HostSet) -> None:
    running = asyncio.create_task(run(host, "sleep 2", environment={"PATH": "/usr/bin:/bin", "SECRET": "hunter2"}))
    unit = f"longshore-{NAME}.service"
    await until(lambda: hosts[0].show(unit, "ActiveState") == "active", "that it runs", 30)
    seen = hosts[0].ask("systemctl", "show", unit) + hosts[0].ask("ps", "axww", "-o", "args")
    assert "hunter2" not in seen
    await running


async def test_the_same_name_again_is_the_same_run(host: SshHost) -> None:
    first = await run(host, "date +%s%N")
    assert (await run(host, "date +%s%N")).tail == first.tail


async def test_another_name_is_another_run(host: SshHost) -> None:
    first = await run(host, "date +%s%N")
    assert (await run(host, "date +%s%N", command_name(ROLLOUT, "pre_deploy", 2))).tail != first.tail


async def test_at_its_limit_all_of_it_is_killed(host: SshHost, hosts: HostSet) -> None:
    result = await run(host, "echo begun; (sleep 4711 &) ; sleep 4711", timeout_s=1.0)
    assert (result.exit_code, result.timed_out, result.tail) == (None, True, "begun\n")
    assert "sleep 4711" not in hosts[0].ask("ps", "axww", "-o", "args")


async def test_what_it_leaves_running_is_killed(host: SshHost, hosts: HostSet) -> None:
    result = await run(host, "sleep 4712 & echo done")
    assert (result.exit_code, result.tail) == (0, "done\n")
    assert "sleep 4712" not in hosts[0].ask("ps", "axww", "-o", "args")


async def test_a_flood_ends_with_its_last_words_and_fills_nothing(host: SshHost, hosts: HostSet) -> None:
    result = await run(host, "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo end")
    assert (result.exit_code, len(result.tail), result.tail[-5:]) == (0, 16384, "\nend\n")
    assert int(hosts[0].shell(f"du -sk /run/longshore-{NAME} | cut -f1")) < 4000


async def test_it_runs_as_its_user(host: SshHost) -> None:
    assert (await run(host, "id -un; echo $HOME", user="deploy")).tail == "deploy\n/home/deploy\n"


async def test_a_user_that_does_not_exist_is_named(host: SshHost) -> None:
    with pytest.raises(DriverError, match="there is no user 'nosuch'"):
        await run(host, "true", user="nosuch")


async def test_a_directory_that_does_not_exist_is_named(host: SshHost) -> None:
    with pytest.raises(DriverError, match="the directory /srv/gone to run in does not exist"):
        await run(host, "true", directory=Path("/srv/gone"))


async def test_after_a_manager_was_killed_the_next_one_gets_its_result(host: SshHost, hosts: HostSet) -> None:
    line = "echo run >> /srv/shop/runs; sleep 2; echo done"
    killed = asyncio.create_task(run(host, line))
    await until(lambda: hosts[0].path("/srv/shop/runs").exists(), "that it runs", 30)
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    successor = connected(hosts[0])
    assert (await run(successor, line)).tail == "done\n"
    await successor.close()
    assert hosts[0].path("/srv/shop/runs").read_text() == "run\n"
    hosts[0].path("/srv/shop/runs").unlink()


async def test_through_a_lost_connection_it_runs_once(host: SshHost, hosts: HostSet) -> None:
    running = asyncio.create_task(run(host, "echo run >> /srv/shop/cut; sleep 3; echo done"))
    await until(lambda: hosts[0].path("/srv/shop/cut").exists(), "that it runs", 30)
    hosts[0].cut()
    await asyncio.sleep(4)  # three keep-alives of a second: the connection is given up
    hosts[0].mend()
    assert (await running).tail == "done\n"
    assert hosts[0].path("/srv/shop/cut").read_text() == "run\n"
    hosts[0].path("/srv/shop/cut").unlink()


async def test_what_a_host_was_to_run_that_was_lost_before_unnoticed_was_not_begun(
    host: SshHost, hosts: HostSet
) -> None:
    await run(host, "true")
    hosts[0].cut()
    try:
        with pytest.raises(NotBegun):
            await run(host, "echo run >> /srv/shop/never", command_name(ROLLOUT, "pre_deploy", 2))
    finally:
        hosts[0].mend()
    await attempt(host, host.connect, 60.0)
    assert not hosts[0].path("/srv/shop/never").exists()


async def test_of_a_host_that_was_restarted_meanwhile_nothing_is_guessed(host: SshHost, hosts: HostSet) -> None:
    running = asyncio.create_task(run(host, "echo run >> /srv/shop/boot; sleep 60"))
    await until(lambda: hosts[0].path("/srv/shop/boot").exists(), "that it runs", 30)
    hosts[0].crash()
    hosts[0].start()
    with pytest.raises((DriverError, HostUnreachable)):
        await running
    with pytest.raises(DriverError, match="was restarted while"):
        await run(host, "echo run >> /srv/shop/boot; sleep 60")
    assert hosts[0].path("/srv/shop/boot").read_text() == "run\n"
    hosts[0].path("/srv/shop/boot").unlink()


async def test_ending_those_of_a_rollout_ends_no_others(host: SshHost, hosts: HostSet) -> None:
    other = asyncio.create_task(run(host, "sleep 2; echo done", command_name("other", "pre_deploy", 1)))
    mine = asyncio.create_task(run(host, "sleep 600"))
    await until(lambda: hosts[0].show(f"longshore-{NAME}.service", "ActiveState") == "active", "that it runs", 30)
    assert await rollouts_there(host) == {ROLLOUT, "other"}
    assert await end_commands(host, ROLLOUT) == 1
    assert await rollouts_there(host) == {"other"}
    (ended,) = await asyncio.gather(mine, return_exceptions=True)
    # Whoever waits for it either sees how it ended, or that it was taken away.
    assert "was removed" in str(ended) or (isinstance(ended, HookResult) and ended.exit_code == -9)
    assert (await other).tail == "done\n"
    assert await end_commands(host, "other") == 0


async def test_what_many_commands_have_asked_its_bus_for_does_not_add_up(host: SshHost) -> None:
    """dbus-daemon takes 512 match rules over one connection, and no more."""
    bus = await host.bus()
    rules: Counter[str] = Counter()

    def sent(message: Message) -> None:
        if message.member in ("AddMatch", "RemoveMatch"):
            rules[message.body[0]] += 1 if message.member == "AddMatch" else -1

    bus.call = _telling(bus.call, sent)
    await run(host, "true")
    await end_commands(host, ROLLOUT)
    before = sum(rules.values()), len(bus._user_message_handlers), _tasks_of_buses()
    for number in range(3):
        assert (await run(host, "true", command_name(ROLLOUT, "pre_deploy", number))).exit_code == 0
        await end_commands(host, ROLLOUT)
    assert await host.bus() is bus
    assert (sum(rules.values()), len(bus._user_message_handlers), _tasks_of_buses()) == before


def _tasks_of_buses() -> int:
    return sum(task.get_name().startswith("bus of") for task in asyncio.all_tasks())


def _telling(call: Any, sent: Callable[[Message], None]) -> Any:
    async def telling(message: Message) -> Any:
        sent(message)
        return await call(message)

    return telling
