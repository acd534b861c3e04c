"""The demo as people run it: a manager, Envoy, processes, load."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

#: seconds; some 45 on an idle machine
DEMO_S = 240


async def demo(tmp_path: Path) -> asyncio.subprocess.Process:
    """The demo with its temporary files below `tmp_path`, so that what it leaves can be told."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "longshore.demo"),
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # As in a terminal: a job in the background of a shell ignores Ctrl-C, and so would what it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def left_behind(tmp_path: Path) -> list[str]:
    """Files, and command lines of processes, that still have to do with this demo."""
    lines = []
    for process in psutil.process_iter():
        try:
            about = [*process.cmdline(), process.cwd()]
        except psutil.Error:
            continue
        if any(str(tmp_path) in text for text in about):
            lines.append(" ".join(about))
    return lines + [str(path) for path in tmp_path.iterdir()]


@pytest.mark.slow
async def test_no_request_is_lost_in_any_scene_and_nothing_is_left_behind(tmp_path: Path) -> None:
    process = await demo(tmp_path)
    async with asyncio.timeout(DEMO_S):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"no request failed" in output
    assert left_behind(tmp_path) == []


@pytest.mark.slow
async def test_an_interrupted_demo_takes_down_everything_it_started(tmp_path: Path) -> None:
    process = await demo(tmp_path)
    assert process.stdout is not None
    async with asyncio.timeout(DEMO_S):
        async for line in process.stdout:
            if line.startswith(b"rolling:"):
                break
        process.send_signal(signal.SIGINT)
        rest = await process.stdout.read()
        assert await process.wait() == 130, rest.decode()
    assert left_behind(tmp_path) == []
