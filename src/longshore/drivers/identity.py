"""Which process is which: a pid is no identity, a pid with its start time and the boot it belongs to is.

Everything that signals or waits goes through a pidfd that was opened first and whose process was compared with the
identity afterwards, so that a pid given to somebody else in between cannot slip in (pidfd_open(2), proc(5)).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

#: flag of pidfd_send_signal(2) since Linux 6.9: the group that the process leads (include/uapi/linux/pidfd.h)
PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of /proc/PID/stat. start_time: clock ticks since boot; state: one letter, Z is a zombie; threads: with
    the first one, which stays a zombie until all others have ended."""

    pid: int
    state: str
    pgid: int
    sid: int
    start_time: int
    threads: int = field(default=1, compare=False)

    @property
    def dead(self) -> bool:
        """It runs no more, and has let go of its ports: a first thread that has ended is not yet that."""
        return self.state in "ZX" and self.threads <= 1


def lacks() -> str:
    """What this machine lacks for telling processes apart; "" is nothing. Tried, not read off a version."""
    try:
        boot_id()
        fd = os.pidfd_open(os.getpid())
    except (AttributeError, OSError) as error:
        return str(error)
    try:
        os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        # The right answer: this process is no child of its own.
        return ""
    except OSError as error:
        return str(error)
    finally:
        os.close(fd)
    return ""


@cache
def boot_id() -> str:
    """Identity of this boot of the machine: start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_stat(pid: int) -> Stat | None:
    """What the kernel says of a pid; None: there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - read hundreds of times in a scan
            line = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may itself hold spaces and brackets: fields are counted after the last ")". proc(5): the state is
    # field 3, the threads are field 20, the start time is field 22.
    fields = line[line.rindex(b")") + 2 :].split()
    return Stat(pid, fields[0].decode(), int(fields[2]), int(fields[3]), int(fields[19]), int(fields[17]))


def uptime(start_time: int) -> float:
    """Seconds since a process with that start time (clock ticks since boot) began."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - start_time / os.sysconf("SC_CLK_TCK"))


def open_pidfd(pid: int, start_time: int) -> int | None:
    """A pidfd of exactly that process, zombies included; None: it is gone. The caller closes it."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    meant = False
    try:
        stat = read_stat(pid)
        meant = stat is not None and stat.start_time == start_time
    finally:
        if not meant:
            os.close(fd)
    return fd if meant else None


def send(pid: int, start_time: int, number: signal.Signals, *, group: bool = False) -> bool:
    """Signal exactly that process, or in one call the whole group it leads. False: the process is gone.

    Raises PermissionError where it belongs to another user.
    """
    fd = open_pidfd(pid, start_time)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number, None, PIDFD_SIGNAL_PROCESS_GROUP if group else 0)
    except ProcessLookupError:
        return False
    except OSError as error:
        if not group or error.errno != errno.EINVAL:
            raise
        # Before Linux 6.9. The process was seen alive under this very pid a moment ago, so the group is still its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)
    finally:
        os.close(fd)
    return True


async def readable(fd: int) -> None:
    """Wait until a descriptor can be read: a pidfd can when its process has ended, a pipe at its end too."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(fd)


async def all_ended(processes: Iterable[Stat], timeout_s: float) -> bool:
    """Wait until every one of these processes has ended, at most `timeout_s` seconds. False: some still run."""
    with contextlib.ExitStack() as stack:
        try:
            async with asyncio.timeout(timeout_s):
                for process in processes:
                    if (fd := open_pidfd(process.pid, process.start_time)) is None:
                        continue
                    stack.callback(os.close, fd)
                    await readable(fd)
        except TimeoutError:
            return False
    return True
