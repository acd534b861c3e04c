"""A host that is reached by SSH."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from longshore.fence import Fence, unfenced
from longshore.hosts import facts, guard, refusals, standing
from longshore.hosts.base import Done, Facts, HostUnreachable, Input
from longshore.hosts.dialling import dial
from longshore.hosts.guard import Scope
from longshore.hosts.link import Link, Opened
from longshore.hosts.refusals import Peer
from longshore.hosts.sessions import END_S, HostWithSessions, Session
from longshore.hosts.settings import HostSettings, SshSettings, parse_short
from longshore.hosts.standing import Idle, Standing

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection, SSHClientProcess

log = logging.getLogger(__name__)

#: seconds that sshd may refuse another session
OPEN_S = 3.0


class SshHost(HostWithSessions):
    """One machine over one kept connection, and further ones for what is followed (journals), so that whoever reads
    logs takes no session from a rollout."""

    def __init__(
        self,
        settings: HostSettings,
        ssh: SshSettings,
        scope: Scope,
        manager_id: str,
        epoch: int,
        fence: Fence = unfenced,
    ) -> None:
        super().__init__(settings.name, scope, manager_id, epoch, fence)
        self.listen = settings.listen
        self.labels = settings.labels
        self._settings, self._ssh = settings, ssh
        self._sudo = scope == "system" and settings.becomes_root
        self._peer = peer_of(settings, ssh)
        self._address = settings.address if _is_ip(settings.address) else ""
        self._main = Link(self.name, self._dial, self._changed, stays=True)
        self._followers: list[Link] = []
        self._idle = Idle()
        self._ending = asyncio.Semaphore(1)

    @property
    def title(self) -> str:
        return f"host {self.name}"

    @property
    def address(self) -> str:
        """Once it was connected an IP address, whatever the configuration calls it by."""
        return self._address or self._settings.address

    async def connect(self) -> Facts:
        self._fence()
        return (await self._main.open()).facts

    async def close(self) -> None:
        await super().close()
        self._idle.close()
        for link in (self._main, *self._followers):
            await link.close()

    # --- connections

    async def _dial(
        self, generation: int, lost: Callable[[Exception | None], None], link: Link | None = None
    ) -> Opened:
        link = link or self._main
        bound_s = self._ssh.connect_timeout_s
        try:
            async with asyncio.timeout(bound_s):
                connection, address = await dial(self._peer, self._jump(), self._ssh, lost)
                try:
                    self._address = address
                    shown = self._pass(link.id, generation)
                    text = guard.program(shown, facts.SCRIPT, facts.TOOLS, {})
                    async with self._start(connection, text, shown) as session:
                        with self._telling():
                            session.process = await self._passed(session)
                            session.stdin.write_eof()
                            found = facts.parse_facts((await self._read(session)).stdout)
                except BaseException:
                    connection.abort()
                    raise
        except TimeoutError as error:
            raise refusals.not_connected(self._peer, error, bound_s) from None
        except ValueError as error:
            raise self._peer.refusal(f"is no machine that can be worked on: {error}") from None
        self._home = found.home
        return Opened(connection, generation, found)

    def _changed(self, reachable: bool, passing: bool) -> None:
        if self.reachable is not None and reachable is not self.reachable:
            log.warning("%s %s", self.title, "is back" if reachable else "is out of reach: its connection was lost")
        self._found(reachable, passing=passing)

    def _jump(self) -> Peer | None:
        if not self._settings.jump:
            return None
        jump = HostSettings(**parse_short(self._settings.jump), name=self.name, key=self._settings.key)
        return peer_of(jump, self._ssh, f"the jump host of {self.name}")

    def _follower(self) -> Link:
        """A link with room for one more that goes on for long."""
        for link in self._followers:
            if not link.sessions.locked():
                return link

        async def dialling(generation: int, lost: Callable[[Exception | None], None]) -> Opened:
            return await self._dial(generation, lost, link)

        link = Link(self.name, dialling, lambda reachable, passing: None)
        self._followers.append(link)
        return link

    # --- sessions

    @asynccontextmanager
    async def _open(
        self, script: str, arguments: tuple[str, ...], environment: Mapping[str, str], *, follows: bool
    ) -> AsyncGenerator[Session]:
        link = self._follower() if follows else self._main
        async with link.sessions:
            link.used += 1
            try:
                opened = await link.open()
                shown = self._pass(link.id, opened.generation)
                text = guard.program(shown, script, arguments, environment)
                async with self._start(opened.connection, text, shown) as session:
                    yield session
            finally:
                link.used -= 1
                if follows and not link.used:
                    await link.close()

    async def _done(
        self, script: str, arguments: tuple[str, ...], environment: Mapping[str, str], input: Input, timeout_s: float
    ) -> Done:
        if not isinstance(input, bytes) or len(input) > standing.INPUT_MOST:
            return await super()._done(script, arguments, environment, input, timeout_s)
        self._fence()
        async with self._main.sessions:
            while True:
                opened = await self._main.open()
                shown = self._pass(self._main.id, opened.generation)
                text = guard.passing(shown, script, arguments, environment, stays=True)
                shell = self._idle.take(opened.connection) or await self._standing(opened.connection, shown)
                try:
                    done = await self._done_by(shell, text, input, timeout_s)
                except BaseException as error:
                    await shell.session.end()
                    ended_idle = shell.ran and shell.unheard and not opened.connection.is_closed()
                    if ended_idle and isinstance(error, Exception):
                        continue  # so it has not begun with this
                    raise
                if not self._idle.put(opened.connection, shell):
                    await self._end_of_shell(shell)
                return done

    async def _done_by(self, shell: Standing, text: bytes, input: bytes, timeout_s: float) -> Done:
        with self._telling():
            with contextlib.suppress(BrokenPipeError):  # it has ended: that is seen by what it says
                await shell.send(text, len(input))
            await self._begin(shell.session)
            async with self._within(timeout_s):
                with contextlib.suppress(BrokenPipeError):
                    await shell.feed(input)
                return await shell.rest()

    async def _standing(self, connection: SSHClientConnection, shown: guard.Pass) -> Standing:
        process = await self._shell(connection, standing.SHELL)
        return Standing(_Channel(self, connection, process, shown), guard.words(shown.scope), process.close)

    async def _end_of_shell(self, shell: Standing) -> None:
        """It reads that nothing comes any more, and sshd sees its end: until then sshd counts its session, closed or
        not."""
        try:
            with contextlib.suppress(TimeoutError, HostUnreachable):  # its last script has ended well all the same
                async with asyncio.timeout(END_S):
                    with self._telling():
                        shell.session.stdin.write_eof()
                    await shell.session.ended()
        finally:
            shell.close()

    @asynccontextmanager
    async def _start(self, connection: SSHClientConnection, text: bytes, shown: guard.Pass) -> AsyncGenerator[Session]:
        process = await self._shell(connection, f"/bin/sh -c '{guard.BOOT}'")
        session = _Channel(self, connection, process, shown)
        try:
            # A shell that has ended already is asked by its status, and by what it has said.
            with self._telling(), contextlib.suppress(BrokenPipeError):
                process.stdin.write(text)
            yield session
        finally:
            await session.end()

    async def _shell(self, connection: SSHClientConnection, shell: str) -> SSHClientProcess[bytes]:
        import asyncssh

        command = f"exec {'sudo -n -- ' if self._sudo else ''}{shell}"
        deadline, pause = time.monotonic() + OPEN_S, 0.01
        while True:
            try:
                with self._telling():
                    return await _created(connection, command)
            except asyncssh.ChannelOpenError as error:
                if connection.is_closed():
                    raise refusals.lost(self._peer, error) from error
                self._idle.close()
                # sshd counts those that have ended until it gets round to forgetting them.
                if time.monotonic() > deadline:
                    raise refusals.no_session(self._peer, error) from error
            await asyncio.sleep(pause)
            pause *= 2

    def _not_begun(self, code: int | None, stderr: bytes) -> HostUnreachable:
        return refusals.not_begun(self._peer, self._sudo, code, stderr)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        import asyncssh

        try:
            yield
        except asyncssh.ChannelOpenError:
            raise
        except (asyncssh.Error, OSError) as error:
            raise refusals.lost(self._peer, error) from error

    async def end_process(self, connection: SSHClientConnection, process: tuple[int, int], shown: guard.Pass) -> None:
        """End a session from another one: a signal over SSH would not reach what sudo has started."""
        script, arguments = guard.ending(*process)
        text = guard.program(shown, script, arguments, {})
        try:
            async with self._ending, asyncio.timeout(END_S), self._start(connection, text, shown) as session:
                with self._telling():
                    session.stdin.write_eof()
                    await session.stdout.read()
        except (HostUnreachable, TimeoutError) as error:
            # The first session of the next connection ends it, if nothing else does.
            log.warning("%s: process %d could not be ended: %s", self.title, process[0], error or "no answer")


class _Channel(Session):
    def __init__(
        self, host: SshHost, connection: SSHClientConnection, process: SSHClientProcess[bytes], shown: guard.Pass
    ) -> None:
        self.stdin: Any = process.stdin
        self.stdout: Any = process.stdout
        self.stderr: Any = process.stderr
        self._host, self._connection, self._process, self._shown = host, connection, process, shown

    async def ended(self) -> int:
        await self._process.wait_closed()
        code = self._process.returncode
        if code is None:
            raise refusals.lost(self._host._peer, None)
        return code

    async def end(self) -> None:
        if self.process is not None and self._process.returncode is None and not self._connection.is_closed():
            ending = asyncio.create_task(self._host.end_process(self._connection, self.process, self._shown))
            _ENDINGS.add(ending)
            ending.add_done_callback(_ENDINGS.discard)
            await asyncio.shield(ending)
        self._process.close()


async def _created(connection: SSHClientConnection, command: str) -> SSHClientProcess[bytes]:
    """A program there. When we are cancelled while it is started, it is not left waiting for what nobody writes."""
    creating = asyncio.ensure_future(connection.create_process(command, encoding=None))
    try:
        return await asyncio.shield(creating)
    except asyncio.CancelledError:
        creating.add_done_callback(_not_wanted)
        raise


def _not_wanted(created: asyncio.Future[SSHClientProcess[bytes]]) -> None:
    if not created.cancelled() and created.exception() is None:
        created.result().close()


#: what is ended although nobody waits for it any more
_ENDINGS: set[asyncio.Task[None]] = set()


def peer_of(settings: HostSettings, ssh: SshSettings, title: str = "") -> Peer:
    key = settings.key or ssh.key
    return Peer(
        name=settings.name,
        title=title or f"host {settings.name}",
        user=settings.user,
        address=settings.address,
        port=settings.port,
        key=key.expanduser() if key else None,
        known_hosts=ssh.known_hosts,
        through=settings.jump,
    )


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
