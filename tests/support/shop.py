"""The manager in memory with one deployment, `shop`: `await shop.deploy("2.0")`, and what a test may want besides."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from longshore.drivers.mock import MockWorld, Script
from longshore.model import Deployment, Rollout, RolloutStatus
from longshore.rollout.request import Request
from longshore.rollout.terms import Terms
from longshore.routers.mock import MockRouter
from support.engine import PORT, Clock, Lab, machine

#: seconds of real time after which a condition that a test waits for is given up
PATIENCE_S = 20.0


class HandClock(Clock):
    """Short waits pass at once; those of a minute and more when a test moves the clock on."""

    def __init__(self) -> None:
        super().__init__()
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        if seconds < 60:
            await super().sleep(seconds)
            return
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, future))
        await future

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for when, future in self._sleepers:
            if when <= self.time and not future.done():
                future.set_result(None)


class RefusingLab(Lab):
    """A manager whose database does not take the commit of a rollout while `refuse_commit`."""

    refuse_commit = False

    def _on_write(self, point: str) -> None:
        super()._on_write(point)
        if point == "commit" and self.refuse_commit:
            last = self.store.last_rollout_of("shop")
            if last is not None and last.status is RolloutStatus.committed:
                error = sqlite3.OperationalError("disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error


class Shop:
    def __init__(self, root: Path, hosts: Sequence[str] = ()) -> None:
        """hosts: names of other machines that everything runs on; none: on this one."""
        self.root, self.clock = root, HandClock()
        self.machine = machine(root / "longshore.db", hosts, self.clock)
        self.lab = RefusingLab(self.machine)

    @property
    def driver_world(self) -> MockWorld:
        return self.machine.world

    @property
    def router(self) -> MockRouter:
        return self.machine.router

    def script(self, version: str, **behaviour: Any) -> None:
        self.machine.world.scripts[version] = Script(**behaviour)

    def request(self, version: str, **fields: Any) -> Request:
        """What a client would have asked for; a field that is None is left out."""
        artifact = self.root / "artifacts" / version
        if not artifact.exists():
            artifact.mkdir(parents=True)
            (artifact / "run").write_text(version)
            (artifact / "run").chmod(0o755)
        given = {
            "name": "shop",
            "version": version,
            "artifact_path": str(artifact),
            "command": "./run",
            "health_check_url": f"http://localhost:{PORT}/health",
            "replicas": 2,
            **fields,
        }
        return Request({key: value for key, value in given.items() if value is not None})

    async def begin(self, version: str, **fields: Any) -> Rollout:
        self.clock.time += 10
        return await self.lab.service.deploy(self.request(version, **fields), terms=Terms("ana"))

    async def deploy(self, version: str, **fields: Any) -> Rollout:
        return await self.outcome(await self.begin(version, **fields))

    async def outcome(self, rollout: Rollout) -> Rollout:
        return await asyncio.wait_for(self.lab.service.outcome(rollout.id), PATIENCE_S)

    async def deployed(self, *versions: str, **fields: Any) -> None:
        """These versions, one after the other, all well."""
        for version in versions:
            rollout = await self.deploy(version, **fields)
            assert rollout.status is RolloutStatus.succeeded, rollout.failure

    async def rollback(self, version: str | None = None) -> Rollout:
        self.clock.time += 10
        rollout = await self.lab.service.rollback("shop", version, terms=Terms("ana"))
        return await self.outcome(rollout)

    async def do(self, verb: str, *given: Any, **terms: Any) -> Rollout:
        """restart, scale, stop, start or change, as its rollout ends."""
        self.clock.time += 10
        rollout = await getattr(self.lab.service, verb)("shop", *given, terms=Terms("ana", **terms))
        return await self.outcome(rollout)

    async def change(self, patch: dict[str, Any], dropped: Collection[str] = (), **terms: Any) -> Rollout:
        """A merge patch, as it was parsed."""
        return await self.do("change", Request(patch, dropped=frozenset(dropped)), **terms)

    def deployment(self) -> Deployment:
        found = self.lab.store.deployment("shop")
        assert found is not None
        return found

    async def restart(self) -> None:
        """The manager is stopped in whatever it does, and a new one begins on the same machine."""
        await self.close()
        self.lab = RefusingLab(self.machine)

    async def close(self) -> None:
        await self.lab.service.close()
        await self.lab.runner.close()
        self.lab.close()

    # ------------------------------------------------------------------------------------------------ looking

    def steps(self, rollout: Rollout) -> list[str]:
        """The journal: a step that ran, `undo STEP`, `!` before those that failed."""
        return [
            f"{'!' if r.status == 'failed' else ''}{'undo ' if r.undo else ''}{r.name}"
            for r in self.lab.store.journal(rollout.id)
        ]

    def last(self) -> Rollout:
        rollout = self.lab.store.last_rollout_of("shop")
        assert rollout is not None
        return rollout

    def events(self) -> list[str]:
        return [f"{e.type}: {e.message}" for e in reversed(self.lab.store.events("shop", limit=1000))]

    def serving(self) -> str:
        """The version of the instances that requests reach."""
        served = self.router.served("shop")
        ports = {target.port for target in served[-1]} if served else set()
        versions = {i.version for i in self.lab.store.instances("shop") if i.port in ports}
        return ",".join(sorted(versions))

    def step_running(self, name: str) -> bool:
        last = self.lab.store.last_rollout_of("shop")
        records = self.lab.store.journal(last.id) if last is not None else []
        return any(r.name == name and r.status == "running" for r in records)


async def until(condition: Callable[[], object], what: str) -> None:
    """Let everything else go on until this holds; fails, naming it, when it does not come to hold."""
    ends = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends, f"waited {PATIENCE_S:g} s in vain until {what}"
        await asyncio.sleep(0)
