"""Shells that stay on a host for the next script: each script is as alone in one as in a session of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.errors import LeaseLost
from longshore.hosts import guard, standing
from longshore.hosts.base import HostUnreachable, ScriptFailed
from longshore.hosts.ssh import SshHost
from support.sshd import Sshd, serving

#: of these tests alone: what is marked as an older manager's is ended wherever it runs
MANAGER = f"standing{os.getpid()}"


class Written:
    """A session that keeps what is written to it."""

    def __init__(self) -> None:
        self.stdin, self.written = self, b""

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        pass


class Unending(Written):
    """… of a shell that never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = asyncio.Event()

    def write_eof(self) -> None:
        pass

    async def ended(self) -> None:
        self.waited.set()
        await asyncio.Event().wait()


@pytest.fixture
async def sshd(tmp_path: Path) -> AsyncIterator[Sshd]:
    async with serving(tmp_path) as sshd:
        yield sshd


@pytest.fixture
async def host(sshd: Sshd) -> AsyncIterator[SshHost]:
    host = SshHost(sshd.settings(), sshd.ssh(), "user", MANAGER, 1)
    yield host
    await host.close()


async def said(host: SshHost, script: str, *arguments: str, input: bytes = b"") -> bytes:
    return (await host.run(script, *arguments, input=input)).stdout


async def test_scripts_one_after_the_other_share_a_shell(host: SshHost) -> None:
    first = await said(host, "echo $$")
    assert [await said(host, "echo $$") for _ in range(20)] == [first] * 20


async def test_scripts_at_once_have_shells_of_their_own(host: SshHost) -> None:
    shells = await asyncio.gather(*(said(host, "echo $$; sleep 0.2") for _ in range(3)))
    assert len(set(shells)) == 3


async def test_one_shell_at_most_is_left_waiting(host: SshHost, sshd: Sshd) -> None:
    await asyncio.gather(*(said(host, "sleep 0.2") for _ in range(3)))
    await sshd.at_most(1)
    assert len(sshd.running) == 1


async def test_a_shell_whose_end_nobody_waits_for_any_more_is_closed(host: SshHost) -> None:
    session, closed = Unending(), asyncio.Event()
    shell = standing.Standing(session, b"", closed.set)  # type: ignore[arg-type]
    ending = asyncio.create_task(host._end_of_shell(shell))
    await asyncio.wait_for(session.waited.wait(), 10)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert closed.is_set()


async def test_nothing_that_a_script_sets_is_there_for_the_next(host: SshHost) -> None:
    await host.run("cd /tmp; umask 077; left=behind; export left; trap 'echo late' EXIT; set -f; set -- a b", "one")
    seen = await said(host, 'echo "$(pwd) $(umask) ${left:-none} $# $-"; ls /proc/self/fd | wc -l')
    assert seen == await said(host, 'echo "$(pwd) $(umask) ${left:-none} $# $-"; ls /proc/self/fd | wc -l')
    assert b"/tmp " not in seen
    assert b" 0022 none 0 " in seen


async def test_an_exit_status_ends_the_script_and_not_the_shell(host: SshHost) -> None:
    shell = await said(host, "echo $$")
    with pytest.raises(ScriptFailed, match="no such luck") as failed:
        await host.run("echo no such luck >&2; exit 7; echo never")
    assert failed.value.done.code == 7
    assert await said(host, "echo $$") == shell


async def test_what_stops_at_the_first_error_does_so_here_too(host: SshHost) -> None:
    done = await host.run("set -eu\nfalse\necho never", check=False)
    assert (done.code, done.stdout) == (1, b"")
    done = await host.run("set -eu\ncat\nfalse\necho never", input=b"given", check=False)
    assert (done.code, done.stdout) == (1, b"given")


@pytest.mark.parametrize("output", [b"", b"\n", b"no end of line", b"\n\n 0\n", bytes(range(256)) * 1000])
async def test_output_comes_as_it_is(host: SshHost, sshd: Sshd, output: bytes) -> None:
    (sshd.home / "file").write_bytes(output)
    done = await host.run("cat file; cat file >&2")
    assert (done.code, done.stdout, done.stderr) == (0, output, output)


@pytest.mark.parametrize("script", [":", "head -c 3 > /dev/null", "exit 0", "exec true", "cat > /dev/null"])
async def test_whatever_a_script_leaves_of_its_input_is_not_taken_for_the_next_one(host: SshHost, script: str) -> None:
    shell = await said(host, "echo $$")
    await host.run(script, input=b"echo wrong\n" * 5000)
    assert await said(host, "echo $$; cat") == shell


