"""A manager in memory: the real service, engine, steps and store, on a mock driver, router, disk and clock.

The manager can be killed at any write to the store. What it had told the driver, the router or the disk stays done, as
with kill -9; nothing it does afterwards has any effect.
"""

from __future__ import annotations

import asyncio
import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from longshore.artifacts.base import Limits
from longshore.bus import Bus
from longshore.drivers.mock import MockDriver, MockWorld
from longshore.files import Unpacked
from longshore.fleet import Fleet
from longshore.health.board import Board
from longshore.health.probes import Check, ProbeResult, ReadyResult
from longshore.health.readiness import Readiness
from longshore.hosts.base import Place, just_here
from longshore.model import InstanceState, Rollout
from longshore.ports import PortRange
from longshore.rollout.providing import provide
from longshore.rollout.request import Request
from longshore.rollout.runner import Runner
from longshore.rollout.service import Service
from longshore.rollout.terms import Terms
from longshore.rollout.world import World
from longshore.routers.base import Target
from longshore.routers.mock import MockRouter
from longshore.settings import Settings
from longshore.store import Store
from support.far import FakeFarDirectory, FakeHost

PORT = 8080
SETTINGS = Settings(data_dir=Path("/data"))


class Killed(BaseException):
    """The manager is dead from here on."""


class Clock:
    """Waits pass at once, and time with them; those of a progress deadline never end, for nothing here is that slow."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def now(self) -> float:
        return self.time

    monotonic = now

    async def sleep(self, seconds: float) -> None:
        if seconds >= 60:
            await asyncio.Event().wait()
        self.time += seconds
        await asyncio.sleep(0)


@dataclass
class Disk:
    """Working directories in memory: releases and where `current` points."""

    releases: dict[Path, dict[str, str]] = field(default_factory=dict)
    links: dict[Path, str | None] = field(default_factory=dict)
    claims: dict[Path, str] = field(default_factory=dict)

    def directory(self, path: Path) -> Directory:
        return Directory(self, path)


class Directory:
    """What rollouts use of a WorkingDirectory."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self.disk, self.path, self.releases = disk, path, path / "releases"

    def claim(self, owner: str) -> None:
        assert self.disk.claims.setdefault(self.path, owner) == owner

    def disclaim(self, owner: str) -> None:
        self.disk.claims.pop(self.path, None)

    def holder(self) -> str | None:
        return self.disk.claims.get(self.path)

    def check(self) -> None:
        return None

    def free_bytes(self) -> int:
        return 10**12

    def unpack_release(self, artifact: Path, version: str, sha256: str, *_: object) -> Unpacked:
        self.disk.releases.setdefault(self.path, {})[version] = sha256
        return Unpacked(self.releases / version, sha256, 1)

    def copy_release(self, source: str, version: str, *_: object) -> Unpacked:
        sha256 = self.disk.releases[self.path][source]
        self.disk.releases[self.path][version] = sha256
        return Unpacked(self.releases / version, sha256, 1)

    def places(self) -> set[str]:
        return set(self.disk.releases.get(self.path, {}))

    def release(self, version: str) -> Unpacked | None:
        kept = self.disk.releases.get(self.path, {}).get(version)
        return None if kept is None else Unpacked(self.releases / version, kept, 1)

    def remove_release(self, version: str) -> None:
        self.disk.releases.get(self.path, {}).pop(version, None)

    def remove_all(self) -> None:
        self.disk.releases.pop(self.path, None)
        self.disk.links.pop(self.path, None)

    def current(self) -> str | None:
        return self.disk.links.get(self.path)

    def set_current(self, version: str | None) -> None:
        self.disk.links[self.path] = version

    def is_foreign(self) -> bool:
        return False

    def sweep_staging(self) -> list[str]:
        return []


