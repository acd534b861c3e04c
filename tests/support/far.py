"""Hosts in memory, and working directories on them: reachable or not as a test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from longshore.drivers.mock import MockWorld
from longshore.files import FilesError
from longshore.files.far import FarRelease, Shipped, Standing, Stock
from longshore.files.records import ReleaseFacts
from longshore.hosts.base import Done, HostUnreachable


@dataclass
class FakeHost:
    """world.lost says whether it is there."""

    name: str
    address: str
    world: MockWorld
    labels: Mapping[str, str] = field(default_factory=dict)
    listen: str = "0.0.0.0"
    lost_at: float | None = None
    #: it is there again, which nobody knows before he has asked
    unnoticed: bool = False
    #: nothing more can be written there, whatever it says is free
    full: bool = False
    free_bytes: int = 10**12
    #: path → what stands there
    places: dict[str, Place] = field(default_factory=dict)
    _watchers: list[Callable[[Any], None]] = field(default_factory=list)

    @property
    def state(self) -> PurePosixPath:
        return PurePosixPath("/var/lib/longshore-host")

    @property
    def reachable(self) -> bool:
        return self.name not in self.world.lost

    async def connect(self) -> None:
        if self.unnoticed:
            self.unnoticed = False
            self.come_back()
        self.expect()

    async def run(self, script: str, *_: str, **__: Any) -> Done:
        """It does nothing, and says so."""
        self.expect()
        return Done(0, b"", b"")

    def expect(self) -> None:
        if not self.reachable:
            raise HostUnreachable(self.name, f"Host {self.name} does not answer.")

    def watch(self, changed: Callable[[Any], None]) -> Callable[[], None]:
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def lose(self) -> None:
        """The network to it is gone; what runs there runs on."""
        self.world.lost.add(self.name)
        self._tell()

    def come_back(self) -> None:
        self.world.lost.discard(self.name)
        self._tell()

    def crash(self) -> None:
        """It is gone with all that ran on it."""
        for id in self.world.running_on(self.name):
            self.world.kill(id)
        self.lose()

    def _tell(self) -> None:
        for changed in list(self._watchers):
            changed(self)


@dataclass
class Place:
    """A working directory on a host."""

    #: version → SHA-256 of the artifact that it is out of
    contents: dict[str, str] = field(default_factory=dict)
    current: str | None = None
    owner: str | None = None

    @property
    def releases(self) -> set[str]:
        return set(self.contents)


class FakeFarDirectory:
    """What rollouts use of a FarDirectory."""

    def __init__(self, host: FakeHost, path: str) -> None:
        self.host, self.path = host, path

    @property
    def _place(self) -> Place:
        self.host.expect()
        return self.host.places.setdefault(self.path, Place())

    async def holder(self) -> str | None:
        return self._place.owner

    async def disclaim(self, owner: str) -> None:
        if self._place.owner == owner:
            self._place.owner = None

    async def standing(self) -> Standing:
        facts = FarRelease(ReleaseFacts("", 1), "", listed=True)
        releases = dict.fromkeys(sorted(self._place.releases), facts)
        return Standing(holder=self._place.owner, free_bytes=self.host.free_bytes, releases=releases)

    async def check(self) -> Standing:
        return await self.standing()

    async def ship(
        self,
        stock: Stock,
        version: str,
        shared_paths: Sequence[str] = (),
        user: str = "",
        progress: object = None,
        owner: str = "",
        replacing: bool = False,
    ) -> Shipped:
        assert self._place.owner in (None, owner)
        self._place.owner = owner
        release = stock.local.release(version)
        assert release is not None, f"{version} is not here to be shipped"
        if self._place.contents.get(version) == release.sha256:
            return Shipped(0, 1)
        if self.host.full:
            raise FilesError(f"host {self.host.name}: No space left on device: free space there")
        if self._place.current == version:
            if not replacing:
                raise FilesError(f"host {self.host.name}: {version} has other content, and is what current leads to")
            self._place.current = None
        self._place.contents[version] = release.sha256
        return Shipped(1, 1)

    async def current(self) -> str | None:
        return self._place.current

    async def set_current(self, version: str | None) -> bool:
        assert version is None or version in self._place.releases
        before, self._place.current = self._place.current, version
        return before != version

    async def remove_release(self, version: str) -> None:
        self._place.contents.pop(version, None)

    async def remove_all(self) -> None:
        self._place.contents.clear()
        self._place.current = None

    async def sweep(self) -> None:
        self.host.expect()
