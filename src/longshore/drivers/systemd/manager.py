"""The systemd of one host, over D-Bus: the few calls that instances need (org.freedesktop.systemd1(5)).

Each call goes over the bus that the host has now. One that is lost, in a call or while something is awaited, raises
HostUnreachable; what became of the work is then asked, never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from dbus_fast import Message, MessageType
from dbus_fast.unpack import unpack_variants

from longshore.drivers.base import DriverError
from longshore.drivers.systemd.quoting import label
from longshore.drivers.systemd.state import UnitState, state_of
from longshore.fence import Fence, unfenced
from longshore.hosts.base import HERE, Host, HostUnreachable

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus

T = TypeVar("T")

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER, UNIT, SERVICE = f"{NAME}.Manager", f"{NAME}.Unit", f"{NAME}.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
#: seconds that an answer may take; a reload of a machine with thousands of units takes some
CALL_S = 60.0
#: what the bus is asked to pass on of each job's end
JOBS_END = f"type='signal',sender='{NAME}',interface='{MANAGER}',path='{PATH}',member='JobRemoved'"
#: ended jobs that are remembered: one may end before whoever asked for it has read its name
JOBS = 256

#: from one machine over: "this machine", or "host web1"
Title = str


class Refused(DriverError):
    """systemd has said no. code: its name for the reason, such as NoSuchUnit."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def title_of(host: Host) -> Title:
    return "this machine" if host.name == HERE else f"host {host.name}"


class Systemd:
    """One for each host, or for a while: whatever its bus does for it goes on until aclose(), or the bus is lost.

    fence   passed right before each call that changes something
    """

    def __init__(self, host: Host, fence: Fence = unfenced) -> None:
        self.host = host
        self._fence = fence
        self._session: _Session | None = None
        self._opening = asyncio.Lock()
        self._reloads = Batched(self._reload)
        #: unit → a look at it that is not under way yet
        self._looks: dict[str, asyncio.Task[UnitState]] = {}

    async def aclose(self) -> None:
        """Nothing of it is left on the bus, which others use as well. Nobody waits for anything of it any more."""
        for look in self._looks.values():
            look.cancel()  # it would open another session
        session, self._session = self._session, None
        if session is not None:
            await session.end()

    # ------------------------------------------------------------------------------------------------ asking

    async def state(self, unit: str) -> UnitState:
        """What is known of a unit now; of one that is not there, too (load is "not-found" then)."""
        look = self._looks.get(unit)
        if look is None:
            look = self._looks[unit] = asyncio.create_task(self._look(unit), name=f"look at {unit}")
            look.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(look)  # with all who wait for the same change of it

    async def processes(self, unit: str) -> list[int]:
        """Pids, as the host numbers them, of all that belongs to a unit; none where it does not run."""
        try:
            found = await (await self._open()).call("GetUnitProcesses", "s", [unit])
        except Refused:
            return []
        return [pid for _, pid, _ in found[0]]

    # ----------------------------------------------------------------------------------------------- changing

    async def start(self, unit: str) -> Job:
        """Have it started; the job says how that went. Raises Refused: it is masked, its file is bad, it is missing."""
        return await self._job("StartUnit", unit)

    async def restart(self, unit: str) -> Job:
        return await self._job("RestartUnit", unit)

    async def stop(self, unit: str) -> Job:
        return await self._job("StopUnit", unit)

    async def kill(self, unit: str) -> None:
        """SIGKILL to all processes of a unit; to none where it does not run."""
        await self._change("KillUnit", "ssi", [unit, "all", 9], ignore=("NoSuchUnit", "NoSuchProcess"))

    async def reset_failed(self, unit: str) -> None:
        """Forget that it failed, and how often it was started."""
        await self._change("ResetFailedUnit", "s", [unit], ignore=("NoSuchUnit",))

    async def reload(self) -> None:
        """Have all unit files read again. Those who ask while one is under way share the next."""
        await self._reloads.join()

    # ----------------------------------------------------------------------------------------------- watching

    @asynccontextmanager
    async def watching(self, unit: str) -> AsyncGenerator[Callable[[], Awaitable[None]]]:
        """Have systemd keep what it knows of a unit, and yield a call that waits until that was changed since it was
        called last (at first: since this began). It raises HostUnreachable when the bus is lost."""
        session = await self._open()
        path = path_of(unit)
        changed = asyncio.Event()
        async with session.matching(path, changed):
            kept = await self._keep(session, unit)

            async def wait() -> None:
                await session.until(changed.wait(), None)
                changed.clear()

            try:
                yield wait
            finally:
                if kept:
                    with contextlib.suppress(DriverError):
                        await session.call("UnrefUnit", "s", [unit])

    # --- private

    async def _look(self, unit: str) -> UnitState:
        try:
            session = await self._open()
        finally:
            del self._looks[unit]  # whoever asks from here on is not served by what is asked now
        path = path_of(unit)
        found = await _all([session.call("GetAll", "s", [each], path, PROPERTIES) for each in (UNIT, SERVICE)])
        of_unit, of_service = (unpack_variants(each[0]) for each in found)
        return state_of(unit, of_unit, of_service)

    async def _keep(self, session: _Session, unit: str) -> bool:
        try:
            await session.call("RefUnit", "s", [unit])
        except Refused:
            return False
        return True

    async def _job(self, method: str, unit: str) -> Job:
        session = await self._open()
        self._fence()
        path = (await session.call(method, "ss", [unit, "replace"]))[0]
        return Job(session, path)

    async def _change(self, method: str, signature: str, body: list[Any], ignore: Sequence[str] = ()) -> None:
        session = await self._open()
        self._fence()
        try:
            await session.call(method, signature, body)
        except Refused as error:
            if error.code not in ignore:
                raise

    async def _reload(self) -> None:
        await self._change("Reload", "", [])

    async def _open(self) -> _Session:
        async with self._opening:
            bus = await self.host.bus()
            if self._session is None or self._session.bus is not bus or self._session.lost.done():
                session = _Session(bus, self.host)
                try:
                    await session.begin()
                except BaseException:
                    await session.end()
                    raise
                self._session = session
            return self._session


