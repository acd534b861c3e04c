"""Driver `mock`: instances that exist in memory only, and misbehave as a script says. For tests, demos and documents.

    world = MockWorld(clock)
    world.scripts["2.0"] = Script(never_ready=True)
    driver = MockDriver(world)              # … the manager is killed: MockDriver(world) again, the instances are there

Nothing here starts a process or sleeps; what takes time (`ready_after`, `exit_after`, …) takes it on the world's clock.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from longshore.clock import Clock, SystemClock
from longshore.drivers.base import (
    DriverError,
    Exit,
    Fingerprint,
    Handle,
    Inspection,
    Launch,
    LogLine,
    Output,
    Stopped,
)
from longshore.hosts.base import HostUnreachable


@dataclass(frozen=True, slots=True)
class Script:
    """How the instances of one version behave. The default is one that starts, is ready, and ends when told to."""

    #: never answers a probe (MockWorld.ready)
    never_ready: bool = False
    #: answers probes only so many seconds after its start …
    ready_after: float = 0.0
    #: … and from so many seconds on no more, though it runs
    sick_after: float | None = None
    #: ends by itself so many seconds after its start …
    exit_after: float | None = None
    #: … with this code
    exit_code: int = 1
    #: start() raises DriverError with this reason
    start_error: str = ""
    #: start() waits until MockWorld.unblock(): "before" the instance exists, or "after", when it was persisted
    start_block: Literal["", "before", "after"] = ""
    #: ends by SIGKILL only, after the whole grace
    ignores_term: bool = False
    #: told to end, it answers no more at once and is gone so many seconds later, whether anybody waits or not
    lingers: float = 0.0
    #: "start": start() succeeds though nothing runs, inspect() tells the truth. "always": inspect() says running, too
    lies: Literal["", "start", "always"] = ""


@dataclass(slots=True)
class MockInstance:
    """One that was started; `exit` is None while it runs."""

    launch: Launch
    version: str
    script: Script
    number: int
    #: on the monotonic clock
    started_at: float
    #: when it ends by itself, or because it was told to; None: it runs until then
    ends_at: float | None = None
    leaving: Exit | None = None
    exit: Exit | None = None
    waiters: list[asyncio.Future[Exit]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Sample:
    """What ran from `time` on: version → instances; versions without any are left out."""

    time: float
    running: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.running.values())


class MockWorld:
    """The machine that mock drivers run instances on. It outlives them, as a machine outlives a manager.

    scripts   version → Script, read when an instance starts
    history   a Sample for each change of what runs, the first at the beginning, when nothing did
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.scripts: dict[str, Script] = {}
        #: port → who has taken it from the instance that was given it
        self.strangers: dict[int, str] = {}
        #: names of hosts that are out of reach; what runs there runs on
        self.lost: set[str] = set()
        #: instance id → connections that others have to it, or what asking for them raises; none where it is not named
        self.connections: dict[str, int | Exception] = {}
        self.instances: dict[str, MockInstance] = {}
        self.history: list[Sample] = [Sample(self.clock.now(), {})]
        self.starts = 0
        #: those of `instances` that run
        self._alive: dict[str, MockInstance] = {}
        self._blocked: defaultdict[str, list[asyncio.Future[None]]] = defaultdict(list)
        self._numbers = itertools.count(1)
        self._logs: defaultdict[Path, list[LogLine]] = defaultdict(list)
        self._readers: list[asyncio.Future[None]] = []

    # --- what a test does to it

    def kill(self, instance: str, code: int = -9) -> None:
        """End a running instance (by its id) as a crash would: at once, nobody having asked for it."""
        found = self.find(instance)
        if found is None:
            raise KeyError(f"no running instance {instance!r}; there are {sorted(self.running_ids())}")
        self.end(found, Exit(code))

    def unblock(self, version: str) -> None:
        """Let start() calls go on that `start_block` holds."""
        for waiter in self._blocked.pop(version, []):
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)

    def blocked(self, version: str) -> int:
        """start() calls that `start_block` holds now."""
        return sum(not waiter.done() for waiter in self._blocked.get(version, ()))

    def write(self, log: Path, line: str) -> None:
        """Append a line to an instance's output."""
        now = self.clock.now()
        self._logs[log].append(LogLine(line, now, now))
        waiting, self._readers = self._readers, []
        for waiter in waiting:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(None)

    # --- what a test asks it

    def ready(self, instance: str | Handle) -> bool:
        """What a probe of the instance (its id or its handle) would find now."""
        found = self.find(instance)
        return found is not None and self._answers(found)

    def ready_on(self, port: int) -> bool:
        """What a probe of an instance by its port would find now."""
        return any(found.launch.port == port and self._answers(found) for found in self._running())

    def find(self, instance: str | Handle) -> MockInstance | None:
        """The running instance of that id or handle."""
        for found in self._running():
            if instance in (found.launch.instance, found.launch.launch_id):
                return found
            if not isinstance(instance, str) and instance["launch_id"] == found.launch.launch_id:
                return found
        return None

    def running_on(self, host: str) -> frozenset[str]:
        return frozenset(found.launch.instance for found in self._running() if found.launch.host == host)

    def running_ids(self) -> frozenset[str]:
        return frozenset(found.launch.instance for found in self._running())

    def running(self, version: str | None = None) -> int:
        """Instances that run now, of one version or of all."""
        return sum(version in (None, found.version) for found in self._running() if not found.script.lies)

    def most(self, version: str | None = None, since: float = float("-inf")) -> int:
        """The most instances (of one version, or of all together) that ran at any moment since then."""
        return max(self._counts(version, since))

    def fewest(self, version: str | None = None, since: float = float("-inf")) -> int:
        """The fewest instances (of one version, or of all together) that ran at any moment since then."""
        return min(self._counts(version, since))

    def ran_together(self, since: float = float("-inf")) -> bool:
        """Whether two versions ever ran at the same moment since then."""
        return any(len(sample.running) > 1 for sample in self._samples(since))

    # --- what drivers do to it

    async def hold(self, version: str) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._blocked[version].append(waiter)
        await waiter

    def begin(self, launch: Launch, version: str, script: Script) -> MockInstance:
        now = self.clock.monotonic()
        found = MockInstance(launch, version, script, next(self._numbers), now)
        if script.exit_after is not None:
            found.ends_at, found.leaving = now + script.exit_after, Exit(script.exit_code)
        self.instances[launch.launch_id] = found
        self.starts += 1
        if script.lies == "start":
            found.exit = Exit(None)
        else:
            self._alive[launch.launch_id] = found
        self._sample()
        return found

    def end(self, found: MockInstance, ending: Exit) -> None:
        if found.exit is not None:
            return
        found.exit = ending
        self._alive.pop(found.launch.launch_id, None)
        waiting, found.waiters = found.waiters, []
        for waiter in waiting:
            if not waiter.done() and not waiter.get_loop().is_closed():
                waiter.set_result(ending)
        self._sample()

    def leave(self, found: MockInstance) -> None:
        """It was told to end, and takes its time."""
        ends_at = self.clock.monotonic() + found.script.lingers
        if found.ends_at is None or ends_at < found.ends_at:
            found.ends_at = ends_at
        found.leaving = Exit(-15)

    def settle(self) -> None:
        """Let end what was to end by now: that needs nobody to wait for it."""
        now = self.clock.monotonic()
        for found in list(self._alive.values()):
            if found.ends_at is not None and found.ends_at <= now:
                self.end(found, found.leaving or Exit(None))

    def read(self, log: Path) -> list[LogLine]:
        return self._logs[log]

    async def written(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._readers.append(waiter)
        await waiter

    # --- private

    def _running(self) -> list[MockInstance]:
        self.settle()
        return list(self._alive.values())

    def _answers(self, found: MockInstance) -> bool:
        script, age = found.script, self.clock.monotonic() - found.started_at
        told_to_end = found.leaving == Exit(-15)
        if script.never_ready or script.lies or told_to_end or found.launch.host in self.lost:
            return False
        return script.ready_after <= age and (script.sick_after is None or age < script.sick_after)

    def _sample(self) -> None:
        alive = (found for found in self._alive.values() if not found.script.lies)
        self.history.append(Sample(self.clock.now(), dict(Counter(found.version for found in alive))))

    def _samples(self, since: float) -> list[Sample]:
        """Those that held at or after `since`: the last one before it did too."""
        self.settle()
        later = [index for index, sample in enumerate(self.history) if sample.time >= since]
        first = max(0, (later[0] if later else len(self.history)) - (0 if since == float("-inf") else 1))
        return self.history[first:]

    def _counts(self, version: str | None, since: float) -> list[int]:
        return [s.total if version is None else s.running.get(version, 0) for s in self._samples(since)]


class MockDriver:
    """Runs instances in a MockWorld. The version of a launch is its RELEASE_VERSION, else its directory's name."""

    name = "mock"

    def __init__(self, world: MockWorld) -> None:
        self.world = world

    def capabilities(self) -> frozenset[str]:
        return frozenset({"ports", "limits", "user", "logs", "replicas"})

    async def fingerprint(self) -> Fingerprint:
        return Fingerprint(True, "in memory: nothing really runs")

    async def start(self, launch: Launch, persist: Callable[[Handle], None]) -> Handle:
        """As the protocol says. A `persist` that raises what is no Exception (a test's "the manager was killed here")
        leaves the instance running, as kill -9 would."""
        self._expect(launch.host)
        version = launch.environment.get("RELEASE_VERSION") or launch.directory.name
        script = self.world.scripts.get(version, Script())
        if script.start_block == "before":
            await self.world.hold(version)
        if script.start_error:
            raise DriverError(script.start_error)
        found = self.world.begin(launch, version, script)
        handle = _handle(found)
        try:
            persist(handle)
        except Exception:
            self.world.end(found, Exit(-9))
            raise
        if script.start_block == "after":
            await self.world.hold(version)
        return handle

    async def inspect(self, handle: Handle) -> Inspection:
        self.world.settle()
        found = self._get(handle)
        if handle.get("host", "") in self.world.lost:
            return Inspection("unknown", None, f"host {handle['host']} is out of reach")
        if found is None:
            return Inspection("exited", Exit(None), "unknown to this world")
        if found.exit is not None:
            return Inspection("exited", found.exit, f"mock {found.number} {found.exit}")
        return Inspection("running", None, f"mock {found.number}")

    def notifies(self, handle: Handle) -> bool:
        return False

    async def exited(self, handle: Handle) -> Exit:
        self.world.settle()
        found = self._get(handle)
        if found is None or found.exit is not None:
            return (found and found.exit) or Exit(None)
        waiter: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        found.waiters.append(waiter)
        if found.ends_at is None:
            try:
                return await waiter
            finally:
                if waiter in found.waiters:  # nobody waits any more
                    found.waiters.remove(waiter)
        left = found.ends_at - self.world.clock.monotonic()
        timer = asyncio.ensure_future(self.world.clock.sleep(left))
        try:
            both: list[asyncio.Future[Any]] = [timer, waiter]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        self.world.end(found, found.leaving or Exit(None))
        return found.exit or Exit(None)

    async def stop(self, handle: Handle, grace_s: float) -> Stopped:
        """As the protocol says, but the grace of one that ignores SIGTERM is not waited for."""
        self._expect(handle.get("host", ""))
        self.world.settle()
        found = self._get(handle)
        if found is None or found.exit is not None:
            return Stopped((found and found.exit) or Exit(None), killed=False)
        if found.script.lingers and found.script.lingers < grace_s:
            self.world.leave(found)
            return Stopped(await self.exited(handle), killed=False)
        ending = Exit(-9 if found.script.ignores_term else -15)
        self.world.end(found, ending)
        return Stopped(ending, killed=found.script.ignores_term)

    async def survey(self) -> Mapping[str, Handle]:
        self.world.settle()
        return {
            launch_id: _handle(found)
            for launch_id, found in self.world.instances.items()
            if found.exit is None and found.launch.host not in self.world.lost
        }

    async def successor(self, handle: Handle) -> Handle | None:
        return None

    async def connections(self, handle: Handle, port: int) -> int | None:
        found = self._get(handle)
        known = self.world.connections.get(found.launch.instance, 0) if found is not None else 0
        if isinstance(known, Exception):
            raise known
        return known

    async def ports(self, handle: Handle) -> frozenset[int]:
        found = self.world.find(handle)
        ready = found is not None and found.launch.port is not None and self.world.ready(handle)
        return frozenset({found.launch.port} if ready and found is not None and found.launch.port else ())

    async def stranger(self, handle: Handle, port: int) -> str:
        return self.world.strangers.get(port, "")

    async def logs(
        self, output: Output, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        lines = self.world.read(output.log)
        position = len(lines)
        known = [line for line in lines if since is None or (line.latest or 0.0) >= since]
        for line in known if tail is None else known[max(0, len(known) - tail) :]:
            yield line
        while follow:
            if position < len(lines):
                position += 1
                yield lines[position - 1]
            else:
                await self.world.written()

    def note_times(self, outputs: Collection[Output]) -> None:
        pass  # write() knows when each line is written

    # --- private

    def _expect(self, host: str) -> None:
        if host in self.world.lost:
            raise HostUnreachable(host, f"Host {host} does not answer.")

    def _get(self, handle: Handle) -> MockInstance | None:
        return self.world.instances.get(handle["launch_id"])


def _handle(found: MockInstance) -> dict[str, Any]:
    handle: dict[str, Any] = {"launch_id": found.launch.launch_id, "number": found.number}
    return {**handle, "host": found.launch.host} if found.launch.host else handle


_WORLDS: dict[str, MockWorld] = {}


def world_of(manager_id: str) -> MockWorld:
    """The world of a manager: the same one for every driver made for that id in this process."""
    return _WORLDS.setdefault(manager_id, MockWorld())
