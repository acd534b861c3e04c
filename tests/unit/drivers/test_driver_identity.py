from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from longshore.drivers import identity
from longshore.drivers.identity import all_ended, open_pidfd, read_stat, send, uptime
from support.managers import until


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a name made to confuse: the kernel puts it between brackets in its stat line."""
    program = tmp_path / "a) Z 1 ("
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "600"], start_new_session=True) as process:
        yield process
        process.kill()


def test_a_name_with_brackets_confuses_nobody(sleeper: subprocess.Popen[bytes]) -> None:
    stat = read_stat(sleeper.pid)
    assert stat is not None
    assert (stat.pid, stat.pgid, stat.sid, stat.dead) == (sleeper.pid, sleeper.pid, sleeper.pid, False)
    assert uptime(stat.start_time) < 60


def test_a_process_that_is_not_there_has_no_stat() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        pass
    assert read_stat(process.pid) is None


def test_a_process_whose_first_thread_has_ended_runs_as_long_as_another_does() -> None:
    program = (
        "import ctypes, sys, threading\n"
        "threading.Thread(target=lambda: sys.stdin.read()).start()\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as process:
        until("its first thread ends", lambda: (stat := read_stat(process.pid)) and stat.state == "Z")
        stat = read_stat(process.pid)
        assert stat is not None
        assert not stat.dead
        assert process.stdin is not None
        process.stdin.close()
        until("all have ended", lambda: (stat := read_stat(process.pid)) is not None and stat.dead)


def test_no_pidfd_is_opened_of_another_process_with_that_pid() -> None:
    assert open_pidfd(os.getpid(), 1) is None


def test_a_pidfd_of_a_process_that_cannot_be_told_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(pid: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(identity, "read_stat", read)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="Too many open files"):
        open_pidfd(os.getpid(), 1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_no_signal_reaches_another_process_with_that_pid() -> None:
    assert not send(os.getpid(), 1, signal.SIGKILL)


@pytest.mark.parametrize("group", [False, True])
def test_a_signal_reaches_the_process_that_was_meant(sleeper: subprocess.Popen[bytes], group: bool) -> None:
    stat = read_stat(sleeper.pid)
    assert stat is not None
    assert send(stat.pid, stat.start_time, signal.SIGTERM, group=group)
    assert sleeper.wait(10) == -signal.SIGTERM


async def test_waiting_for_what_goes_on_is_bounded(sleeper: subprocess.Popen[bytes]) -> None:
    stat = read_stat(sleeper.pid)
    assert stat is not None
    assert not await all_ended([stat], 0.05)
    sleeper.kill()
    assert await all_ended([stat], 10)
