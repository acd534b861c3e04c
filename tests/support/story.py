"""A manager's life, recorded: what was asked of it and told by it, and every change it made on its disk.

story = await Teller(directory).tell()    deploys, a failure, a rollback, a death, a removal; some 10 s
story.must_hold(at)                       what the next manager has to come to: the power is cut after `at` changes
"""

from __future__ import annotations

import asyncio
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longshore.client import HealthCheckFailed
from longshore.demo.manager import Manager
from longshore.files.takeover import listing_sha256
from support.manager import Site, bounded
from support.power import Disk
from support.recording import Recording, traced

REPLICAS = 2
#: the release of `www` before Longshore had it
FOUND = {"index.html": "as it was", "pictures/a.txt": "a picture"}


@dataclass
class Told:
    """At `time` somebody asked for a version of a deployment, or heard what became of that. version: the one that
    serves then; None: none, it is gone."""

    time: float
    name: str
    version: str | None
    asked: bool


@dataclass
class Story:
    directory: Path
    disk: Disk
    #: that clients of `shop` use
    port: int
    told: list[Told] = field(default_factory=list)
    #: (deployment, version) → the hash of the release's files
    releases: dict[tuple[str, str], str] = field(default_factory=dict)
    specs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """All that a power cut can touch."""
        return self.directory / "disk"

    def must_hold(self, at: int) -> dict[str, set[str | None]]:
        """Deployment → the versions one of which must serve, if the power is cut after `at` changes."""
        now = self.disk.times[at - 1]
        possible: dict[str, set[str | None]] = {name: {None} for _, name in self._names()}
        for each in self.told:
            if each.time < now:
                held = possible[each.name] if each.asked else set()
                possible[each.name] = held | {each.version}
        return possible

    def asked_last(self, at: int) -> Told | None:
        """What somebody waited for when the power was cut."""
        before = [each for each in self.told if each.time < self.disk.times[at - 1]]
        return before[-1] if before and before[-1].asked else None

    def _names(self) -> list[tuple[None, str]]:
        return [(None, name) for name in {each.name for each in self.told}]


class Teller:
    """Lives a story with a real, recorded manager."""

    def __init__(self, directory: Path) -> None:
        self.site = Site(directory, REPLICAS)
        self.story = Story(directory, Disk(), self.site.port)
        self.site.manager = Manager(self.story.root / "data", {"LONGSHORE_KEEP_RELEASES": "2"})
        self.site.manager.log = directory / "manager.log"
        self._program = self.site.manager.program
        self._logs = 0

    async def tell(self) -> Story:
        www = self.story.root / "www"
        for name, text in FOUND.items():
            (www / name).parent.mkdir(parents=True, exist_ok=True)
            (www / name).write_text(text)
        recording = Recording(self.story.root)
        self.story.disk = recording.disk
        self.story.disk.holds(self.story.root)
        try:
            await self._first_life()
            await self._end_of_life(recording)
            await self._second_life()
            await self._end_of_life(recording)
            recording.assert_complete()
        finally:
            await self._power_off()
        return self.story

    async def _first_life(self) -> None:
        await self._start()
        await self._deploy("shop", "1.0", "recreate", shared_paths=["uploads"])
        await self._deploy("www", "1", "recreate")
        await self._deploy("shop", "2.0", "rolling", shared_paths=["uploads"])
        await self._deploy("shop", "2.1", "blue-green", broken=True)
        await self._deploy("shop", "3.0", "blue-green", shared_paths=["uploads"], pre_deploy_hooks=["true"])
        await self._roll_back("shop", "2.0")
        await self._deploy("www", "2", "recreate")
        await self._deploy("www", "3", "recreate")
        # Killed in the middle, at the pause of a canary.
        spec = self._asked("shop", "4.0", "canary", canary={"steps": [{"weight": 50, "pause": "60s"}, {"weight": 100}]})
        rollout = await self.site.client.deploy(spec, wait=False)

        async def paused() -> None:
            while True:
                seen = await self.site.client.rollout("shop", rollout.id)
                if any(step.name.startswith("watch_canary") and step.status == "running" for step in seen.steps):
                    return
                await asyncio.sleep(0.02)

        await bounded(paused(), 20.0, "the canary is watched")

    async def _second_life(self) -> None:
        await self._start()

        async def over() -> None:
            while True:
                if (await self.site.client.rollouts("shop", limit=1)).rollouts[0].is_over:
                    return
                await asyncio.sleep(0.02)

        await bounded(over(), 20.0, "the canary is undone")
        self._heard("shop", "2.0")
        await self._deploy("shop", "4.0", "recreate")
        self.story.told.append(Told(time.time(), "www", None, asked=True))
        await self.site.client.delete("www")
        self._heard("www", None)

    # ------------------------------------------------------------------------------------------- asking

    def _asked(self, name: str, version: str, strategy: str, **fields: Any) -> dict[str, Any]:
        if name == "www":
            spec = {
                "name": name, "version": version, "strategy": strategy, "artifact_path": str(self._pages(version)),
                "working_directory": str(self.story.root / "www"), **fields,
            }  # fmt: skip
        else:
            spec = self.site.spec(version, strategy, **fields)
            if version == "2.0":
                spec["artifact_path"] = str(self._packed(Path(spec["artifact_path"])))
        self.story.specs[name, version] = spec
        self.story.told.append(Told(time.time(), name, version, asked=True))
        return spec

    async def _deploy(self, name: str, version: str, strategy: str, *, broken: bool = False, **fields: Any) -> None:
        before = next((t.version for t in reversed(self.story.told) if t.name == name), None)
        if broken:
            fields |= {"broken": True, "health_check": {"interval": "100ms", "deadline": "300ms"}}
        try:
            await self.site.client.deploy(self._asked(name, version, strategy, **fields), timeout=60)
        except HealthCheckFailed:
            assert broken
        self._heard(name, before if broken else version)

    async def _roll_back(self, name: str, version: str) -> None:
        self.story.told.append(Told(time.time(), name, version, asked=True))
        await self.site.client.rollback(name, version, timeout=60)
        self._heard(name, version)

    def _heard(self, name: str, version: str | None) -> None:
        self.story.told.append(Told(time.time(), name, version, asked=False))
        place = self.story.root / ("www" if name == "www" else f"data/apps/{name}") / "releases"
        for release in place.glob("[!.]*"):
            self.story.releases[name, release.name] = listing_sha256(release)

    def _pages(self, version: str) -> Path:
        place = self.story.directory / f"artifacts/www-{version}"
        (place / "pictures").mkdir(parents=True, exist_ok=True)
        for number in range(6):
            (place / f"pictures/{number}.txt").write_text(f"{version} {number}\n" * 50)
        (place / "index.html").write_text(version)
        return place

    def _packed(self, directory: Path) -> Path:
        archive = directory.with_suffix(".tar.gz")
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(directory, ".")
        return archive

    # ------------------------------------------------------------------------------------------- life and death

    async def _start(self) -> None:
        self._logs += 1
        self.site.manager.program = traced(self._program, self._log)
        await self.site.start_manager()

    @property
    def _log(self) -> Path:
        return self.story.directory / f"calls-{self._logs}"

    async def _end_of_life(self, recording: Recording) -> None:
        pid = self.site.manager.pid
        await self.site.kill()
        await asyncio.to_thread(recording.add, self._log, pid)

    async def _power_off(self) -> None:
        if self.site.manager.alive:
            await self.site.kill()
        await self.site.client.close()
        await self.site.end_remains()
        self.site.manager.program = self._program
