"""SshHost against a server in this process: what it is told when it is not let in, and what a lost connection does."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from longshore.errors import LeaseLost
from longshore.hosts import attempt
from longshore.hosts.base import HostUnreachable
from longshore.hosts.link import SESSIONS
from longshore.hosts.ssh import SshHost
from support.sshd import Cable, Sshd, serving

#: of these tests alone: what is marked as an older manager's is ended wherever it runs
MANAGER = f"ssh{os.getpid()}"

#: makes hosts that are closed when the test is over
Maker = Callable[..., SshHost]


@pytest.fixture
async def sshd(tmp_path: Path) -> AsyncIterator[Sshd]:
    async with serving(tmp_path) as sshd:
        yield sshd


@pytest.fixture
async def make(sshd: Sshd) -> AsyncIterator[Maker]:
    made: list[SshHost] = []

    def make(epoch: int = 1, ssh: dict[str, Any] | None = None, scope: Any = "user", **settings: Any) -> SshHost:
        host = SshHost(sshd.settings(**settings), sshd.ssh(**(ssh or {})), scope, MANAGER, epoch)
        made.append(host)
        return host

    yield make
    for host in made:
        await host.close()


async def refused(host: SshHost) -> HostUnreachable:
    with pytest.raises(HostUnreachable) as told:
        await host.connect()
    assert told.value.host == host.name
    assert host.reachable is False
    return told.value


# --- being let in


async def test_a_script_runs_there_with_its_input_and_environment(make: Maker, sshd: Sshd) -> None:
    host = make()
    done = await host.run('echo "$1 $X"; cat; pwd', "a b", environment={"X": "y"}, input=b"in\n")
    assert done.stdout.decode().splitlines() == ["a b y", "in", str(sshd.home)]
    assert (host.address, host.reachable) == ("127.0.0.1", True)


async def test_an_unknown_host_key_is_refused_and_how_to_check_and_add_it_is_said(
    make: Maker, sshd: Sshd, tmp_path: Path
) -> None:
    known = tmp_path / "none"
    error = await refused(make(ssh={"known_hosts": known}))
    assert f"is not in {known}. It shows ssh-ed25519 SHA256:" in str(error)
    assert f"`ssh-keyscan -p {sshd.port} 127.0.0.1 >> {known}`" in str(error)
    assert not error.passing
    assert sshd.running == set()


async def test_a_changed_host_key_is_refused_as_what_it_may_be(make: Maker, sshd: Sshd, tmp_path: Path) -> None:
    known = tmp_path / "old"
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode().strip()
    known.write_text(f"[127.0.0.1]:{sshd.port} {other}\n")
    error = await refused(make(ssh={"known_hosts": known}))
    assert f"has another host key than {known} says" in str(error)
    assert "somebody else answers in its place" in str(error)
    assert f"-R '[127.0.0.1]:{sshd.port}'" in str(error)


async def test_a_host_of_whom_only_a_key_of_another_kind_is_known_is_a_changed_one(
    make: Maker, sshd: Sshd, tmp_path: Path
) -> None:
    known = tmp_path / "old"
    other = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_public_key("openssh").decode().strip()
    known.write_text(f"[127.0.0.1]:{sshd.port} {other}\n")
    assert "has another host key" in str(await refused(make(ssh={"known_hosts": known})))


async def test_a_file_of_host_keys_that_cannot_be_read_is_named(make: Maker, tmp_path: Path) -> None:
    known = tmp_path / "broken"
    known.write_text("one-word\n")
    assert f"{known} has a line that cannot be read" in str(await refused(make(ssh={"known_hosts": known})))


async def test_a_key_that_is_not_accepted_is_named_with_what_to_do(make: Maker, sshd: Sshd, tmp_path: Path) -> None:
    key = tmp_path / "other"
    asyncssh.generate_private_key("ssh-ed25519").write_private_key(key)
    error = await refused(make(key=key))
    assert f"does not accept the key {key}" in str(error)
    assert f"ssh-copy-id -i {key} -p {sshd.port} deploy@127.0.0.1" in str(error)


@pytest.mark.parametrize(
    ("write", "why"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.write_text("no key\n"), "Invalid private key"),
        (
            lambda path: asyncssh.generate_private_key("ssh-ed25519").write_private_key(
                path, "pkcs8-pem", passphrase="s"
            ),
            "ssh-add",
        ),
    ],
    ids=["missing", "damaged", "encrypted"],
)
async def test_a_key_that_cannot_be_used_is_named(
    make: Maker, tmp_path: Path, write: Callable[[Path], None], why: str
) -> None:
    key = tmp_path / "odd"
    write(key)
    error = await refused(make(key=key))
    assert f"the key {key} cannot be used" in str(error)
    assert why in str(error)


async def test_nobody_who_listens_may_pass_by_itself(make: Maker, sshd: Sshd) -> None:
    error = await refused(make(port=1))
    assert "host there (deploy@127.0.0.1:1) cannot be reached: " in str(error)
    assert error.passing


async def test_a_name_that_is_not_found_is_said_to_be_one(make: Maker) -> None:
    error = await refused(make(address="no-such-host.invalid"))
    assert "its address cannot be found" in str(error)


async def test_one_that_accepts_and_says_nothing_is_given_up_in_time(make: Maker, sshd: Sshd) -> None:
    async with Cable(sshd.port) as cable:
        cable.cut()
        error = await refused(make(port=cable.port, ssh={"connect_timeout": "0.3s"}))
    assert "did not answer within 0.3 s" in str(error)
    assert error.passing


@pytest.mark.parametrize(
    ("sudo", "what"),
    [
        ("echo 'sudo: a password is required' >&2; exit 1", "`deploy ALL=(root) NOPASSWD: /bin/sh`"),
        ("echo 'sh: 1: exec: sudo: not found' >&2; exit 127", "install sudo there, or log in as root"),
    ],
    ids=["refused", "missing"],
)
async def test_a_user_who_may_not_become_root_is_told_the_line_that_is_needed(
    make: Maker, sshd: Sshd, sudo: str, what: str
) -> None:
    program = sshd.directory / "bin/sudo"
    program.write_text(f"#!/bin/sh\n{sudo}\n")
    program.chmod(0o755)
    error = await refused(make(scope="system"))
    assert "does not let deploy become root by `sudo -n`" in str(error)
    assert what in str(error)


async def test_a_login_shell_that_runs_nothing_is_shown(make: Maker, sshd: Sshd) -> None:
    async def nologin(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stderr.write(b"This account is currently not available.\n")
        process.exit(1)

    sshd.instead = nologin
    error = await refused(make())
    assert "runs no script: a shell there ended with status 1 and said: This account is" in str(error)


async def test_what_login_scripts_say_before_is_not_taken_for_output(make: Maker, sshd: Sshd) -> None:
    sshd.before = "echo Welcome; echo longshore is here;"
    assert (await make().run("echo done")).stdout == b"done\n"


# --- one connection


async def test_all_who_ask_at_once_share_one_connection(make: Maker, sshd: Sshd) -> None:
    host = make()
    await asyncio.gather(*(host.run("echo $$") for _ in range(20)))
    assert sshd.accepted == 1
    assert sshd.most <= SESSIONS


async def test_one_that_ends_slowly_counts_until_it_has_ended(make: Maker, sshd: Sshd) -> None:
    sshd.lingers_s = 0.05
    host = make()
    await asyncio.gather(*(host.run("echo $$") for _ in range(4 * SESSIONS)))
    assert sshd.most <= SESSIONS


async def test_who_stops_waiting_for_it_leaves_it_to_the_others(make: Maker, sshd: Sshd) -> None:
    host = make()
    first, second = asyncio.create_task(host.connect()), asyncio.create_task(host.connect())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).user
    assert first.cancelled()


async def test_those_who_follow_take_no_session_from_those_who_work(make: Maker, sshd: Sshd) -> None:
    host = make()
    async with AsyncExitStack() as stack:
        for _ in range(2 * SESSIONS + 1):
            lines = await stack.enter_async_context(host.lines("echo began; exec sleep 60"))
            assert await anext(lines) == b"began"
        assert (await host.run("echo done", timeout_s=5)).stdout == b"done\n"
        assert sshd.accepted == 1 + 3
    await sshd.connected(1)


async def test_a_script_that_takes_too_long_is_ended_there(make: Maker, sshd: Sshd) -> None:
    host = make()
    with pytest.raises(HostUnreachable, match=r"host there: a script did not end within 0\.3 s and was ended"):
        await host.run("sleep 60", timeout_s=0.3)
    await sshd.idle()


async def test_a_script_that_is_cancelled_while_it_is_started_is_not_left_there(make: Maker, sshd: Sshd) -> None:
    host = make()
    await host.connect()
    for rounds in range(12):
        starting = asyncio.create_task(host.run("sleep 60"))
        for _ in range(rounds):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    await sshd.idle()


async def test_input_is_sent_no_faster_than_it_is_taken(make: Maker) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 65536
            yield bytes(65536)

    with pytest.raises(HostUnreachable):
        await make().run("sleep 60", input=endless(), timeout_s=1)
    assert given < 16 * 1024 * 1024


async def test_much_input_arrives_whole(make: Maker) -> None:
    async def much() -> AsyncIterator[bytes]:
        for _ in range(320):
            yield bytes(65536)

    assert (await make().run("wc -c", input=much())).stdout.strip() == b"%d" % (320 * 65536)


# --- losing it


async def test_a_connection_lost_in_a_script_is_said_to_pass_and_told_to_who_watches(make: Maker, sshd: Sshd) -> None:
    host, seen = make(), list[bool | None]()
    unwatch = host.watch(lambda host: seen.append(host.reachable))
    async with host.lines("echo began; exec sleep 60") as lines:
        await anext(lines)
        working = asyncio.create_task(host.run("echo $$ > pid; sleep 60"))
        following = asyncio.create_task(anext(lines))
        await host.run("while [ ! -s pid ]; do sleep 0.01; done")
        sshd.lose()
        for task in (working, following):
            with pytest.raises(HostUnreachable, match="was lost") as lost:
                await task
            assert lost.value.passing
    assert seen[:2] == [True, False]
    unwatch()
    seen.clear()
    await host.connect()
    assert seen == []


async def test_a_lost_connection_comes_back_also_while_nobody_asks(make: Maker, sshd: Sshd) -> None:
    host, back = make(), asyncio.Event()
    await host.connect()
    host.watch(lambda host: back.set() if host.reachable else None)
    sshd.lose()
    async with asyncio.timeout(5):
        await back.wait()
    assert sshd.accepted == 2


async def test_an_attempt_is_repeated_on_a_new_connection_and_its_former_self_is_gone(make: Maker, sshd: Sshd) -> None:
    host, rounds = make(), 0

    async def work() -> bytes:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            async with host.lines("echo began; exec sleep 60") as lines:
                await anext(lines)
            losing = asyncio.get_running_loop().call_later(0.3, sshd.lose)
            try:
                await host.run("echo $$ > first; exec sleep 60")
            finally:
                losing.cancel()
        return (await host.run('read -r pid < first; [ -e "/proc/$pid" ] && echo there || echo gone')).stdout

    assert await attempt(host, work) == b"gone\n"
    assert rounds == 2


async def test_an_attempt_ends_when_its_bound_is_over(make: Maker, sshd: Sshd) -> None:
    host = make(port=1)
    async with asyncio.timeout(30):  # what nobody bounds goes on for ever
        with pytest.raises(HostUnreachable, match="cannot be reached"):
            await attempt(host, host.connect, bound_s=0.6)


async def test_a_host_that_never_was_there_is_waited_for_once_like_one_that_was_lost(make: Maker) -> None:
    host, rounds = make(port=1), 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        await host.run(":")

    with pytest.raises(HostUnreachable, match="cannot be reached"):
        await attempt(host, work, bound_s=0.3)
    with pytest.raises(HostUnreachable, match="has been out of reach"):
        await attempt(host, work, bound_s=0.3)
    assert rounds == 1


async def test_one_that_never_let_us_in_says_why_however_long_ago_that_was(make: Maker, tmp_path: Path) -> None:
    host = make(ssh={"known_hosts": tmp_path / "none"})
    for _ in range(2):
        with pytest.raises(HostUnreachable, match="is not in"):
            await attempt(host, host.connect, bound_s=0)


async def test_an_attempt_is_not_repeated_where_somebody_has_to_do_something(make: Maker, tmp_path: Path) -> None:
    host, rounds = make(ssh={"known_hosts": tmp_path / "none"}), 0

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        await host.run(":")

    with pytest.raises(HostUnreachable, match="is not in"):
        await attempt(host, work)
    assert rounds == 1


async def test_a_cable_that_is_cut_is_noticed_by_keepalives_that_nobody_answers(make: Maker, sshd: Sshd) -> None:
    async with Cable(sshd.port) as cable:
        host = make(port=cable.port, ssh={"keepalive": "0.3s", "known_hosts": _any_port(sshd)})
        await host.connect()
        gone = asyncio.Event()
        host.watch(lambda host: gone.set())
        cable.cut()
        # Not "did not end within": nobody but keep-alive has noticed.
        with pytest.raises(HostUnreachable, match="was lost"):
            await host.run("echo done", timeout_s=60)
        assert host.reachable is False
        cable.mend()
        assert (await attempt(host, lambda: host.run("echo back"))).stdout == b"back\n"
        assert host.reachable is True


async def test_a_connection_is_tried_again_with_growing_pauses(make: Maker, sshd: Sshd) -> None:
    host, began = make(port=1), time.monotonic()
    for _ in range(3):
        await refused(host)
    assert 0.7 < time.monotonic() - began < 5


async def test_a_manager_that_was_replaced_is_refused_also_over_a_connection_that_it_has(make: Maker) -> None:
    old, new = make(epoch=1), make(epoch=2)
    await old.connect()
    running = asyncio.create_task(old.run("echo $$ > pid; exec sleep 60"))
    await old.run("while [ ! -s pid ]; do sleep 0.01; done")
    await new.connect()
    for refusal in (running, old.run("touch done")):
        with pytest.raises(LeaseLost):
            await refusal
    assert (await new.run("ls")).stdout == b"pid\n"


async def test_two_hosts_of_one_manager_at_one_machine_do_not_disturb_each_other(make: Maker, sshd: Sshd) -> None:
    one, other = make(), make()
    running = asyncio.create_task(one.run("echo $$ > pid; while [ ! -e done ]; do sleep 0.01; done; echo whole"))
    await other.run("while [ ! -s pid ]; do sleep 0.01; done")
    await other.run("touch done")
    assert (await running).stdout == b"whole\n"


async def test_nothing_is_left_when_it_is_closed(make: Maker, sshd: Sshd) -> None:
    host = make()
    await host.run(":")
    before = asyncio.all_tasks()
    assert len(sshd.connections) == 1
    await host.close()
    await sshd.connected(0)
    assert asyncio.all_tasks() <= before


async def test_a_host_behind_another_is_reached_through_it(make: Maker, sshd: Sshd) -> None:
    host = make(jump=f"deploy@127.0.0.1:{sshd.port}")
    assert (await host.run("echo done")).stdout == b"done\n"
    assert sshd.accepted == 2
    await host.close()
    await sshd.connected(0)


async def test_a_jump_host_that_does_not_let_us_in_is_named_as_one(make: Maker, sshd: Sshd) -> None:
    error = await refused(make(jump="deploy@127.0.0.1:1"))
    assert "the jump host of there (deploy@127.0.0.1:1) cannot be reached" in str(error)


def test_asyncssh_is_only_imported_for_hosts_that_are_connected_to() -> None:
    import subprocess
    import sys

    program = "import sys, longshore.app, longshore.hosts; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def _any_port(sshd: Sshd) -> Path:
    """The host key, whichever port it is shown at."""
    line = (sshd.directory / "known_hosts").read_text()
    path = sshd.directory / "any"
    path.write_text("127.0.0.1 " + line.split(" ", 1)[1])
    return path