class Job:
    """Something that systemd was asked to do."""

    def __init__(self, session: _Session, path: str) -> None:
        self._session, self._ended = session, session.job(path)

    @property
    def done(self) -> bool:
        return self._ended.done()

    async def result(self, timeout_s: float | None) -> str | None:
        """How it ended: done, failed, timeout, canceled, dependency, skipped …; None: not within the time."""
        try:
            return await self._session.until(asyncio.shield(self._ended), timeout_s)
        except TimeoutError:
            return None


class Batched:
    """Work that serves all who have asked for it before it began: whoever comes later shares the next round."""

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._next: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    async def join(self) -> None:
        if self._next is None:
            self._next = asyncio.create_task(self._round())
            self._next.add_done_callback(lambda task: task.cancelled() or task.exception())
        await asyncio.shield(self._next)

    async def _round(self) -> None:
        async with self._lock:
            self._next = None
            await self._work()


def path_of(unit: str) -> str:
    return f"{PATH}/unit/{label(unit)}"


# --- private


class _Session:
    """What is known over one bus: which jobs have ended, and who waits for which unit."""

    def __init__(self, bus: MessageBus, host: Host) -> None:
        self.bus = bus
        self._host = host
        self._title = title_of(host)
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._watchers: dict[str, list[asyncio.Event]] = {}
        self.lost: asyncio.Task[None] = asyncio.create_task(self._until_lost(), name=f"bus of {self._title}")

    async def begin(self) -> None:
        self.bus.add_message_handler(self._heard)
        await self._match("AddMatch", JOBS_END)
        with contextlib.suppress(Refused):  # another of us has subscribed this bus
            await self.call("Subscribe")

    async def end(self) -> None:
        """The bus holds a few hundred rules, and each handler hears every message: they go before it does."""
        try:
            with contextlib.suppress(DriverError):
                await self._match("RemoveMatch", JOBS_END)
        finally:
            self.bus.remove_message_handler(self._heard)
            self.lost.cancel()

    async def call(
        self,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        path: str = PATH,
        interface: str = MANAGER,
    ) -> list[Any]:
        message = Message(
            destination=NAME, path=path, interface=interface, member=member, signature=signature, body=body or []
        )
        return await self._send(message)

    async def until(self, work: Awaitable[T], timeout_s: float | None) -> T:
        """What it gives. Raises TimeoutError, and HostUnreachable when the bus is lost meanwhile."""
        future = asyncio.ensure_future(work)
        try:
            await asyncio.wait((future, self.lost), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            if self.lost.done():
                raise self._gone()
            raise TimeoutError
        finally:
            future.cancel()

    def job(self, path: str) -> asyncio.Future[str]:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if path in self._ended:
            future.set_result(self._ended.pop(path))
        else:
            self._jobs[path] = future
        return future

    @asynccontextmanager
    async def matching(self, path: str, changed: asyncio.Event) -> AsyncGenerator[None]:
        """Set `changed` whenever a property of the unit at this path becomes another."""
        # systemd tells of a change twice: of what only its kind of unit has, and then of what every unit has.
        what = f"interface='{PROPERTIES}',member='PropertiesChanged',path='{path}',arg0='{UNIT}'"
        rule = f"type='signal',sender='{NAME}',{what}"
        events = self._watchers.setdefault(path, [])
        events.append(changed)
        try:
            # The bus counts how often a rule was added.
            await self._match("AddMatch", rule)
            yield
        finally:
            events.remove(changed)
            if not events:
                self._watchers.pop(path, None)
            with contextlib.suppress(DriverError):
                await self._match("RemoveMatch", rule)

    # --- private

    async def _match(self, member: str, rule: str) -> None:
        name = "org.freedesktop.DBus"
        await self._send(
            Message(
                destination=name,
                path="/org/freedesktop/DBus",
                interface=name,
                member=member,
                signature="s",
                body=[rule],
            )
        )

    async def _send(self, message: Message) -> list[Any]:
        if self.lost.done():
            raise self._gone()
        try:
            reply: Message | None = await self.until(self.bus.call(message), CALL_S)
        except TimeoutError:
            raise HostUnreachable(
                self._host.name, f"{self._title}: its systemd has not answered within {CALL_S:g} s", passing=True
            ) from None
        except (OSError, EOFError) as error:
            raise self._gone() from error
        if reply is None:
            raise self._gone()
        if reply.message_type is MessageType.ERROR:
            code = (reply.error_name or "").removeprefix(f"{NAME}.").removeprefix("org.freedesktop.DBus.Error.")
            text = str(reply.body[0]) if reply.body else code
            raise Refused(f"{self._title}: systemd says: {text.rstrip('.')}", code)
        return list(reply.body)

    def _heard(self, message: Message) -> None:
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.member == "JobRemoved" and message.interface == MANAGER:
            _, path, _, result = message.body
            future = self._jobs.pop(path, None)
            if future is None:
                self._ended[path] = result
                if len(self._ended) > JOBS:
                    self._ended.popitem(last=False)
            elif not future.done():
                future.set_result(result)
        elif message.member == "PropertiesChanged":
            for event in self._watchers.get(message.path or "", ()):
                event.set()

    async def _until_lost(self) -> None:
        # Others wait for the same future, which a cancelled one of them must not cancel.
        await asyncio.wait((self.bus._disconnect_future,))

    def _gone(self) -> HostUnreachable:
        return HostUnreachable(self._host.name, f"{self._title}: the connection to its systemd was lost", passing=True)


async def _all(calls: Sequence[Awaitable[Any]]) -> list[Any]:
    """What all give; where one fails, the others are ended first."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
