"""What the manager, Envoy and the data directory take, at moments when nothing is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from longshore.drivers.members import listening
from soaking.growth import least
from soaking.stand import Stand

TABLES = ("deployments", "releases", "instances", "rollouts", "journal", "progress", "events", "idempotency")
#: of a sample: so many looks, seconds apart. Probes, requests and connections that come and go are in some of them;
#: what is never given back is in all of them, so the least of each measure counts.
LOOKS, LOOK_S = 5, 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """at: time.monotonic(); life: which manager and which Envoy; values: key of MEASURES → number."""

    at: float
    life: tuple[int, ...]
    values: dict[str, float]
    #: what the manager says it holds: type or attribute → number
    held: dict[str, int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the measures look at. Sizes in bytes."""

    manager: psutil.Process
    envoys: list[psutil.Process]
    told: dict[str, Any]
    rows: dict[str, int]
    #: instances of all committed sets: users scale, so their number walks
    serving: int
    data: Path


async def sample(stand: Stand) -> Sample:
    """Takes some LOOKS * LOOK_S. Raises ManagerFailed where the manager does not say what it holds."""
    looks = []
    for number in range(LOOKS):
        if number:
            await asyncio.sleep(LOOK_S)
        told = await stand.inspect()
        looks.append(await asyncio.to_thread(_look, stand, told))
    values, held = least([look.values for look in looks]), least([look.held for look in looks])
    return replace(looks[-1], values=values, held=held)


def _look(stand: Stand, told: dict[str, Any]) -> Sample:
    instances = "SELECT sum(json_array_length(instances)) AS n FROM deployments"
    seen = Seen(
        manager=psutil.Process(stand.manager.pid),
        envoys=[psutil.Process(stat.pid) for stat in stand.envoys()],
        told=told,
        rows={table: stand.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in TABLES},
        serving=stand.rows(instances)[0]["n"] or 0,
        data=stand.manager.data_dir,
    )
    return Sample(
        at=time.monotonic(),
        life=(seen.manager.pid, *(envoy.pid for envoy in seen.envoys)),
        values={name: float(measure.take(seen)) for name, measure in MEASURES.items()},
        held=told["types"] | told["held"],
    )


def _size(*paths: Path) -> float:
    """MB of these files and directories, as `du --apparent-size` counts. What vanishes meanwhile counts for nothing."""
    total = 0
    for path in paths:
        for file in (path, *path.rglob("*")):
            try:
                total += 0 if file.is_dir() else file.lstat().st_size
            except FileNotFoundError:
                continue
    return total / 1e6


def _zombies(process: psutil.Process) -> int:
    """Children that have ended and were not asked how."""
    ended = 0
    for child in process.children():
        with suppress(psutil.NoSuchProcess):
            ended += child.status() == psutil.STATUS_ZOMBIE
    return ended


@dataclass(frozen=True, slots=True)
class Measure:
    """at_most: growth an hour that there surely is not, the upper end of its interval; None: it may grow.

    Far below what one thing kept for each rollout (some 1,500 an hour), operation or killed instance (some 150) comes
    to, and as little as samples of half an hour can tell from none.
    """

    take: Callable[[Seen], float]
    unit: str = ""
    at_most: float | None = None


# To add a measure: a line here, with the growth an hour that there must not be, and its name in the section of
# docs/reliability.md. It is taken after each round, while everybody but the clients holds still. What there is once for
# each instance that serves is left out: their number is the users' doing.
MEASURES: dict[str, Measure] = {
    "manager: open files": Measure(lambda s: s.manager.num_fds() - s.serving, at_most=4),
    "manager: threads": Measure(lambda s: s.manager.num_threads(), at_most=2),
    "manager: tasks": Measure(lambda s: s.told["tasks"] - s.serving, at_most=4),
    "manager: objects": Measure(lambda s: s.told["objects"], at_most=10_000),
    # What is in use, of the interpreter's own small blocks and of malloc: it grows with a leak at once, where memory
    # goes by the largest that was ever needed, and by how it is cut up.
    "manager: blocks of Python": Measure(lambda s: s.told["blocks"], at_most=50_000),
    "manager: memory in use by malloc": Measure(
        lambda s: (s.told["allocated"] - s.told["sqlite"]) / 1e6, "MB", at_most=5
    ),
    # Its caches fill as the store grows: up to 2 MB of pages and 128 statements for each connection.
    "manager: memory of SQLite": Measure(lambda s: s.told["sqlite"] / 1e6, "MB"),
    "manager: memory": Measure(lambda s: s.manager.memory_info().rss / 1e6, "MB", at_most=20),
    "manager: zombies": Measure(lambda s: _zombies(s.manager), at_most=2),
    # Its connections to instances are opened as requests come together, and closed again when they are idle.
    "Envoy: open files": Measure(lambda s: sum(e.num_fds() for e in s.envoys), at_most=60),
    "Envoy: threads": Measure(lambda s: sum(e.num_threads() for e in s.envoys), at_most=2),
    "Envoy: memory": Measure(lambda s: sum(e.memory_info().rss for e in s.envoys) / 1e6, "MB", at_most=20),
    "leased ports": Measure(lambda s: s.rows["instances"] - s.serving, at_most=4),
    "listening ports of Envoy": Measure(lambda s: len(listening(e.pid for e in s.envoys)), at_most=2),
    "disk: releases": Measure(lambda s: _size(s.data / "apps"), "MB", at_most=10),
    "disk: logs of instances": Measure(lambda s: _size(s.data / "logs"), "MB", at_most=20),
    "disk: Envoy's files": Measure(lambda s: _size(s.data / "envoy"), "MB", at_most=2),
    "disk: the store": Measure(lambda s: _size(*s.data.glob("longshore.db*")), "MB"),
    "rollouts in the store": Measure(lambda s: s.rows["rollouts"]),
    "events in the store": Measure(lambda s: s.rows["events"]),
}
