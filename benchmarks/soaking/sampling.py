"""What the manager, Envoy and the data directory take, at moments when nothing is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from longshore.drivers.members import listening
from soaking.stand import Stand

TABLES = ("deployments", "releases", "instances", "rollouts", "journal", "progress", "events", "idempotency")


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
    data: Path


async def sample(stand: Stand) -> Sample:
    """Raises ManagerFailed where the manager does not say what it holds."""
    told = await stand.inspect()
    return await asyncio.to_thread(_sample, stand, told)


def _sample(stand: Stand, told: dict[str, Any]) -> Sample:
    seen = Seen(
        manager=psutil.Process(stand.manager.pid),
        envoys=[psutil.Process(stat.pid) for stat in stand.envoys()],
        told=told,
        rows={table: stand.rows(f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in TABLES},
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
    """at_most: growth an hour that is none, which samples of half an hour can tell from noise; None: it may grow."""

    take: Callable[[Seen], float]
    unit: str = ""
    at_most: float | None = None


# To add a measure: a line here, with the growth an hour that is none, from measurements of runs without a leak, and its
# name in the section of docs/reliability.md. It is taken after each round, while everybody but the clients holds still.
MEASURES: dict[str, Measure] = {
    "manager: open files": Measure(lambda s: s.manager.num_fds(), at_most=4),
    "manager: threads": Measure(lambda s: s.manager.num_threads(), at_most=2),
    "manager: tasks": Measure(lambda s: s.told["tasks"], at_most=4),
    # Without the endings of processes that are remembered, up to 4096 of them (drivers/exits.py).
    "manager: objects": Measure(
        lambda s: s.told["objects"] - s.told["types"].get("longshore.drivers.base.Exit", 0), at_most=10_000
    ),
    "manager: memory": Measure(lambda s: s.manager.memory_info().rss / 1e6, "MB", at_most=20),
    "manager: zombies": Measure(lambda s: _zombies(s.manager), at_most=2),
    "Envoy: open files": Measure(lambda s: sum(e.num_fds() for e in s.envoys), at_most=10),
    "Envoy: threads": Measure(lambda s: sum(e.num_threads() for e in s.envoys), at_most=2),
    "Envoy: memory": Measure(lambda s: sum(e.memory_info().rss for e in s.envoys) / 1e6, "MB", at_most=20),
    "leased ports": Measure(lambda s: s.rows["instances"], at_most=4),
    "listening ports of Envoy": Measure(lambda s: len(listening(e.pid for e in s.envoys)), at_most=2),
    "disk: releases": Measure(lambda s: _size(s.data / "apps"), "MB", at_most=10),
    "disk: logs of instances": Measure(lambda s: _size(s.data / "logs"), "MB", at_most=20),
    "disk: Envoy's files": Measure(lambda s: _size(s.data / "envoy"), "MB", at_most=2),
    "disk: the store": Measure(lambda s: _size(*s.data.glob("longshore.db*")), "MB"),
    "rollouts in the store": Measure(lambda s: s.rows["rollouts"]),
    "events in the store": Measure(lambda s: s.rows["events"]),
}