class Mortal:
    """Passes every call on while the manager lives, and lets the lab look at the world after each."""

    def __init__(self, inner: Any, lab: Lab) -> None:
        self._inner, self._lab = inner, lab

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not callable(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            self._lab.alive()
            result = value(*args, **kwargs)
            return self._then(result) if asyncio.iscoroutine(result) else result

        return call

    async def _then(self, result: Any) -> Any:
        answer = await result
        self._lab.look()
        return answer


@dataclass
class Machine:
    """What outlives a manager."""

    world: MockWorld
    router: MockRouter
    disk: Disk
    clock: Clock
    data: Path
    #: none: everything is on this machine
    hosts: dict[str, FakeHost] = field(default_factory=dict)
    #: whether others than the manager open its database
    shared: bool = False

    def copy(self, data: Path) -> Machine:
        """An independent copy of all of it, store included."""
        for suffix in ("", "-wal"):
            source = self.data.with_name(self.data.name + suffix)
            if source.exists():
                shutil.copyfile(source, data.with_name(data.name + suffix))
        # In one: the world's clock and the machine's must stay the same object. Five times as fast as copy.deepcopy().
        kept = (self.world, self.router, self.disk, self.clock, self.hosts)
        world, router, disk, clock, hosts = pickle.loads(pickle.dumps(kept))
        return Machine(world, router, disk, clock, data, hosts, self.shared)

    def hosts_of(self, environment: str) -> Mapping[str, Place]:
        return self.hosts or just_here(environment)


def machine(data: Path, hosts: Sequence[str] = (), clock: Clock | None = None) -> Machine:
    clock = clock or Clock()
    world = MockWorld(clock)
    there = {name: FakeHost(name, f"10.0.0.{number}", world) for number, name in enumerate(hosts, start=1)}
    return Machine(world, MockRouter(), Disk(), clock, data, there)


class Lab:
    """A manager on a machine. `kill_at`: the write (counted from 1) before which it is killed; None: never."""

    def __init__(self, machine: Machine, kill_at: int | None = None) -> None:
        self.machine, self.kill_at = machine, kill_at
        self.writes = 0
        #: number of a write → what happens before it
        self.at_write: dict[int, Callable[[], None]] = {}
        self.dead = False
        #: serving instances after each thing that happened
        self.served: list[int] = []
        self.store = Store(machine.data, machine.clock, self._on_write)
        self.store.db.all("PRAGMA synchronous = OFF")
        if not machine.shared:  # a lock less for each read
            self.store.db.all("PRAGMA locking_mode = EXCLUSIVE")
        self.store.take_over()
        board = Board(machine.clock, self.store.touch)
        self.driver = Mortal(MockDriver(machine.world), self)
        self.router = Mortal(machine.router, self)
        fleet = Fleet(
            store=self.store,
            clock=machine.clock,
            driver_of=lambda environment: self.driver,
            user_of=lambda spec: None,
            board=board,
            ports=Ports(),
            log_path=lambda deployment, instance: Path(f"/data/logs/{deployment}/{instance}.log"),
            hosts_of=machine.hosts_of,
        )
        self.world = World(
            store=self.store,
            clock=machine.clock,
            bus=Bus(),
            board=board,
            fleet=fleet,
            readiness=Readiness(
                fleet=fleet,
                store=self.store,
                clock=machine.clock,
                driver_of=lambda environment: self.driver,
                board=board,
                prober=Mortal(Prober(machine), self),
            ),
            router=self.router,
            router_of=lambda environment: self.router,
            driver_of=lambda environment: self.driver,
            ports=Ports(),
            artifact_limits=Limits(),
            keep_releases=5,
            logs=Path("/data/logs"),
            user_of=lambda spec: None,
            owner_of=lambda spec: None,
            directory_of=lambda path: Mortal(machine.disk.directory(path), self),  # type: ignore[arg-type, return-value]
            hosts_of=machine.hosts_of,
            far_directory=lambda host, path: Mortal(FakeFarDirectory(host, path), self),  # type: ignore[arg-type, return-value]
        )
        fleet.provide = partial(provide, self.world)
        self.runner = Runner(self.world, SETTINGS)
        self.service = Service(self.world, SETTINGS, {}, self.runner)

    def _on_write(self, point: str) -> None:
        self.alive()
        if point == "begin":
            self.writes += 1
            self.at_write.get(self.writes, lambda: None)()
            if self.writes == self.kill_at:
                self.dead = True
                raise Killed

    def alive(self) -> None:
        if self.dead:
            raise Killed

    def look(self) -> None:
        self.served.append(self.serving())

    def serving(self) -> int:
        """Instances that get traffic and are ready."""
        served = self.machine.router.served("shop")
        return sum(1 for target in (served[-1] if served else ()) if self.machine.world.ready_on(target.port))

    async def deploy(self, artifact: Path, version: str, **fields: Any) -> Rollout | None:
        """None: the manager was killed."""
        request = Request(
            {
                "name": "shop",
                "version": version,
                "artifact_path": str(artifact),
                "command": "./run",
                "health_check_url": f"http://localhost:{PORT}/health",
                **fields,
            }
        )
        return await self._outcome(lambda: self.service.deploy(request, terms=Terms("test")))

    async def rollback(self, version: str | None = None) -> Rollout | None:
        return await self._outcome(lambda: self.service.rollback("shop", version, terms=Terms("test")))

    async def _outcome(self, begin: Callable[[], Any]) -> Rollout | None:
        try:
            rollout = await begin()
            return await self.service.outcome(rollout.id)
        except (Killed, BaseExceptionGroup):
            if not self.dead:
                raise
            return None

    async def recover(self) -> bool:
        """As at the start of a manager. False: it was killed again."""
        try:
            traffic = {
                d.name: self.world.fleet.traffic(d.routing) for d in self.store.deployments() if d.routing is not None
            }
            await self.router.restore(traffic)
            open_rollouts = self.store.open_rollouts()
            await self.runner.recover()
            for rollout in open_rollouts:
                await self.service.outcome(rollout.id)
        except (Killed, BaseExceptionGroup):
            if not self.dead:
                raise
            return False
        return not self.dead

    def close(self) -> None:
        self.store.close()

    # ------------------------------------------------------------------------------------------------- invariants

    def assert_settled(self, *, replicas: int) -> str:
        """Exactly one release serves, and nothing is left over. Returns its version."""
        deployment = self.store.deployment("shop")
        assert deployment is not None
        version = deployment.current_version
        assert version is not None
        assert self.store.open_rollouts() == []
        for rollout in self.store.rollouts("shop", limit=100, offset=0)[0]:
            open_steps = [r for r in self.store.journal(rollout.id) if r.status == "running"]
            assert open_steps == [], f"steps of rollout {rollout.number} were never closed"
        rows = self.store.instances("shop")
        committed = [i for i in rows if i.id in deployment.instances]
        warm = [i for i in rows if i.retire_at is not None]
        assert len(committed) == replicas
        assert {i.id for i in rows} == {i.id for i in committed} | {i.id for i in warm}
        assert all(i.state is InstanceState.running and i.version == version for i in committed)
        launches = {found.launch.launch_id for found in self.machine.world._running()}
        assert launches == {i.launch_id for i in rows}, "a process that no instance owns, or an instance without one"
        traffic = self.machine.router.applied["shop"]
        assert deployment.routing is not None
        assert traffic == self.world.fleet.traffic(deployment.routing)
        at = {name: place.address for name, place in self.machine.hosts_of("default").items()}
        ports = {Target(at[i.host], i.port) for i in committed if i.port is not None}
        assert self.machine.router.served("shop")[-1] == ports
        assert traffic.hold is None
        for host in self.machine.hosts.values():
            there = host.places[deployment.working_directory]
            kept_here = {r.version for r in self.store.releases("shop") if r.state == "kept"}
            assert (there.current, there.releases) == (version, kept_here), host.name
        place = self.world.files_of(deployment).path
        assert self.machine.disk.links[place] == version
        known = {r.version for r in self.store.releases("shop") if r.state == "kept"}
        assert set(self.machine.disk.releases[place]) == known
        assert self.serving() == replicas
        return version


class Ports(PortRange):
    """Nobody else is on this machine, so nobody is asked."""

    def free(self, taken: Any) -> int:
        return next(port for port in range(20000, 30000) if port not in taken)

    def is_free(self, port: int) -> bool:
        return True


class Prober:
    """Answers as the mock world has it, at once."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def probe(self, check: Check) -> ProbeResult:
        if check.kind == "alive":
            assert check.inspect is not None
            return ProbeResult((await check.inspect()).state == "running", "asked", 0.001)
        if check.port == PORT:
            served = self._machine.router.served("shop")
            ok = any(self._machine.world.ready_on(target.port) for target in (served[-1] if served else ()))
        else:
            ok = self._machine.world.ready_on(check.port)
        return ProbeResult(ok, f"{check} → {'200' if ok else 'connection refused'}", 0.001)

    async def await_ready(self, check: Check, *, deadline_s: float, clock: Clock, **_: Any) -> ReadyResult:
        result = await self.probe(check)
        if not result.ok:
            clock.time += deadline_s
        return ReadyResult(result.ok, result.message, result, 0.0, 1)
