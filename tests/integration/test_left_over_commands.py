"""What commands of a manager that died have left running is found and ended, and nothing else."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator

import pytest

from longshore.proc import end_left_over
from support.launching import running, until

NAME = "DEPLOYMENT_ROLLOUT_ID"


@pytest.fixture
def spawn() -> Iterator[Callable[[str, str], subprocess.Popen[bytes]]]:
    """Run a shell line with that value in its environment; what still runs at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def spawn(line: str, value: str) -> subprocess.Popen[bytes]:
        environment = {"PATH": "/usr/bin:/bin", NAME: value}
        started.append(subprocess.Popen(["/bin/sh", "-c", line], env=environment, start_new_session=True))
        return started[-1]

    yield spawn
    for process in started:
        process.kill()
        process.wait()


async def test_every_process_with_the_value_is_ended_also_a_daemon(spawn, tmp_path) -> None:
    mine = uuid.uuid4().hex
    shell = spawn(f"trap '' TERM; setsid sleep 300 & echo $! > {tmp_path}/pid; wait", mine)
    daemon = int(await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the daemon runs"))
    await until(lambda: running(daemon), "the daemon runs")

    assert await end_left_over(NAME, mine) == (2, [])

    assert not running(shell.pid)
    assert not running(daemon)


async def test_processes_with_another_value_go_on(spawn) -> None:
    mine = uuid.uuid4().hex
    other = spawn("exec sleep 300", f"{mine}0")

    assert await end_left_over(NAME, mine) == (0, [])

    assert running(other.pid)
