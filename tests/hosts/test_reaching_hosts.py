"""Hosts over SSH, and their systemd through it: on real ones, that are cut off, crash, and do not let everybody in."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbus_fast import Message

from longshore.errors import LeaseLost
from longshore.hosts import attempt, make_hosts
from longshore.hosts.base import HostUnreachable
from longshore.hosts.ssh import SshHost
from longshore.settings import Environment
from support.hosts import Host, HostSet, HostsMissing, open_hosts, until

pytestmark = pytest.mark.slow

MANAGER = "m0123456789a"
#: so that what is cut is noticed within 3 s
QUICK = {"keepalive": "1s", "connect_timeout": "3s"}

Maker = Callable[..., SshHost]


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostSet]:
    try:
        with open_hosts(tmp_path_factory.mktemp("reach"), 2) as hosts, hosts.inside():
            yield hosts
    except HostsMissing as error:
        pytest.skip(str(error))


@pytest.fixture
async def make(hosts: HostSet) -> AsyncIterator[Maker]:
    made: list[SshHost] = []

    def make(
        there: Host | None = None,
        *,
        epoch: int | None = None,
        scope: Any = "system",
        ssh: dict[str, Any] | None = None,
        **settings: Any,
    ) -> SshHost:
        there = there or hosts[0]
        epoch = epoch or next(_EPOCHS)
        made.append(SshHost(there.settings(**settings), there.ssh(**QUICK, **(ssh or {})), scope, MANAGER, epoch))
        return made[-1]

    yield make
    for host in made:
        await host.close()


#: each host object of its own is that of a newer manager, as it is in life
_EPOCHS = iter(range(1, 1000))


async def refusal(host: SshHost) -> str:
    with pytest.raises(HostUnreachable) as told:
        await host.connect()
    return str(told.value)


async def systemd(host: SshHost, member: str, signature: str = "", *body: Any) -> list[Any]:
    """What its manager answers."""
    bus = await host.bus()
    reply = await bus.call(
        Message(
            destination="org.freedesktop.systemd1",
            path="/org/freedesktop/systemd1",
            interface="org.freedesktop.systemd1.Manager",
            member=member,
            signature=signature,
            body=list(body),
        )
    )
    return list(reply.body)


# --- who is let in


async def test_root_and_a_user_with_sudo_get_the_systemd_of_the_machine(make: Maker) -> None:
    for user in ("root", "deploy"):
        host = make(user=user)
        facts = await host.connect()
        assert (facts.uid, facts.user, facts.systemd >= 247) == (0, "root", True)
        (path,) = await systemd(host, "GetUnit", "s", "ssh.service")
        assert path == "/org/freedesktop/systemd1/unit/ssh_2eservice"
        assert host.address == "10.77.0.11"


async def test_a_user_gets_a_systemd_of_their_own(make: Maker) -> None:
    host = make(user="deploy", scope="user")
    facts = await host.connect()
    assert (facts.uid, str(host.units)) == (1000, "/home/deploy/.config/systemd/user")
    assert str(host.state) == "/home/deploy/.local/state/longshore-host"
    (units,) = await systemd(host, "ListUnits")
    names = {unit[0] for unit in units}
    assert "basic.target" in names
    assert "ssh.service" not in names
    assert (await host.run("id -un; systemctl --user is-system-running")).stdout == b"deploy\nrunning\n"


async def test_a_user_whose_systemd_does_not_run_is_told_what_is_missing(make: Maker, hosts: HostSet) -> None:
    hosts[0].shell("mv /run/user/1000/bus /run/user/1000/hidden")
    try:
        host = make(user="deploy", scope="user")
        with pytest.raises(HostUnreachable, match="D-Bus does not answer: /run/user/1000/bus is not there") as told:
            await host.bus()
        assert "`loginctl enable-linger deploy`" in str(told.value)
    finally:
        hosts[0].shell("mv /run/user/1000/hidden /run/user/1000/bus")
    assert (await host.bus()).connected


async def test_a_wrong_key_is_refused(make: Maker, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)  # noqa: ASYNC221
    assert f"does not accept the key {tmp_path / 'key'}" in await refusal(make(key=tmp_path / "key"))


async def test_where_no_key_is_named_those_of_the_agent_are_offered(
    make: Maker, hosts: HostSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    monkeypatch.setenv("HOME", str(tmp_path))  # where there are no keys
    assert "does not accept any key of the ssh agent or of ~/.ssh" in await refusal(make(key=None))
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL) as agent:  # noqa: ASYNC220
        try:
            until(socket.exists, "the agent listens")
            subprocess.run(["ssh-add", "-q", str(hosts[0].key)], check=True)  # noqa: ASYNC221
            assert (await make(key=None).connect()).uid == 0
        finally:
            agent.terminate()


async def test_an_unknown_host_key_is_added_by_the_line_that_the_refusal_says(
    make: Maker, hosts: HostSet, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    host = make(ssh={"known_hosts": known})
    said = await refusal(host)
    line = said.rpartition("add it: `")[2].rstrip("`")
    assert line == f"ssh-keyscan -p 22 10.77.0.11 >> {known}"
    assert hosts[0].shell("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1] in said
    subprocess.run(["sh", "-c", line], check=True, capture_output=True)  # noqa: ASYNC221
    assert (await host.connect()).uid == 0


async def test_a_changed_host_key_is_refused_until_the_lines_of_the_refusal_were_run(
    make: Maker, hosts: HostSet, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    of_another = hosts[1].known_hosts.read_text().splitlines()[1].split(" ", 1)[1]
    known.write_text(f"10.77.0.11 {of_another}\n")
    host = make(ssh={"known_hosts": known})
    said = await refusal(host)
    assert "has another host key" in said
    for line in said.split("`")[-4::2]:
        subprocess.run(["sh", "-c", line], check=True, capture_output=True)  # noqa: ASYNC221
    assert (await host.connect()).uid == 0


async def test_sudo_that_is_refused_works_with_the_line_of_the_refusal(make: Maker, hosts: HostSet) -> None:
    rules = hosts[0].shell("grep -lr ^deploy /etc/sudoers.d").split()
    kept = {rule: hosts[0].path(rule).read_text() for rule in rules}
    line = hosts[0].path("/etc/sudoers.d/longshore")
    try:
        hosts[0].shell(f"rm {' '.join(rules)}")
        host = make(user="deploy")
        said = await refusal(host)
        assert "does not let deploy become root by `sudo -n`" in said
        line.write_text(said.split("`")[3] + "\n")
        assert (await host.run("id -u")).stdout == b"0\n"
    finally:
        line.unlink(missing_ok=True)
        for rule, text in kept.items():
            hosts[0].path(rule).write_text(text)


async def test_a_host_behind_another_is_reached_through_it(make: Maker, hosts: HostSet) -> None:
    host = make(hosts[1], jump="deploy@10.77.0.11")
    assert (await host.run('echo "$(hostname) ${SSH_CONNECTION%% *}"')).stdout == b"host2 10.77.0.11\n"
    assert await systemd(host, "GetUnit", "s", "ssh.service")
    assert host.address == "10.77.0.12"


async def test_a_name_that_only_the_jump_host_knows_becomes_an_address(
    make: Maker, hosts: HostSet, tmp_path: Path
) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(hosts[1].known_hosts.read_text().replace("host2,", "host2.inside,"))
    hosts[0].shell("echo 10.77.0.12 host2.inside >> /etc/hosts")
    host = make(hosts[1], address="host2.inside", jump="10.77.0.11", ssh={"known_hosts": known})
    await host.connect()
    assert host.address == "10.77.0.12"


def test_an_environment_makes_the_hosts_that_it_names(hosts: HostSet) -> None:
    made = make_hosts(Environment(driver="systemd", hosts=tuple(host.settings() for host in hosts)), MANAGER, 1)
    assert list(made) == ["host1", "host2"]
    assert made["host2"].address == "10.77.0.12"


# --- what is lost


async def test_a_script_that_is_cut_off_is_told_of_and_its_repetition_never_runs_beside_it(
    make: Maker, hosts: HostSet
) -> None:
    host, seen = make(), list[bool | None]()
    host.watch(lambda host: seen.append(host.reachable))
    working = asyncio.create_task(host.run("echo $$ > /run/first; sleep 100", timeout_s=60))
    await host.run("while [ ! -s /run/first ]; do sleep 0.01; done")
    bus = await host.bus()
    await asyncio.to_thread(hosts[0].cut)
    began = time.monotonic()
    calling = asyncio.create_task(systemd(host, "GetUnit", "s", "ssh.service"))
    for task in (working, calling):
        with pytest.raises(HostUnreachable) as lost:
            await task
        assert lost.value.passing
    assert time.monotonic() - began < 5
    assert not bus.connected
    assert seen == [True, False]
    assert hosts[0].shell("kill -0 $(cat /run/first) && echo there") == "there\n"
    await asyncio.to_thread(hosts[0].mend)
    done = await attempt(host, lambda: host.run('kill -0 "$(cat /run/first)" 2>&1 || :'))
    assert b"No such process" in done.stdout
    assert await systemd(host, "GetUnit", "s", "ssh.service")
    assert seen == [True, False, True]


async def test_what_was_sent_before_the_cable_was_cut_does_nothing_when_it_arrives_late(
    make: Maker, hosts: HostSet
) -> None:
    host = make()
    await host.connect()
    await asyncio.to_thread(hosts[0].cut)
    with pytest.raises(HostUnreachable):
        await host.run("echo late >> /run/late")
    await asyncio.to_thread(hosts[0].mend)
    await attempt(host, lambda: host.run("echo again >> /run/late"))
    # TCP sends it again within some seconds: as long as the first connection may live there.
    await host.run("sleep 5")
    assert (await host.run("cat /run/late")).stdout == b"again\n"


async def test_a_host_that_crashed_is_unreachable_and_back_when_it_has_started(make: Maker, hosts: HostSet) -> None:
    host = make(hosts[1])
    boot = (await host.connect()).boot_id
    await host.bus()
    await asyncio.to_thread(hosts[1].crash)
    with pytest.raises(HostUnreachable):
        await host.run("echo done")
    assert host.reachable is False
    with pytest.raises(HostUnreachable) as gone:
        await attempt(host, host.connect, bound_s=2)
    assert gone.value.passing
    await asyncio.to_thread(hosts[1].start)
    facts = await attempt(host, host.connect)
    assert facts.boot_id != boot
    assert await systemd(host, "GetUnit", "s", "ssh.service")


async def test_a_reboot_in_the_middle_of_an_attempt_is_only_waited_for(make: Maker, hosts: HostSet) -> None:
    host = make(hosts[1])
    boot = (await host.connect()).boot_id
    rebooting = asyncio.create_task(asyncio.to_thread(hosts[1].reboot))

    async def work() -> str:
        return (await host.run("sleep 3; cat /proc/sys/kernel/random/boot_id")).stdout.decode().strip()

    assert await attempt(host, work, bound_s=30) != boot
    await rebooting


# --- who is fenced


@pytest.mark.parametrize(("user", "scope"), [("root", "system"), ("deploy", "system"), ("deploy", "user")])
async def test_a_manager_that_was_replaced_can_do_nothing_more_on_the_host(
    make: Maker, hosts: HostSet, user: str, scope: str
) -> None:
    old = make(user=user, scope=scope)
    running = asyncio.create_task(old.run("echo $$ > /tmp/old; sleep 100", timeout_s=60))
    await old.run("while [ ! -s /tmp/old ]; do sleep 0.01; done")
    bus = await old.bus()
    assert await systemd(old, "GetUnit", "s", "basic.target")
    new = make(user=user, scope=scope)
    await new.connect()
    assert (await new.run('kill -0 "$(cat /tmp/old)" 2>&1 || :; rm /tmp/old')).stdout != b""
    with pytest.raises(LeaseLost):
        await running
    for refused in (old.run("touch /tmp/done"), systemd(old, "Reload")):
        with pytest.raises(LeaseLost):
            await refused
    assert not bus.connected
    assert (await new.run("ls /tmp/done 2>&1 || :")).stdout.startswith(b"ls: cannot access")


async def test_also_after_the_host_was_started_again(make: Maker, hosts: HostSet) -> None:
    old, new = make(hosts[1]), make(hosts[1])
    await new.connect()
    await asyncio.to_thread(hosts[1].reboot)
    with pytest.raises(LeaseLost):
        await attempt(old, old.connect)


# --- how much it can take


async def test_many_scripts_and_followed_journals_are_no_matter_for_an_sshd_with_its_defaults(make: Maker) -> None:
    host = make()
    await host.bus()
    async with (
        host.lines("journalctl -f -n 1 -o cat") as one,
        host.lines("journalctl -f -n 1 -o cat") as two,
    ):
        assert await anext(one)
        assert await anext(two)
        done = await asyncio.gather(*(host.run('echo "$1"', str(number)) for number in range(200)))
    assert [int(each.stdout) for each in done] == list(range(200))


async def test_an_sshd_that_allows_fewer_sessions_is_said_to(make: Maker, hosts: HostSet) -> None:
    limit = hosts[0].path("/etc/ssh/sshd_config.d/few.conf")
    limit.write_text("MaxSessions 1\n")
    hosts[0].ask("systemctl", "restart", "ssh")
    try:
        host = make()
        await host.bus()
        with pytest.raises(HostUnreachable, match="MaxSessions in its sshd_config must be at least 10"):
            await host.run(":")
    finally:
        limit.unlink()
        hosts[0].ask("systemctl", "restart", "ssh")


async def test_nothing_of_ours_is_left_running_when_it_is_closed(make: Maker, hosts: HostSet) -> None:
    host = make(user="deploy")
    await host.bus()
    async with host.lines("journalctl -f -n 1") as lines:
        await anext(lines)
    await host.close()
    ours = "pgrep -f '[s]tdio-bridge|[j]ournalctl -f'"
    hosts[0].shell(f"for i in $(seq 100); do {ours} || exit 0; sleep 0.05; done; exit 1")


async def test_a_full_disk_is_said_and_what_was_running_goes_on(make: Maker, hosts: HostSet) -> None:
    host = make()
    await host.connect()
    hosts[0].shell(
        "mount -t tmpfs -o size=4k tmpfs /var/lib/longshore-host; echo 12345 > /var/lib/longshore-host/full || :"
    )
    try:
        said = await refusal(make())
        assert "host host1 cannot be worked on: " in said
        assert "No space left on device" in said
    finally:
        hosts[0].shell("umount /var/lib/longshore-host")
    assert (await host.run("echo done")).stdout == b"done\n"
