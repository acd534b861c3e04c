"""What is told at the end: requests, operations, recoveries, and what grew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from harness import Figure, show

from soaking.clients import Total
from soaking.faults import FAULTS, READY, SETTLED
from soaking.growth import Growth, growth
from soaking.roles import HELD_S
from soaking.sampling import MEASURES, Sample
from soaking.stand import GRACE_S, Stand

#: seconds at most, in the worst case
BOUNDS_S = {READY: 2.0, SETTLED: 5.0}
#: of a life, the first part is left out: caches fill, pools reach their size
WARM_UP = 0.25
#: with fewer samples nothing is judged
SAMPLES = 6
#: kinds of requests that last HELD_S by themselves
HELD = frozenset({"slow", "events", "websocket"})
#: what grew most among the manager's objects is named, so many of them
NAMED = 4


def figures(stand: Stand, total: Total, samples: Sequence[Sample]) -> list[Figure]:
    return [*_requests(stand, total), *_operations(stand), *_faults(stand), *_growths(samples)]


def _requests(stand: Stand, total: Total) -> Iterator[Figure]:
    kinds = ", ".join(f"{each.answered:,} {each.kind}" for each in total.classes)
    yield Figure("requests", stand.clients.sent, at_least=1, note=f"answered well: {kinds}")
    yield Figure("lost without a reason", stand.unexplained.total(), at_most=0, note=_told(stand.unexplained))
    flying = f"up to {GRACE_S:g} s after; {_told(stand.in_flight)}"
    yield Figure("lost in an instance that was killed", stand.in_flight.total(), note=flying)
    emptied = f"all instances of one of its pools killed; {_told(stand.emptied)}"
    yield Figure("lost in a pool that a kill had emptied", stand.emptied.total(), at_most=0, note=emptied)
    yield Figure("lost while Envoy was killed and away", stand.cut.total(), note=_told(stand.cut))
    yield Figure("invariants and promises violated", len(stand.violations), at_most=0, note="each is told above")
    for each in total.classes:
        rest = f"p50 {each.p50_s * 1000:.1f} ms, longest {each.max_s:.2f} s"
        held = f"; each lasts {HELD_S:g} s by itself" if each.kind in HELD else "; with what recreate holds back"
        yield Figure(f"p99 of {each.kind}", each.p99_s * 1000, "ms", note=rest + held)
    worst, name = max((seconds, name) for name, seconds in total.p99_s.items())
    yield Figure("p99 of quick ones, median of the deployments", median(total.p99_s.values()) * 1000, "ms",
                 note=f"worst {worst * 1000:.0f} ms, of {name}")  # fmt: skip


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
        note = f"worst of {len(took)}; median {median(took):.2f} s"
        yield Figure(what, max(took), "s", at_most=BOUNDS_S.get(what), note=note)


# ------------------------------------------------------------------------------------------- growth


def _growths(samples: Sequence[Sample]) -> Iterator[Figure]:
    """Of the longest life of one manager and one Envoy, without its warm-up: what it surely does not grow by more than.

    Judged is the upper end of the interval, not the slope: samples that tell nothing prove no absence of growth. With
    too few of them nothing is judged.
    """
    life = steady(samples)
    if len(life) < 3:
        return
    enough = len(life) >= SAMPLES
    for name, measure in MEASURES.items():
        values = [(each.at, each.values[name]) for each in life]
        grew = growth(values)
        note = f"{show(values[0][1], measure.unit)} → {show(values[-1][1], measure.unit)}; {_told_of(grew)}"
        if name == "manager: objects":
            note += f"; most: {_most(life)}"
        limit = measure.at_most if enough else None
        yield Figure(f"{name}: growth an hour, at most", grew.high, measure.unit, at_most=limit, note=note)
    minutes = (life[-1].at - life[0].at) / 60
    yield Figure("samples of one life", len(life), note=f"over {minutes:.0f} min" if enough else "too few to judge")


def steady(samples: Sequence[Sample]) -> Sequence[Sample]:
    """Those of the longest life, after its warm-up."""
    lives = Counter(each.life for each in samples)
    if not lives:
        return []
    life = lives.most_common(1)[0][0]
    found = [each for each in samples if each.life == life]
    return found[round(len(found) * WARM_UP) :]


def _told_of(grew: Growth) -> str:
    return f"{grew.slope:,.0f} an hour; 95 %: {grew.low:,.0f} to {grew.high:,.0f}"


def _most(life: Sequence[Sample]) -> str:
    """The types and containers that grew most, an hour."""
    slopes = {
        name: growth([(each.at, each.held.get(name, 0)) for each in life]).slope
        for name in {name for each in life for name in each.held}
    }
    most = sorted(slopes, key=lambda name: -slopes[name])[:NAMED]
    return ", ".join(f"{name} {slopes[name]:+,.0f}" for name in most if slopes[name] > 0) or "none"
