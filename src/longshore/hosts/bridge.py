"""D-Bus on a host: `systemd-stdio-bridge` in a session there, and a socket here that dbus-fast connects to.

    dbus-fast ──socket in a private directory── relay ──session── systemd-stdio-bridge ──the bus there

Also for this machine: a bus of its own would go on when a newer manager has taken over, the session of a bridge is
ended by the guard.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dbus_fast import Message
from dbus_fast.aio import MessageBus
from dbus_fast.auth import AuthExternal
from dbus_fast.errors import AuthError

from longshore.hosts.base import HostUnreachable
from longshore.hosts.sessions import BLOCK, Session

if TYPE_CHECKING:
    from longshore.hosts.sessions import HostWithSessions

SCRIPT = {
    "system": "exec systemd-stdio-bridge",
    # Its --user is for containers only: by itself it would take the bus of the machine (systemd 252).
    "user": """
bus=$XDG_RUNTIME_DIR/bus
if [ ! -S "$bus" ]; then
  user=$(id -un)
  echo "$bus is not there: \\`loginctl enable-linger $user\\` and \\`apt-get install dbus-user-session\\`" >&2
  exit 1
fi
exec systemd-stdio-bridge --bus-path="unix:path=$bus"
""",
}
#: seconds until the bus must have answered
CONNECT_S = 10.0
#: seconds until its session there must have ended
CLOSE_S = 5.0


class BridgedBus(MessageBus):
    """A bus on a host. Calls on one that is lost raise HostUnreachable."""

    def __init__(self, host: HostWithSessions, address: str, uid: int) -> None:
        super().__init__(bus_address=address, auth=AuthExternal(uid))
        self._host = host
        #: what carries it; ends when the bus does
        self.relay: asyncio.Task[None] | None = None

    async def call(self, msg: Message) -> Message:
        if not self.connected:
            raise self._lost()
        try:
            reply: Message | None = await super().call(msg)
        except (OSError, EOFError) as error:
            raise self._lost() from error
        if reply is None:  # it was disconnected here
            raise self._lost()
        return reply

    def _lost(self) -> HostUnreachable:
        message = f"{self._host.title}: the connection to its systemd was lost"
        return HostUnreachable(self._host.name, message, passing=True)


async def bridged(
    host: HostWithSessions,
    begun: Callable[..., AbstractAsyncContextManager[Session]],
    telling: Callable[[], AbstractContextManager[None]],
) -> BridgedBus:
    """A bus on the host that is connected. Raises HostUnreachable, LeaseLost."""
    facts = await host.connect()
    if not facts.systemd:
        raise HostUnreachable(host.name, f"{host.title} was not booted with systemd: units cannot be run there")
    if "systemd-stdio-bridge" not in facts.tools:
        raise HostUnreachable(host.name, f"{host.title} has no systemd-stdio-bridge, which is part of systemd")
    ready: asyncio.Future[BridgedBus] = asyncio.get_running_loop().create_future()
    relay = asyncio.create_task(_relay(host, facts.uid, begun, telling, ready), name=f"bus of {host.title}")
    _RELAYS.add(relay)
    relay.add_done_callback(_RELAYS.discard)
    try:
        bus = await asyncio.shield(ready)
    except asyncio.CancelledError:
        relay.cancel()
        raise
    bus.relay = relay
    return bus


async def closed(bus: BridgedBus) -> None:
    """Disconnect it, and see to it that nothing of it is left."""
    bus.disconnect()
    if bus.relay is not None:
        await asyncio.wait((bus.relay,), timeout=CLOSE_S)


#: the loop holds tasks by weak references only
_RELAYS: set[asyncio.Task[None]] = set()


async def _relay(
    host: HostWithSessions,
    uid: int,
    begun: Callable[..., AbstractAsyncContextManager[Session]],
    telling: Callable[[], AbstractContextManager[None]],
    ready: asyncio.Future[BridgedBus],
) -> None:
    """The life of one bus: from the session to when either side is gone."""
    try:
        async with begun(SCRIPT[host.scope], (), {}) as session, _socket() as (address, accepted):
            bus = BridgedBus(host, address, uid)
            connecting = asyncio.create_task(_connected(bus))
            reader, writer = await accepted
            said = asyncio.create_task(session.stderr.read())
            there = asyncio.create_task(_pump(session.stdout, writer))
            here = asyncio.create_task(_pump(reader, session.stdin))
            try:
                await asyncio.wait((connecting, there, here), return_when=asyncio.FIRST_COMPLETED)
                if there.done() and not connecting.done():
                    writer.close()
                await asyncio.wait((connecting,))
                if error := connecting.exception():
                    raise await _unanswered(host, error, there, said)
                ready.set_result(bus)
                await asyncio.wait((there, here), return_when=asyncio.FIRST_COMPLETED)
            finally:
                writer.close()
                for task in (connecting, said, there, here):
                    task.cancel()
                await asyncio.gather(connecting, said, there, here, return_exceptions=True)
    except Exception as error:
        if not ready.done():
            ready.set_exception(error)
    finally:
        if not ready.done():
            ready.cancel()


async def _connected(bus: BridgedBus) -> None:
    async with asyncio.timeout(CONNECT_S):
        await bus.connect()
    # Asked for, so that nobody is told of an exception that was never retrieved.
    bus._disconnect_future.add_done_callback(lambda future: future.cancelled() or future.exception())


async def _unanswered(
    host: HostWithSessions, error: BaseException, there: asyncio.Task[None], said: asyncio.Task[bytes]
) -> BaseException:
    if not isinstance(error, OSError | EOFError | AuthError | TimeoutError):
        return error
    with contextlib.suppress(Exception):
        async with asyncio.timeout(1.0):
            await asyncio.wait((said,))
    why = said.result().decode(errors="replace").strip() if said.done() and not said.exception() else ""
    message = f"{host.title}: its D-Bus does not answer: {why or error or type(error).__name__}"
    return HostUnreachable(host.name, message, passing=True)


async def _pump(reader: Any, writer: Any) -> None:
    """Until the reader is at its end, or either is lost."""
    while block := await reader.read(BLOCK):
        writer.write(block)
        await writer.drain()


@asynccontextmanager
async def _socket() -> AsyncGenerator[tuple[str, asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]]:
    """The D-Bus address of a socket for one connection, which nobody else can reach."""
    directory = Path(tempfile.mkdtemp(prefix="longshore-bus-"))
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if accepted.done():
            writer.close()
        else:
            accepted.set_result((reader, writer))

    try:
        server = await asyncio.start_unix_server(accept, directory / "bus", limit=BLOCK)
        try:
            yield f"unix:path={quote(str(directory / 'bus'))}", accepted
        finally:
            server.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
