"""Hooks as people write them: failing, hanging, flooding, leaving daemons behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from longshore.drivers.base import DriverError
from longshore.proc import MAX_LOG_BYTES, PIPE_GRACE_S, HookResult, run_shell
from support.launching import running, until

PATH = {"PATH": os.environ["PATH"]}


async def run(command: str, directory: Path, **changes: Any) -> HookResult:
    return await run_shell(command, **({"cwd": directory, "env": PATH, "timeout_s": 20.0} | changes))


def daemon(directory: Path) -> str:
    """A command that leaves a process behind, in a session of its own, with the pipe open, deaf to SIGTERM."""
    return f"setsid /bin/sh -c \"trap '' TERM HUP; echo \\$\\$ > {directory}/pid; while :; do sleep 1; done\" &"


async def daemon_pid(directory: Path) -> int:
    return int(await until(lambda: read(directory / "pid"), "the daemon's pid"))


def read(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


async def test_the_exit_code_and_the_output_come_back(tmp_path: Path) -> None:
    found = await run("echo out; echo err >&2; exit 3", tmp_path)
    assert (found.exit_code, found.timed_out, found.tail, found.ok) == (3, False, "out\nerr\n", False)


async def test_success_is_exit_code_0(tmp_path: Path) -> None:
    assert (await run("true", tmp_path)).ok


async def test_death_by_a_signal_is_a_negative_code(tmp_path: Path) -> None:
    assert (await run("kill -9 $$", tmp_path)).exit_code == -9


async def test_it_runs_in_its_directory_with_its_environment_alone(tmp_path: Path) -> None:
    found = await run("pwd; /usr/bin/env | grep -v -e ^PWD= -e ^_= -e ^LONGSHORE_COMMAND=", tmp_path, env={"A": "1"})
    assert found.tail == f"{tmp_path}\nA=1\n"


async def test_there_is_no_stdin(tmp_path: Path) -> None:
    assert (await run("read x || echo none", tmp_path)).tail == "none\n"


async def test_each_line_is_reported_and_the_last_needs_no_end(tmp_path: Path) -> None:
    lines: list[str] = []
    await run("echo a; printf 'b\\r\\n'; echo; printf c", tmp_path, on_line=lines.append)
    assert lines == ["a", "b", "", "c"]


async def test_the_output_is_appended_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "hook.log"
    await run("echo a", tmp_path, log=log)
    await run("echo b >&2", tmp_path, log=log)
    assert log.read_bytes() == b"a\nb\n"


async def test_a_command_over_its_limit_is_killed_with_its_children(tmp_path: Path) -> None:
    found = await run(f"echo begun; {daemon(tmp_path)} sleep 600", tmp_path, timeout_s=0.5)
    assert (found.exit_code, found.timed_out, found.tail) == (None, True, "begun\n")
    assert not running(await daemon_pid(tmp_path))
    assert found.duration_s < 5


async def test_a_daemon_that_keeps_the_pipe_open_does_not_hold_up_the_result(tmp_path: Path) -> None:
    found = await run(f"{daemon(tmp_path)} while [ ! -s pid ]; do sleep 0.01; done; echo done", tmp_path)
    assert (found.ok, found.tail) == (True, "done\n")
    assert found.duration_s < 5


async def test_what_a_successful_command_left_running_is_killed(tmp_path: Path) -> None:
    assert (await run(f"{daemon(tmp_path)} while [ ! -s pid ]; do sleep 0.01; done", tmp_path)).ok
    assert not running(await daemon_pid(tmp_path))


async def test_a_command_without_children_costs_no_grace(tmp_path: Path) -> None:
    times = [(await run("true", tmp_path)).duration_s for _ in range(5)]
    assert min(times) < PIPE_GRACE_S


async def test_a_flood_keeps_only_the_tail(tmp_path: Path) -> None:
    found = await run("head -c 50000000 /dev/zero | tr '\\0' x; echo end", tmp_path, max_tail=1000)
    assert (len(found.tail), found.tail[-4:], found.ok) == (1000, "end\n", True)


async def test_a_flood_fills_no_disk(tmp_path: Path) -> None:
    log = tmp_path / "hook.log"
    await run("head -c 30000000 /dev/zero", tmp_path, log=log)
    assert MAX_LOG_BYTES < log.stat().st_size < MAX_LOG_BYTES + 1000


async def test_a_flood_does_not_starve_the_manager(tmp_path: Path) -> None:
    flood = asyncio.create_task(run("yes", tmp_path, timeout_s=0.5))
    loop, turns = asyncio.get_running_loop(), 0
    while not flood.done():
        begun = loop.time()
        await asyncio.sleep(0.005)
        turns += loop.time() - begun < 0.1
    assert turns > 5
    assert flood.result().timed_out


async def test_a_callback_that_raises_ends_the_command(tmp_path: Path) -> None:
    def broken(line: str) -> None:
        raise ValueError(line)

    async with asyncio.timeout(10):
        with pytest.raises(ValueError, match="boom"):
            await run("echo boom; sleep 600", tmp_path, on_line=broken)


async def test_on_cancellation_everything_is_killed_first(tmp_path: Path) -> None:
    task = asyncio.create_task(run(f"{daemon(tmp_path)} echo $$ > shell; sleep 600", tmp_path))
    pids = [await daemon_pid(tmp_path), int(await until(lambda: read(tmp_path / "shell"), "the shell's pid"))]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [pid for pid in pids if running(pid)] == []


async def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    await run("true", tmp_path)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for limit in (20.0, 0.05):
        await run("echo x; sleep 0.2", tmp_path, timeout_s=limit, log=tmp_path / "hook.log")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


async def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DriverError, match=r"the directory .*gone to run in does not exist"):
        await run("true", tmp_path / "gone")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a command as another user")
async def test_it_runs_as_its_user() -> None:
    assert (await run("id -un; echo $USER", Path("/"), user="nobody")).tail == "nobody\nnobody\n"
