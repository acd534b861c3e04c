"""What is sent to a host for a release of 200 MB that is nearly there already, and how long it takes.

The host is this machine behind a pipe, the guard of hosts/ included: what SSH adds is its encryption and the wire.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import Figure, main

from longshore.artifacts import Limits
from longshore.files import WorkingDirectory
from longshore.files.far import FarDirectory, Stock
from longshore.hosts.base import Done, Input
from longshore.hosts.local import LocalHost

MB = 1_000_000
#: one large file, and many small ones
LARGE, SMALL, FILES = 150 * MB, 10_000, 5_000
SIZE = LARGE + SMALL * FILES
#: places of the large file in which 1 % of the whole is changed
PLACES = 48
HOSTS = 10


class Counting(LocalHost):
    """Counts all that goes to it: scripts, arguments and input."""

    sent = 0

    async def run(
        self,
        script: str,
        *arguments: str,
        input: Input = b"",
        timeout_s: float = 30.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        self.sent += len(script) + sum(map(len, arguments))
        return await super().run(
            script, *arguments, input=self._counted(input), timeout_s=timeout_s, check=check, environment=environment
        )

    async def _counted(self, input: Input) -> AsyncIterator[bytes]:
        if isinstance(input, bytes):
            self.sent += len(input)
            yield input
        else:
            async for block in input:
                self.sent += len(block)
                yield block


@dataclass
class Source:
    """The artifact, changed in place from version to version."""

    top: Path
    chance: random.Random

    def make(self) -> None:
        (self.top / "lib").mkdir(parents=True)
        (self.top / "app.bin").write_bytes(self.chance.randbytes(LARGE))
        for number in range(FILES):
            self._small(number)

    def leave(self) -> None:
        pass

    def replace_in_large(self) -> None:
        size = SIZE // 100 // PLACES
        with (self.top / "app.bin").open("r+b") as file:
            for _ in range(PLACES):
                file.seek(self.chance.randrange(LARGE - size))
                file.write(self.chance.randbytes(size))

    def insert_into_large(self) -> None:
        """Half of the places are inserted, the other half cut out, somewhere else each."""
        content = bytearray((self.top / "app.bin").read_bytes())
        size = SIZE // 100 // (PLACES // 2)
        for _ in range(PLACES // 2):
            place = self.chance.randrange(len(content))
            content[place:place] = self.chance.randbytes(size)
            place = self.chance.randrange(len(content) - size)
            del content[place : place + size]
        (self.top / "app.bin").write_bytes(content)

    def change_small(self) -> None:
        for number in self.chance.sample(range(FILES), SIZE // 100 // SMALL):
            self._small(number)

    def rename(self) -> None:
        (self.top / "lib").rename(self.top / "lib-2")
        (self.top / "app.bin").rename(self.top / "app-2.bin")

    def _small(self, number: int) -> None:
        place = self.top / "lib" / f"part-{number % 100}" / f"module-{number}.so"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(self.chance.randbytes(SMALL))


@dataclass
class Stand:
    """One working directory here, and the same deployment on a number of hosts."""

    local: WorkingDirectory
    hosts: list[Counting]
    far: list[FarDirectory]

    async def deploy(self, source: Source, version: int, hosts: int = 1) -> tuple[int, float]:
        """Bytes sent to all of them, and seconds from the unpacked release until it stands on the last."""
        await asyncio.to_thread(self.local.unpack_release, source.top, str(version), "", (), Limits(), None)
        before, started = sum(host.sent for host in self.hosts), time.perf_counter()
        stock = Stock(self.local)
        await asyncio.gather(*(far.ship(stock, str(version)) for far in self.far[:hosts]))
        took = time.perf_counter() - started
        return sum(host.sent for host in self.hosts) - before, took

    async def forget(self, version: int) -> None:
        await asyncio.to_thread(self.local.remove_release, str(version))
        await asyncio.gather(*(far.remove_release(str(version)) for far in self.far))


async def measure() -> Sequence[Figure]:
    with tempfile.TemporaryDirectory(prefix="longshore-shipping-", ignore_cleanup_errors=True) as name:
        return await _measure(Path(name))


async def _measure(place: Path) -> Sequence[Figure]:
    # The guard keeps its records in the home and the runtime directory of the user.
    os.environ["HOME"] = os.environ["XDG_RUNTIME_DIR"] = str(place)
    hosts = [Counting("user", "benchmark", 1, name=f"web{number}") for number in range(HOSTS)]
    far = [FarDirectory(host, str(place / host.name)) for host in hosts]
    stand = Stand(WorkingDirectory(place / "manager"), hosts, far)
    source = Source(place / "artifact", random.Random(200))
    source.make()
    figures = []

    sent, took = await stand.deploy(source, 1)
    copied = await asyncio.to_thread(_copied, source.top, place / "copy")
    figures.append(Figure("first deploy: sent", 100 * sent / SIZE, "%", note=f"{SIZE / MB:,.0f} MB, {FILES + 1} files"))
    figures.append(Figure("first deploy: time", took, "s", note=f"cp -a and sync of the same: {copied:.2f} s"))
    sent, took = await stand.deploy(source, 1)
    figures.append(Figure("deployed again: sent", sent / 1000, "kB", at_most=10, note="a question"))
    figures.append(Figure("deployed again: time", 1000 * took, "ms"))
    changes = (
        ("nothing changed, new version", source.leave, 0.1),
        (f"1 % replaced in {PLACES} places of a file", source.replace_in_large, 5.0),
        (f"1 % inserted, 1 % cut out, in {PLACES} places", source.insert_into_large, 5.0),
        ("1 % of the files changed", source.change_small, 5.0),
        ("everything renamed", source.rename, 5.0),
    )
    version = 1
    for what, change, most in changes:
        change()
        version += 1
        sent, took = await stand.deploy(source, version)
        figures.append(Figure(f"{what}: sent", 100 * sent / SIZE, "%", at_most=most, note=f"{sent / MB:,.2f} MB"))
        figures.append(Figure(f"{what}: time", took, "s"))
        await stand.forget(version - 1)

    await asyncio.gather(*(far.ship(Stock(stand.local), str(version)) for far in stand.far))
    (one, many) = ([], [])
    for _ in range(3):
        _, took = await stand.deploy(source, version)
        one.append(took)
        _, took = await stand.deploy(source, version, HOSTS)
        many.append(took)
    figures.append(
        Figure(f"deployed again to {HOSTS} hosts: time", min(many) / min(one), "x", note="of one; all are this machine")
    )
    return figures


def _copied(source: Path, destination: Path) -> float:
    """Seconds that a plain copy takes, on the disk when it ends."""
    started = time.perf_counter()
    shutil.copytree(source, destination, symlinks=True)
    os.sync()
    took = time.perf_counter() - started
    shutil.rmtree(destination)
    return took


if __name__ == "__main__":
    main("Shipping releases to hosts", measure)