async def test_input_is_there_to_its_last_byte_whatever_is_in_it(host: SshHost) -> None:
    for input in (bytes(range(256)) * 100, b"\n", b"5 0\nexit\n"):
        assert await said(host, "cat", input=input) == input


async def test_more_input_than_a_pipe_takes_has_a_session_of_its_own(host: SshHost) -> None:
    input = b"x" * (standing.INPUT_MOST + 1)
    assert await said(host, "wc -c", input=input) == b"%d\n" % len(input)


async def test_of_a_script_that_did_not_arrive_whole_nothing_is_done(tmp_path: Path) -> None:
    shown = guard.Pass(MANAGER, 1, "user", "link")
    session = Written()
    shell = standing.Standing(session, guard.words("user"), lambda: None)  # type: ignore[arg-type]
    await shell.send(guard.passing(shown, 'touch "$1"', (str(tmp_path / "done"),), {}), 0)
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": os.environ["PATH"]}

    def told(text: bytes) -> None:
        subprocess.run(standing.SHELL.split(), input=text, env=environment, capture_output=True)

    for size in range(0, len(session.written) - 1, 101):
        told(session.written[:size])
        assert not (tmp_path / "done").exists(), session.written[size - 80 : size]
    told(session.written)
    assert (tmp_path / "done").exists()


async def test_a_shell_that_was_ended_while_it_was_idle_is_replaced(host: SshHost, sshd: Sshd) -> None:
    shell = await said(host, "echo $$")
    os.killpg(int(shell), signal.SIGKILL)
    assert await said(host, "echo $$") != shell
    await sshd.at_most(1)


async def test_also_where_that_is_not_known_yet(host: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = await said(host, "echo $$")
    taken = standing.Idle.take

    def then_ended(idle: standing.Idle, connection: object) -> standing.Standing | None:
        found = taken(idle, connection)
        if found is not None:
            os.killpg(int(shell), signal.SIGKILL)
        return found

    monkeypatch.setattr(standing.Idle, "take", then_ended)
    assert await said(host, "echo $$") != shell


async def test_a_script_that_was_ended_is_not_run_again(host: SshHost, sshd: Sshd) -> None:
    await host.run(":")
    done = await host.run("echo again >> ran; kill -s KILL -- -$$; sleep 60", check=False)
    assert done.code == -signal.SIGKILL
    assert (sshd.home / "ran").read_text() == "again\n"


async def test_one_that_takes_too_long_is_ended_with_its_shell(host: SshHost, sshd: Sshd) -> None:
    shell = await said(host, "echo $$")
    with pytest.raises(HostUnreachable, match=r"did not end within 0\.2 s"):
        await host.run("sleep 60", timeout_s=0.2)
    assert await said(host, "echo $$") != shell
    await sshd.at_most(1)


async def test_the_guard_writes_down_a_shell_once_whatever_it_runs(host: SshHost, sshd: Sshd) -> None:
    for _ in range(5):
        await host.run(":")
    (records,) = (sshd.directory / "run/longshore-host").glob("*.sessions")
    shell = (await said(host, "echo $$")).decode().strip()
    assert [line.split()[3] for line in records.read_text().splitlines()[1:]].count(shell) == 1


async def test_a_shell_that_another_manager_has_not_ended_yet_is_refused_all_the_same(
    host: SshHost, sshd: Sshd
) -> None:
    await host.run(":")
    (known,) = (sshd.home / ".local/state/longshore-host").glob("*.epoch")
    known.write_text("2\n")
    with pytest.raises(LeaseLost):
        await host.run("touch done")
    assert not (sshd.home / "done").exists()


async def test_one_that_runs_when_another_manager_takes_over_is_ended(host: SshHost, sshd: Sshd) -> None:
    await host.run(":")
    running = asyncio.create_task(host.run("echo $$ > began; sleep 60"))
    newer = SshHost(sshd.settings(), sshd.ssh(), "user", MANAGER, 2)
    try:
        await host.run("while [ ! -s began ]; do sleep 0.01; done")
        await newer.connect()
        with pytest.raises(LeaseLost):
            await running
    finally:
        await newer.close()


async def test_an_idle_shell_is_closed_after_a_while(
    host: SshHost, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "IDLE_S", 0.1)
    await host.run(":")
    await sshd.idle()
    assert await said(host, "echo there") == b"there\n"
