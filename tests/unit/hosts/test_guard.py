"""The guard on a host: who may work there, and what is left of those who may not any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from longshore.errors import LeaseLost
from longshore.hosts import guard
from longshore.hosts.base import HostUnreachable, ScriptFailed
from longshore.hosts.guard import Pass
from longshore.hosts.local import LocalHost

#: of these tests alone: what is marked as an older manager's is ended wherever it runs
MANAGER = f"guard{os.getpid()}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's own, so that nothing of this machine's is touched."""
    for name in ("home", "run"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "home"


@pytest.fixture
def state(home: Path) -> Path:
    return home / ".local/state/longshore-host"


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    return tmp_path / "run/longshore-host" / f"{MANAGER}.sessions"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def manager(epoch: int) -> LocalHost:
    return LocalHost("user", MANAGER, epoch)


async def written(host: LocalHost, *names: str) -> list[int]:
    """The numbers in files of the home directory, as soon as they are there."""
    done = await host.run('for name; do while [ ! -s "$name" ]; do sleep 0.01; done; cat "$name"; done', *names)
    return [int(line) for line in done.stdout.split()]


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def begin(shown: Pass, script: str, children: list[subprocess.Popen[bytes]]) -> tuple[subprocess.Popen[bytes], str]:
    """A session by itself, and what the guard answers it."""
    child = subprocess.Popen(
        ["/bin/sh", "-c", guard.BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    children.append(child)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(guard.program(shown, script, (), {}))
    child.stdin.flush()
    return child, child.stdout.readline().decode().split()[1]


def link(epoch: int = 1, name: str = "a", generation: int = 1) -> Pass:
    return Pass(MANAGER, epoch, "user", name, generation)


async def test_arguments_variables_and_input_arrive_as_they_are() -> None:
    odd = 'it\'s "$HOME" `id`\n\\ ü'
    done = await manager(1).run('printf "%s|%s|" "$1" "$ODD"; cat', odd, environment={"ODD": odd}, input=b"\0\xff")
    assert done.stdout == f"{odd}|{odd}|".encode() + b"\0\xff"


async def test_neither_script_nor_variables_are_seen_in_a_list_of_processes() -> None:
    script = ': secret-script; tr "\\0" " " < /proc/$$/cmdline; sleep 0'
    done = await manager(1).run(script, "secret-argument", environment={"X": "secret-variable"})
    assert b"secret" not in done.stdout
    assert done.stdout.startswith(b"/bin/sh -c")


async def test_a_script_runs_in_the_home_directory_with_a_full_path(home: Path) -> None:
    done = await manager(1).run('pwd; echo "$PATH"')
    where, path = done.stdout.decode().splitlines()
    assert where == str(home)
    assert "/usr/sbin" in path.split(":")


async def test_another_exit_status_than_0_is_an_error_with_what_was_said_last() -> None:
    with pytest.raises(ScriptFailed, match=r"no such thing \(the script exited with status 3\)") as failed:
        await manager(1).run("echo a lot >&2; echo no such thing >&2; exit 3")
    assert failed.value.done.code == 3


async def test_or_is_handed_back_where_it_is_not_to_be_checked() -> None:
    assert (await manager(1).run("exit 3", check=False)).code == 3


async def test_a_script_that_takes_too_long_is_ended_with_all_it_has_started() -> None:
    with pytest.raises(HostUnreachable, match=r"did not end within 0\.3 s and was ended") as late:
        await manager(1).run("sleep 60 & echo $! > child; wait", timeout_s=0.3)
    assert not late.value.passing
    assert not any(lives(pid) for pid in await written(manager(1), "child"))


async def test_one_that_is_no_longer_waited_for_is_ended_too() -> None:
    running = asyncio.create_task(manager(1).run("echo $$ > pid; sleep 60"))
    (pid,) = await written(manager(1), "pid")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not lives(pid)


async def test_input_that_is_not_wanted_is_no_error() -> None:
    done = await manager(1).run("head -c 3", input=b"abcdef" * 1_000_000)
    assert done.stdout == b"abc"


async def test_input_that_fails_ends_the_script_and_is_never_taken_for_the_whole(home: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await manager(1).run("cat > part; echo whole > whole", input=broken())
    assert not (home / "whole").exists()


async def test_input_is_read_no_faster_than_it_is_taken() -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield bytes(65536)

    with pytest.raises(HostUnreachable):
        await manager(1).run("sleep 60", input=endless(), timeout_s=0.3)
    assert given < 10


async def test_lines_come_one_by_one_and_the_script_ends_with_whoever_reads() -> None:
    async with manager(1).lines('echo $$; printf "a b\\n\\nc\\n"; sleep 60') as lines:
        pid = int(await anext(lines))
        assert [await anext(lines) for _ in range(3)] == [b"a b", b"", b"c"]
        assert lives(pid)
    assert not lives(pid)


async def test_lines_that_end_with_an_error_say_so() -> None:
    async with manager(1).lines("echo one; echo no journal >&2; exit 1") as lines:
        assert await anext(lines) == b"one"
        with pytest.raises(ScriptFailed, match="no journal"):
            await anext(lines)


async def test_a_manager_that_was_replaced_is_refused(state: Path) -> None:
    await manager(7).run(":")
    await manager(8).run(":")
    with pytest.raises(LeaseLost) as told:
        await manager(7).run("touch it-was-done")
    assert "epoch 8" in told.value.cause
    assert not (state.parents[2] / "it-was-done").exists()
    assert (state / f"{MANAGER}.epoch").read_text() == "8\n"


async def test_and_what_it_still_runs_is_ended_before_the_new_one_begins() -> None:
    running = asyncio.create_task(manager(7).run("sleep 60 & echo $! > child; echo $$ > pid; wait"))
    pids = await written(manager(7), "child", "pid")
    await manager(8).run(":")
    assert not any(lives(pid) for pid in pids)
    with pytest.raises(LeaseLost):
        await running


async def test_also_what_has_left_the_group_of_its_session() -> None:
    await manager(7).run("setsid sleep 60 > /dev/null 2>&1 < /dev/null & echo $! > stray")
    (pid,) = await written(manager(7), "stray")
    assert lives(pid)
    await manager(8).run(":")
    assert not lives(pid)


def test_a_process_that_only_has_the_number_of_one_is_let_alone(
    sessions: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    begin(link(epoch=7), ":", children)
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    children.append(bystander)
    with sessions.open("a") as file:
        file.write(f"7 a 1 {bystander.pid} 1 {bystander.pid}\n")
    assert begin(link(epoch=8), ":", children)[1] == "go"
    assert bystander.poll() is None


async def test_sessions_of_a_newer_manager_that_is_known_elsewhere_are_let_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await manager(9).run("setsid sleep 60 > /dev/null 2>&1 < /dev/null & echo $! > stray")
    (pid,) = await written(manager(9), "stray")
    for name in ("HOME", "XDG_RUNTIME_DIR"):  # as those of another scope on the same machine
        monkeypatch.setenv(name, str(tmp_path))
    await manager(8).run(":")
    assert lives(pid)
    await manager(10).run(":")
    assert not lives(pid)


async def test_other_managers_have_nothing_to_do_with_it() -> None:
    await manager(8).run(":")
    assert (await LocalHost("user", "another", 1).run("echo here")).stdout == b"here\n"


def test_the_next_connection_ends_what_the_lost_one_has_left(children: list[subprocess.Popen[bytes]]) -> None:
    left, _ = begin(link(generation=1), "sleep 60", children)
    other, _ = begin(link(name="b"), "sleep 60", children)
    _, word = begin(link(generation=2), ":", children)
    assert word == "go"
    assert left.wait(5) == -9
    assert other.poll() is None


def test_and_refuses_what_of_it_comes_late(children: list[subprocess.Popen[bytes]]) -> None:
    begin(link(generation=2), ":", children)
    late, word = begin(link(generation=1), "sleep 60", children)
    assert word == "stale"
    assert late.wait(5) == guard.REFUSED


def test_sessions_wait_for_each_other_and_all_pass(children: list[subprocess.Popen[bytes]], sessions: Path) -> None:
    started = [begin(link(name=f"l{number % 3}"), "cat", children) for number in range(20)]
    assert {word for _, word in started} == {"go"}
    pids = {line.split()[3] for line in sessions.read_text().splitlines()[1:]} - {"0"}
    assert pids == {str(child.pid) for child, _ in started}


def test_those_that_have_ended_are_forgotten(sessions: Path, children: list[subprocess.Popen[bytes]]) -> None:
    for _ in range(40):
        child, _ = begin(link(), ":", children)
        child.wait(5)
    assert len(sessions.read_text().splitlines()) < 25


def test_what_was_before_a_reboot_is_forgotten(sessions: Path, children: list[subprocess.Popen[bytes]]) -> None:
    begin(link(generation=9), ":", children)
    boot, rest = sessions.read_text().split("\n", 1)
    sessions.write_text("another-boot\n" + rest)
    assert begin(link(generation=1), ":", children)[1] == "go"
    assert sessions.read_text().startswith(boot)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda state: (state / f"{MANAGER}.epoch").write_text("eight\n"), "holds no number"),
        (lambda state: ((state / f"{MANAGER}.lock").unlink(), (state / f"{MANAGER}.lock").mkdir()), "cannot be opened"),
    ],
    ids=["epoch", "lock"],
)
async def test_a_guard_that_cannot_do_its_work_lets_nobody_pass(state: Path, spoil: object, why: str) -> None:
    await manager(7).run(":")
    spoil(state)  # type: ignore[operator]
    with pytest.raises(HostUnreachable, match=why):
        await manager(7).run("echo done")


async def test_it_says_so_where_its_records_cannot_be_kept(home: Path) -> None:
    (home / ".local").write_text("in the way")
    with pytest.raises(HostUnreachable, match=r"this machine cannot be worked on: mkdir: .*\.local"):
        await manager(7).run("echo done")


def test_what_no_shell_can_take_is_refused_here() -> None:
    for script, environment in (("a\0b", {}), (":", {"A=B": "c"}), (":", {"A": "b\0"})):
        with pytest.raises(ValueError):
            guard.program(link(), script, (), environment)


def test_a_manager_id_that_would_leave_its_directory_is_refused() -> None:
    with pytest.raises(ValueError):
        Pass("../x", 1, "user", "a")


async def test_it_costs_some_milliseconds() -> None:
    host = manager(1)
    await host.run(":")
    began = time.monotonic()
    for _ in range(10):
        await host.run(":")
    assert (time.monotonic() - began) / 10 < 0.5  # some 15 ms where nothing else runs


async def test_facts_of_this_machine() -> None:
    facts = await manager(1).connect()
    assert facts.uid == os.geteuid()
    assert {"tar", "flock", "sha256sum"} <= facts.tools
    assert facts.boot_id == (await manager(1).run("cat /proc/sys/kernel/random/boot_id")).stdout.decode().strip()
