"""What is told at the end: requests, operations, recoveries, and what the manager and Envoy take at first and last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil
from harness import Figure

from longshore.demo.ledger import Summary
from soaking.faults import FAULTS
from soaking.stand import GRACE_S, Stand


@dataclass(frozen=True, slots=True)
class Sample:
    """What is taken at a quiet moment. age: seconds the manager had lived; sizes in bytes."""

    age: float
    fds: int
    threads: int
    rss: int
    envoy_rss: int
    envoy_fds: int
    data: int
    store: int
    releases: int


def sample(stand: Stand) -> Sample:
    manager = psutil.Process(stand.manager.pid)
    envoys = [psutil.Process(stat.pid) for stat in stand.envoys()]
    data = stand.manager.data_dir
    return Sample(
        age=time.time() - manager.create_time(),
        fds=manager.num_fds(),
        threads=manager.num_threads(),
        rss=manager.memory_info().rss,
        envoy_rss=sum(envoy.memory_info().rss for envoy in envoys),
        envoy_fds=sum(envoy.num_fds() for envoy in envoys),
        data=_size(data),
        store=sum(file.stat().st_size for file in data.glob("longshore.db*")),
        releases=_size(data / "apps"),
    )


def _size(directory: Path) -> int:
    return sum(file.lstat().st_size for file in directory.rglob("*") if not file.is_dir())


def figures(stand: Stand, first: Sample, last: Sample) -> list[Figure]:
    return [*_requests(stand), *_operations(stand), *_faults(stand), *_taken(first, last)]


def _requests(stand: Stand) -> Iterator[Figure]:
    summaries = [app.load.ledger.summary() for app in stand.apps if app.loaded]
    sent = sum(summary.sent for summary in summaries)
    kinds = sum((summary.kinds for summary in summaries), Counter[str]())
    yield Figure("requests", sent, at_least=1, note=", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())))
    yield Figure("lost without a reason", stand.unexplained.total(), at_most=0, note=_told(stand.unexplained))
    flying = f"up to {GRACE_S:g} s after the kill; {_told(stand.in_flight)}"
    yield Figure("lost in what was killed", stand.in_flight.total(), note=flying)
    yield Figure("invariants and promises violated", len(stand.violations), at_most=0, note="each is told above")
    whole = _whole(summaries)
    yield Figure("p50, median of the deployments", whole[0] * 1000, "ms")
    yield Figure("p99, worst of the deployments", whole[1] * 1000, "ms", note="with what recreate holds back")


def _whole(summaries: list[Summary]) -> tuple[float, float]:
    return median(summary.p50_s for summary in summaries), max(summary.p99_s for summary in summaries)


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{number} x {what}" for what, number in counts.most_common())


def _operations(stand: Stand) -> Iterator[Figure]:
    kinds = Counter[str]()
    for (name, _), number in stand.outcomes.items():
        kinds[name] += number
    for name, number in sorted(kinds.items()):
        ends = Counter({outcome: n for (kind, outcome), n in stand.outcomes.items() if kind == name})
        yield Figure(f"operation: {name}", number, note=_told(ends))


def _faults(stand: Stand) -> Iterator[Figure]:
    for kind in FAULTS:
        yield Figure(f"fault: {kind}", sum(fault.kind == kind for fault in stand.faults))
    for what, took in sorted(stand.recoveries.items()):
        yield Figure(what, median(took), "s", note=f"median of {len(took)}; worst {max(took):.2f} s")


def _taken(first: Sample, last: Sample) -> Iterator[Figure]:
    rows = [
        ("manager: open files", first.fds, last.fds),
        ("manager: threads", first.threads, last.threads),
        ("Envoy: open files", first.envoy_fds, last.envoy_fds),
    ]
    ages = f"after {first.age:.0f} s of life; now, after {last.age:.0f} s"
    for name, was, now in rows:
        yield Figure(name, now, note=f"{was} {ages}" if name.startswith("manager") else f"{was} at first")
    sizes = [
        ("manager: resident", first.rss, last.rss),
        ("Envoy: resident", first.envoy_rss, last.envoy_rss),
        ("data directory", first.data, last.data),
        ("of it the store", first.store, last.store),
        ("of it releases", first.releases, last.releases),
    ]
    for name, was, now in sizes:
        yield Figure(name, now / 1e6, "MB", note=f"{was / 1e6:.1f} MB at first, {now / 1e6:.1f} MB now")
