"""Sessions on a host: a shell there that has passed the guard, whether a pipe or an SSH channel leads to it.

What it takes to start one is LocalHost's and SshHost's; all that is done with it is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, Protocol

from longshore.errors import LeaseLost
from longshore.fence import Fence
from longshore.hosts import guard
from longshore.hosts.base import Done, Facts, Host, HostUnreachable, Input, ScriptFailed
from longshore.hosts.guard import Pass, Scope

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus

    from longshore.hosts.bridge import BridgedBus

#: bytes read and written at once
BLOCK = 64 * 1024
#: seconds that the guard may take: its own patience, twice, and the way there
GUARD_S = 3.0 * guard.PATIENCE_S
#: seconds that ending a session may hold up whoever ends it
END_S = 5.0
#: last lines of a script's stderr that are shown
TAIL = 5
#: exit statuses of what was ended by SIGKILL, which may have been another manager
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


class Reader(Protocol):
    async def read(self, n: int = -1, /) -> bytes: ...

    async def readline(self) -> bytes: ...

    def at_eof(self) -> bool: ...


class Writer(Protocol):
    def write(self, data: bytes, /) -> None: ...

    def write_eof(self) -> None: ...

    async def drain(self) -> None: ...

    def is_closing(self) -> bool: ...


class Session(ABC):
    """A shell on the host and its three streams. What is lost raises HostUnreachable, but for the streams: their
    errors become it by `HostWithSessions._telling`."""

    stdin: Writer
    stdout: Reader
    stderr: Reader
    #: pid there and its start time, once it has passed the guard
    process: tuple[int, int] | None = None

    @abstractmethod
    async def ended(self) -> int:
        """Wait for its end. Exit status, negative for a signal."""

    @abstractmethod
    async def end(self) -> None:
        """See to it that nothing of it runs any more, as far as the host can be reached. Harmless on what ended."""


class HostWithSessions(ABC):
    """All of Host that sessions are enough for."""

    listen: str
    labels: Mapping[str, str]

    def __init__(self, name: str, scope: Scope, manager_id: str, epoch: int, fence: Fence) -> None:
        self.name = name
        self.scope: Literal["system", "user"] = scope
        self._manager_id, self._epoch, self._fence = manager_id, epoch, fence
        self._reachable: bool | None = None
        self._lost_at: float | None = None
        self._watchers: list[Callable[[Host], None]] = []
        self._bus: BridgedBus | None = None
        self._bus_lock = asyncio.Lock()
        self._home = PurePosixPath("~")

    # --- what a kind of host has to say

    @property
    @abstractmethod
    def title(self) -> str:
        """For messages: `host web1`."""

    @property
    @abstractmethod
    def address(self) -> str: ...

    @abstractmethod
    async def connect(self) -> Facts: ...

    @abstractmethod
    def _open(
        self, script: str, arguments: tuple[str, ...], environment: Mapping[str, str], *, follows: bool
    ) -> AbstractAsyncContextManager[Session]:
        """A session that was told its program and has yet to pass the guard; ended when the block is left.
        follows: it may go on for hours."""

    @abstractmethod
    def _not_begun(self, code: int | None, stderr: bytes) -> HostUnreachable:
        """Why a session ended before the guard has said anything."""

    @abstractmethod
    def _telling(self) -> contextlib.AbstractContextManager[None]:
        """Makes HostUnreachable of what streams raise when a connection is lost."""

    # --- Host

    @property
    def reachable(self) -> bool | None:
        return self._reachable

    @property
    def lost_at(self) -> float | None:
        return self._lost_at

    @property
    def state(self) -> PurePosixPath:
        return guard.state_of(self.scope, self._home)

    @property
    def units(self) -> PurePosixPath:
        return guard.units_of(self.scope, self._home)

    def watch(self, changed: Callable[[Host], None]) -> Callable[[], None]:
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed) if changed in self._watchers else None

    async def run(
        self,
        script: str,
        *arguments: str,
        input: Input = b"",
        timeout_s: float = 30.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        done = await self._done(script, arguments, environment or {}, input, timeout_s)
        if check:
            await self._judge(done)
        elif done.code in KILLED:
            await self._still_ours()
        return done

    @asynccontextmanager
    async def lines(self, script: str, *arguments: str) -> AsyncGenerator[AsyncIterator[bytes]]:
        async with self._begun(script, arguments, {}, follows=True) as session:
            with self._telling():
                session.stdin.write_eof()
            saying = asyncio.create_task(self._end_of(session.stderr))
            try:
                yield self._split(session, saying)
            finally:
                saying.cancel()
                await asyncio.gather(saying, return_exceptions=True)

    async def bus(self) -> MessageBus:
        from longshore.hosts.bridge import bridged  # a manager that uses no systemd needs no D-Bus

        async with self._bus_lock:
            if self._bus is None or not self._bus.connected:
                self._bus = await bridged(self, self._begun, self._telling)
            return self._bus

    async def close(self) -> None:
        if self._bus is not None:
            from longshore.hosts.bridge import closed

            bus, self._bus = self._bus, None
            await closed(bus)

    # --- for those who build on it

    def _found(self, reachable: bool, *, passing: bool = False) -> None:
        """It is known whether the host answers. passing: as HostUnreachable has it, where it does not."""
        if reachable:
            self._lost_at = None
        elif self._lost_at is None and (self._reachable or passing):
            self._lost_at = time.monotonic()
        if reachable is not self._reachable:
            self._reachable = reachable
            for changed in list(self._watchers):
                changed(self)

    def _pass(self, link: str, generation: int) -> Pass:
        return Pass(self._manager_id, self._epoch, self.scope, link, generation)

    async def _done(
        self, script: str, arguments: tuple[str, ...], environment: Mapping[str, str], input: Input, timeout_s: float
    ) -> Done:
        """Run a script in a session of its own."""
        async with self._begun(script, arguments, environment) as session, self._within(timeout_s):
            return await self._fed(session, input)

    @asynccontextmanager
    async def _within(self, seconds: float) -> AsyncGenerator[None]:
        """The time that a script has."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            message = f"{self.title}: a script did not end within {seconds:g} s and was ended"
            raise HostUnreachable(self.name, message) from None

    @asynccontextmanager
    async def _begun(
        self, script: str, arguments: tuple[str, ...], environment: Mapping[str, str], *, follows: bool = False
    ) -> AsyncGenerator[Session]:
        """A session that has passed the guard; the script reads what is written to `stdin`."""
        self._fence()
        async with self._open(script, arguments, environment, follows=follows) as session:
            await self._begin(session)
            yield session

    async def _begin(self, session: Session) -> None:
        """The guard has let it pass."""
        try:
            async with asyncio.timeout(GUARD_S):
                with self._telling():
                    session.process = await self._passed(session)
        except TimeoutError:
            message = f"{self.title}: a shell there did not begin within {GUARD_S:g} s"
            raise HostUnreachable(self.name, message, passing=True) from None

    async def _passed(self, session: Session) -> tuple[int, int]:
        while line := await session.stdout.readline():
            answer = guard.parse_answer(line)
            if answer is None:
                continue
            if answer.word == "go":
                return answer.process
            if answer.word == "newer":
                raise LeaseLost(cause=f"{self.title} was shown epoch {answer.detail}, this manager has {self._epoch}")
            if answer.word == "stale":
                message = f"{self.title}: the connection was lost, and another one has taken its place"
                raise HostUnreachable(self.name, message, passing=True)
            raise HostUnreachable(self.name, f"{self.title} cannot be worked on: {answer.detail}")
        said = await session.stderr.read()
        try:
            async with asyncio.timeout(END_S):
                code: int | None = await session.ended()
        except TimeoutError:
            code = None
        raise self._not_begun(code, said)

    async def _fed(self, session: Session, input: Input) -> Done:
        feeding = asyncio.create_task(self._feed(session.stdin, input))
        reading = asyncio.create_task(self._read(session))
        try:
            await asyncio.wait((feeding, reading), return_when=asyncio.FIRST_COMPLETED)
            if feeding.done() and (error := feeding.exception()):
                # Never an end of input here: the script would take a part for the whole.
                raise error
            return await reading
        finally:
            feeding.cancel()
            reading.cancel()
            await asyncio.gather(feeding, reading, return_exceptions=True)

    async def _feed(self, stdin: Writer, input: Input) -> None:
        """Write all of it, no faster than it is read. What is not taken is no error: the script's status tells."""
        blocks = _blocks(input) if isinstance(input, bytes) else input
        async for block in blocks:
            if stdin.is_closing():  # the script has ended; uvloop's pipes take it ill to be written to then
                return
            with self._telling():
                try:
                    stdin.write(block)
                    await stdin.drain()
                except (BrokenPipeError, ConnectionResetError):
                    return
        if stdin.is_closing():
            return
        with self._telling(), contextlib.suppress(BrokenPipeError, ConnectionResetError):
            stdin.write_eof()

    async def _read(self, session: Session) -> Done:
        with self._telling():
            stdout, stderr = await asyncio.gather(session.stdout.read(), session.stderr.read())
            return Done(await session.ended(), stdout, stderr)

    async def _split(self, session: Session, saying: asyncio.Task[bytes]) -> AsyncIterator[bytes]:
        rest = b""
        with self._telling():
            while block := await session.stdout.read(BLOCK):
                *whole, rest = (rest + block).split(b"\n")
                for line in whole:
                    yield line
            if rest:
                yield rest
            # Whether that was its end, or that of the connection: this one raises in the latter case.
            done = Done(await session.ended(), b"", await saying)
        await self._judge(done)

    async def _end_of(self, stderr: Reader) -> bytes:
        end = b""
        with self._telling():
            while block := await stderr.read(BLOCK):
                end = (end + block)[-BLOCK:]
        return end

    async def _judge(self, done: Done) -> None:
        """Raises ScriptFailed, or LeaseLost where it has failed because another manager has ended it."""
        if done.code in KILLED:
            await self._still_ours()
        if done.code != 0:
            raise ScriptFailed(self.name, f"{self.title}: {_why(done)}", done)

    async def _still_ours(self) -> None:
        """Something was killed there: by a manager that has taken over? Raises LeaseLost then."""
        async with self._begun(":", (), {}) as session:
            session.stdin.write_eof()
            await session.ended()


async def _blocks(input: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(input), BLOCK):
        yield input[start : start + BLOCK]


def _why(done: Done) -> str:
    said = done.stderr.decode(errors="replace").strip().splitlines()[-TAIL:]
    how = f"was killed by signal {-done.code}" if done.code < 0 else f"exited with status {done.code}"
    return "; ".join(said) + f" (the script {how})" if said else f"a script {how} and said nothing"
