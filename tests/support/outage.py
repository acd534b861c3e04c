"""The next manager, on the disk that a power cut has left: it is started, and what must be so then is looked at.

story.disk.cut(at, LEFT["any"], numbers)[0].lay(story.root)      the disk (support/power.py, support/story.py)
await checked(story, at)            the composition of app.py; instances, their health and the traffic are in memory:
                                    a boot leaves nothing of those; the real router reads its files
await checked_for_real(story, at)   `longshore serve`
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from longshore import app
from longshore.api.wire_request import parse_request
from longshore.demo.manager import Manager
from longshore.drivers import DRIVERS
from longshore.drivers.mock import MockDriver, MockWorld
from longshore.files.takeover import listing_sha256
from longshore.health.probes import Check, ProbeResult, ReadyResult
from longshore.model import RolloutStatus
from longshore.rollout.request import Request
from longshore.rollout.terms import Terms
from longshore.routers import ROUTERS, RouterOptions
from longshore.routers.base import Traffic
from longshore.routers.by_environment import RouterByEnvironment
from longshore.routers.mock import MockRouter
from longshore.settings import Settings
from longshore.store.sqlite import Database
from support.manager import Site, bounded
from support.story import FOUND, REPLICAS, Story

#: seconds in which the next manager has to come to rest
REST_S = 20.0


class Router(MockRouter):
    """Traffic in memory; the files of the Envoy that is gone are read by the real one."""

    def __init__(self, options: RouterOptions) -> None:
        super().__init__()
        self._options = options

    async def restore(self, traffic: Any) -> None:
        real = ENVOY(self._options)
        await real.restore({})
        await real.close()
        await super().restore(traffic)


ENVOY = ROUTERS["envoy"]


class Prober:
    def __init__(self, world: MockWorld, public: int) -> None:
        self._world, self._public = world, public

    async def probe(self, check: Check) -> ProbeResult:
        if check.kind == "alive":
            assert check.inspect is not None
            return ProbeResult((await check.inspect()).state == "running", "asked", 0.0)
        return ProbeResult(check.port == self._public or self._world.ready_on(check.port), "asked", 0.0)

    async def await_ready(self, check: Check, **_: Any) -> ReadyResult:
        result = await self.probe(check)
        return ReadyResult(result.ok, result.message, result, 0.0, 1)


@contextmanager
def in_memory(public: int) -> Iterator[MockWorld]:
    """Managers of this process run instances that are ready at once, and have no API; nothing waits for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        world = MockWorld()
        patch.setitem(DRIVERS, "process", lambda *_: MockDriver(world))
        patch.setitem(ROUTERS, "envoy", Router)
        patch.setattr(app, "probes", Prober(world, public))
        patch.setattr(app, "create_app", lambda *_, **__: None)
        patch.setattr(os, "fsync", lambda _: None)
        opened = Database._open

        def unsynced(database: Database, *args: Any) -> None:
            opened(database, *args)
            database._connection.execute("PRAGMA synchronous = OFF")

        patch.setattr(Database, "_open", unsynced)
        yield world


async def checked(story: Story, at: int) -> None:
    """A manager is started on the disk as it is now, and comes to what must hold; what was asked for last can then be
    asked for again. Raises AssertionError, or whatever keeps it from starting."""
    with in_memory(story.port) as world:
        async with app.build(settings_of(story)) as manager:
            after = After(story, manager, world)
            await after.rest()
            after.holds(story.must_hold(at))
            last = story.asked_last(at)
            if last is not None and last.version is not None and (last.name, last.version) in story.specs:
                await after.asked_again(last.name, last.version)


def settings_of(story: Story) -> Settings:
    return Settings(data_dir=story.root / "data", keep_releases=2, log_level="error")


