"""Running a user's shell command: bounded in time and in output, and with nothing left of it afterwards.

spawn ──► output is read as it comes ──► the shell ends ──► 0.5 s for the pipe ──► what is left is killed ──► result
                └── limit reached, or cancelled ──► all of it is killed ────────────────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longshore.drivers.base import DriverError, Exit
from longshore.drivers.exits import Exits
from longshore.drivers.identity import Stat, all_ended, read_stat, readable, send
from longshore.drivers.members import Circle, marked, members
from longshore.drivers.spawn import Program, argv_of, spawn, user_of

#: in the environment of a command: finds what it left behind, daemons too
MARK = "LONGSHORE_COMMAND"
#: seconds a pipe may stay open after the shell has ended: enough for what a child has already written
PIPE_GRACE_S = 0.5
#: seconds for killed processes to be gone
KILL_TIMEOUT_S = 5.0
#: most bytes of one command's output that go into its log; a command may flood for as long as it may run
MAX_LOG_BYTES = 10 * 1024 * 1024
#: what stands in the log in place of the rest
BEYOND = b"[longshore: the output went on beyond 10 MiB; that is not kept]"
#: longest line given to `on_line`; a longer one is given in pieces
MAX_LINE_BYTES = 8 * 1024
BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True)
class HookResult:
    """How a command ended.

    exit_code   of the shell, negative for a signal as in subprocess; None: it ran into its limit and was killed
    timed_out   it ran into its limit
    tail        the end of its output, stdout and stderr as they came
    duration_s  from the start until nothing of it was left
    """

    exit_code: int | None
    timed_out: bool
    tail: str
    duration_s: float

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


async def run_shell(
    command: str,
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    user: str | None = None,
    on_line: Callable[[str], None] | None = None,
    max_tail: int = 16 * 1024,
    log: Path | None = None,
) -> HookResult:
    """Run a shell line (/bin/sh -c) to its end.

    command     the line; values belong into `env`, never into it
    cwd, env    where, and with which environment; nothing is inherited
    timeout_s   seconds until all of it is killed
    user        to run as; None: the manager's own
    on_line     called with each line of output, without its end
    max_tail    bytes of output kept for the result
    log         file the output is appended to, up to 10 MiB a command

    The command leads a session of its own and has no stdin. Whatever it started and left running, in its session or as
    a daemon, is killed when it has ended, whether it succeeded or not: a hook is over when it returns, and what is to
    go on running belongs into a release. On cancellation all of it is killed before CancelledError goes on.

    Raises DriverError where the command cannot be started (no such user or directory).
    """
    started = time.monotonic()
    who = user_of(user) if user else None
    mark = f"{MARK}={uuid.uuid4().hex}"
    environment = {"HOME": who.home, "USER": who.name, "LOGNAME": who.name} if who else {}
    environment |= {**env, MARK: mark.partition("=")[2]}
    exits = Exits()
    with _Output(max_tail, on_line, log) as output:
        pid = await spawn(Program(argv_of(command), cwd, environment, mark, who), output.writer)
        stat = read_stat(pid)
        if stat is None:
            raise DriverError(f"pid {pid} of {command!r} vanished: something else reaps the manager's children")
        ended = exits.watch(pid, stat.start_time)
        # The session's id is ours for as long as the shell is not reaped or anything of its session lives.
        circle = Circle(mark.encode(), pid, stat.start_time, trust_session=True)
        reading = asyncio.create_task(output.read())
        timed_out = False
        try:
            timed_out = not await _run(ended, reading, timeout_s)
        finally:
            try:
                await _finish(circle)
                code = await _bounded(ended)
            finally:
                exits.close()
                reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            # What went wrong with the output (a full disk, a callback that raises) is the caller's to know.
            await reading
        output.drain()
        return HookResult(None if timed_out else code, timed_out, output.text(), time.monotonic() - started)


async def end_left_over(variable: str, value: str) -> tuple[int, list[int]]:
    """Kill every process with `variable=value` in its environment: what a command runs on with after its manager died.

    Returns  (how many were killed, pids of those that could not be). Only for a value that nobody else has.
    """
    prefix = f"{variable}={value}".encode()
    killed: set[int] = set()
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while found := [stat for stat, rest in await asyncio.to_thread(lambda: list(marked(prefix))) if not rest]:
        for stat in found:
            with contextlib.suppress(PermissionError):
                send(stat.pid, stat.start_time, signal.SIGKILL)
        killed |= {stat.pid for stat in found}
        if not await all_ended(found, deadline - time.monotonic()):
            left = [stat.pid for stat in found if _lives(stat)]
            return len(killed - set(left)), left
    return len(killed), []


# --- private


async def _run(ended: asyncio.Future[Exit], reading: asyncio.Task[None], timeout_s: float) -> bool:
    """Wait for the shell, then shortly for its output. False: it ran into its limit."""
    awaited: list[asyncio.Future[Any]] = [ended, reading]
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            # Output that cannot be taken would leave the command stuck at a full pipe until its limit.
            if not (reading.done() and reading.exception()):
                await asyncio.shield(ended)
    except TimeoutError:
        return False
    await asyncio.wait([reading], timeout=PIPE_GRACE_S)
    return True


async def _finish(circle: Circle) -> None:
    """Kill what is left, and see that it is gone. A cancellation meanwhile waits until that is done."""
    task = asyncio.create_task(_kill(circle))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


async def _kill(circle: Circle) -> None:
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while found := await asyncio.to_thread(members, circle):
        for stat in found:
            with contextlib.suppress(PermissionError):
                send(stat.pid, stat.start_time, signal.SIGKILL)
        if not await all_ended(found, deadline - time.monotonic()):
            # Stuck in the kernel, or made itself another user's: nothing more can be done to it from here.
            return


def _lives(stat: Stat) -> bool:
    now = read_stat(stat.pid)
    return now is not None and now.start_time == stat.start_time and not now.dead


async def _bounded(ended: asyncio.Future[Exit]) -> int | None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_TIMEOUT_S):
            return (await asyncio.shield(ended)).code
    return None


class _Output:
    """The reading end of a command's pipe: keeps the tail, and hands lines and log bytes on."""

    def __init__(self, max_tail: int, on_line: Callable[[str], None] | None, log: Path | None) -> None:
        self._max_tail = max_tail
        self._on_line = on_line
        self._tail = b""
        self._line = b""
        self._log_left = MAX_LOG_BYTES
        self._log = None
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._log = log.open("ab")
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reader, False)

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_writer()
        os.close(self._reader)
        if self._line and self._on_line:
            self._emit(self._line)
        if self._log is not None:
            self._log.close()

    async def read(self) -> None:
        """Read until nobody has the other end open any more."""
        self._close_writer()
        while True:
            await readable(self._reader)
            if not self._take():
                return

    def drain(self) -> None:
        """Take what stands in the pipe now; at most what a pipe can hold (1 MiB, pipe(7))."""
        for _ in range(1024 * 1024 // BLOCK):
            try:
                if not self._take():
                    return
            except BlockingIOError:
                return

    def text(self) -> str:
        return self._tail.decode("utf-8", "replace")

    # --- private

    def _close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def _take(self) -> bool:
        block = os.read(self._reader, BLOCK)
        self._tail = (self._tail + block)[-self._max_tail :] if self._max_tail > 0 else b""
        self._write(block)
        if self._on_line:
            *lines, self._line = (self._line + block).split(b"\n")
            for line in lines:
                self._emit(line)
            if len(self._line) > MAX_LINE_BYTES:
                self._emit(self._line)
                self._line = b""
        return bool(block)

    def _emit(self, line: bytes) -> None:
        assert self._on_line is not None
        for begin in range(0, len(line) or 1, MAX_LINE_BYTES):
            self._on_line(line[begin : begin + MAX_LINE_BYTES].decode("utf-8", "replace").removesuffix("\r"))

    def _write(self, block: bytes) -> None:
        if self._log is None or self._log_left <= 0:
            return
        self._log.write(block[: self._log_left])
        self._log_left -= len(block)
        if self._log_left <= 0:
            self._log.write(b"\n" + BEYOND + b"\n")
        self._log.flush()