class After:
    """What is so once the next manager has come to rest."""

    def __init__(self, story: Story, manager: app.Manager, world: MockWorld) -> None:
        self._story, self._manager, self._mock = story, manager, world
        self._store = manager.world.store

    async def rest(self) -> None:
        """Nothing is open, what is committed runs and nothing else, and the tidying has been."""

        async def at_rest() -> None:
            while True:
                deleting = any(deployment.deleting for deployment in self._store.deployments())
                if not self._store.open_rollouts() and not deleting and not self._differ():
                    return
                await asyncio.sleep(0.002)

        await bounded(at_rest(), REST_S, "the next manager is at rest, and what runs is what is stored")

        async def tidy() -> None:
            while any(place.name.startswith(".") for place in self._releases()):
                await self._manager.monitor._tidying.run()

        await bounded(tidy(), REST_S, "nothing half made or half removed is left")

    def _releases(self) -> list[Path]:
        found = (Path(each.working_directory) / "releases" for each in self._store.deployments())
        return [place for directory in found if directory.exists() for place in directory.iterdir()]

    def _differ(self) -> bool:
        committed = {id for deployment in self._store.deployments() for id in deployment.instances}
        known = {instance.id for instance in self._store.instances()}
        return not committed <= known or known != set(self._mock.running_ids())

    def holds(self, possible: dict[str, set[str | None]]) -> None:
        with closing(sqlite3.connect(f"file:{self._store.db.path}?mode=ro", uri=True)) as reader:
            assert reader.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        deployments = {deployment.name: deployment for deployment in self._store.deployments()}
        for name, versions in possible.items():
            deployment = deployments.get(name)
            found = deployment.current_version if deployment is not None else None
            assert found in versions, f"{name} is at {found}, not at one of {versions}"
        for deployment in deployments.values():
            last = self._store.last_rollout_of(deployment.name)
            assert last is None or last.status in (RolloutStatus.succeeded, RolloutStatus.unwound), last
            self._files_of(deployment.name)
            if deployment.routing is not None:
                self._traffic_of(deployment.name)

    def _files_of(self, name: str) -> None:
        deployment = self._store.deployment(name)
        assert deployment is not None
        place = Path(deployment.working_directory)
        directory = self._manager.world.files_of(deployment)
        assert directory.current() == deployment.current_version, f"current of {name} leads to {directory.current()}"
        kept = {release.version for release in self._store.releases(name) if release.state == "kept"}
        there = {path.name for path in (place / "releases").iterdir()} if (place / "releases").exists() else set()
        assert there == kept, f"{name} has {there} on its disk, and {kept} in its store"
        for version in kept:
            if (expected := self._story.releases.get((name, version))) is not None:
                found = listing_sha256(place / "releases" / version)
                assert found == expected, f"release {version} of {name} is not as it was"
            assert directory.release(version) is not None, f"release {version} of {name} has no record"
        if name == "www":
            for path, text in FOUND.items():
                assert (place / path).read_text() == text
        elif deployment.current_version not in (None, "4.0"):
            assert (place / "current/uploads").is_dir(), "a shared path is gone"

    def _traffic_of(self, name: str) -> None:
        deployment = self._store.deployment(name)
        assert deployment is not None
        assert deployment.routing is not None
        wanted = self._manager.world.fleet.traffic(deployment.routing)
        assert isinstance(self._manager.world.router, RouterByEnvironment)
        router = self._manager.world.router.of(deployment.environment)
        assert isinstance(router, Router)
        served: Traffic = router.applied[name]
        assert served == wanted
        assert wanted.stable is not None
        assert len(wanted.stable.targets) == REPLICAS

    async def asked_again(self, name: str, version: str) -> None:
        parsed = parse_request(self._story.specs[name, version])
        rollout = await self._manager.service.deploy(Request(parsed.fields), terms=Terms("test"))
        ended = await self._manager.service.outcome(rollout.id)
        assert ended.status is RolloutStatus.succeeded, ended.failure
        await self.rest()
        self.holds({name: {version}})


async def checked_for_real(story: Story, at: int) -> None:
    """The same with `longshore serve`, Envoy and instances: what answers is what the store says, and `current`."""
    site = Site(story.directory, REPLICAS)
    site.port = story.port
    site.manager = Manager(story.root / "data", {"LONGSHORE_KEEP_RELEASES": "2"})
    site.manager.log = story.directory / "manager-after.log"
    possible = story.must_hold(at)
    try:
        await site.start_manager()

        async def at_rest() -> None:
            names = [row.name async for row in site.client.list_all()]
            while True:
                if all([(await site.client.rollouts(name, limit=1)).rollouts[0].is_over for name in names]):
                    return
                await asyncio.sleep(0.05)

        await bounded(at_rest(), REST_S, "the rollouts that were open are over")
        found = {row["name"]: row["current_version"] for row in site.rows("SELECT * FROM deployments")}
        assert found.keys() <= possible.keys()
        for name, versions in possible.items():
            assert found.get(name) in versions, f"{name} is at {found.get(name)}, not at one of {versions}"
        if found.get("shop") is not None:
            await site.until_healthy()
            assert set(await site.answers(1)) == {found["shop"]}
            assert (story.root / "data/apps/shop/current").resolve().name == found["shop"]
    finally:
        if site.manager.alive:
            await site.kill()
        await site.client.close()
        await site.end_remains()
