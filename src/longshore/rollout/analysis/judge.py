"""The judgement on a candidate, from the router's figures of both versions over the same time.

begin ─► look ─► look ─► …      each look joins what was counted since the last one to the evidence
           └─ judgement: failed as soon as the evidence says so; else passed, or inconclusive below the minimum sample
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from operator import itemgetter

from longshore.model import Analysis, Observed, Verdict, Weighed
from longshore.rollout.analysis.evidence import Counts, Evidence
from longshore.rollout.analysis.window import NOTHING, Window, quantile, slower, window
from longshore.routers.base import Figures


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    #: with the numbers it rests on, for people
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """What both versions did between two looks, and what was known before."""

    candidate: Window
    stable: Window
    #: latencies of the stable version up to the beginning of this block, bucket → count
    known_ms: Mapping[float, int]
    limits: Analysis


#: of the latencies that are told
QUANTILES = (0.5, 0.95, 0.99)

#: what a charge counts of a block, (candidate, stable); None: the block says nothing about it
Count = Callable[[Block], tuple[Counts, Counts] | None]


@dataclass(frozen=True, slots=True)
class Charge:
    """One thing that is held against a candidate: counts, by how much they may differ (0-1), and the words for it."""

    count: Count
    margin: Callable[[Analysis], float]
    words: str


def _failures(block: Block) -> tuple[Counts, Counts]:
    one, other = block.candidate, block.stable
    return Counts(one.failures, one.tries), Counts(other.failures, other.tries)


def _answers_4xx(block: Block) -> tuple[Counts, Counts]:
    one, other = block.candidate, block.stable
    return Counts(one.errors_4xx, one.requests), Counts(other.errors_4xx, other.requests)


def _answers_3xx(block: Block) -> tuple[Counts, Counts]:
    one, other = block.candidate, block.stable
    return Counts(one.answers_3xx, one.requests), Counts(other.answers_3xx, other.requests)


def _latency(q: float, block: Block) -> tuple[Counts, Counts] | None:
    """Slower than the stable version's q-quantile by more than is allowed, against slower than that quantile.

    If no quantile of the candidate's latency lies above what is allowed for the stable version's, the share of its
    requests above allowed(u) is at most the stable version's share above u, for any u: no distribution is assumed. u is
    taken from what was known before the block, so that this block's chance has no part in the choice. Buckets are
    counted whole: a candidate that lies between two bounds has the benefit of it.
    """
    limits, ours, theirs = block.limits, block.candidate.latency_ms, block.stable.latency_ms
    u = quantile(block.known_ms, q)
    if u is None:
        return None
    allowed = allowed_ms(u, limits)
    bound = min((each for each in ours.keys() | theirs.keys() if each >= allowed), default=inf)
    return Counts(slower(ours, bound), sum(ours.values())), Counts(slower(theirs, u), sum(theirs.values()))


def allowed_ms(stable_ms: float, limits: Analysis) -> float:
    return max(stable_ms * limits.max_latency_ratio, stable_ms + limits.min_latency_increase * 1000.0)


def _none(_: Analysis) -> float:
    return 0.0


def _failing(limits: Analysis) -> float:
    return limits.max_error_rate_increase / 100


def _shifting(limits: Analysis) -> float:
    return limits.max_3xx_4xx_increase / 100


# To add one: a line here and in the list in docs/guide/canary.md. The false-alarm rate is split over all of them by
# itself (Bonferroni), benchmarks/canary_analysis.py measures the whole.
CHARGES: dict[str, Charge] = {
    "failures": Charge(_failures, _failing, "fails more often than allowed"),
    "4xx": Charge(_answers_4xx, _shifting, "answers 4xx more often than allowed"),
    "3xx": Charge(_answers_3xx, _shifting, "answers 3xx more often than allowed"),
    "p50": Charge(partial(_latency, 0.5), _none, "has a higher p50 latency than allowed"),
    "p95": Charge(partial(_latency, 0.95), _none, "has a higher p95 latency than allowed"),
    "p99": Charge(partial(_latency, 0.99), _none, "has a higher p99 latency than allowed"),
}
#: where the candidate has all the requests, it is compared with a version of which none fails, and may fail half of its
#: own: what is left to see is that it serves at all
ALONE: dict[str, Charge] = {"failures": Charge(_failures, lambda _: 0.5, "fails most requests")}


ALONE_WORDS = "healthy; with all the traffic on the candidate there is nothing to compare it with"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both versions over the span of one watch, so far.

    limits   what the candidate is held to
    watches  how many watches of this canary share the false-alarm rate
    alone    the candidate has all the requests
    """

    limits: Analysis
    watches: int = 1
    alone: bool = False
    #: the readings (stable, candidate) that the block which is still open began with
    since: tuple[Figures | None, Figures | None] = (None, None)
    #: both, over all closed blocks
    stable: Window = NOTHING
    candidate: Window = NOTHING
    #: (stable, candidate) in the block that is still open; None: no figures of both for the same time
    pending: tuple[Window, Window] | None = None
    evidence: dict[str, Evidence] = field(default_factory=dict)

    @property
    def enough(self) -> float:
        """The e-value at which a charge is proved.

        Each charge in each of the watches has an equal part of `false_alarm_rate` (Bonferroni), and a healthy
        candidate's e-value ever gets to K with a chance of at most 1/K. So at most that share of healthy canaries is
        failed, over all charges and all looks together.
        """
        return len(CHARGES) * max(1, self.watches) / self.limits.false_alarm_rate

    def look(self, stable: Figures | None, candidate: Figures | None) -> Comparison:
        """With what was counted since the last look. Where counters began anew in between, only from then on."""
        ours, theirs = window(self.since[1], candidate), window(self.since[0], stable)
        if self.alone and ours is not None:
            theirs = Window(requests=ours.tries)
        if ours is None or theirs is None:
            return replace(self, since=(stable, candidate), pending=None)
        if not ours.tries or not theirs.tries:
            # Nothing can be compared yet: the block stays open until both have answered something.
            return replace(self, pending=(theirs, ours))
        before = self.since[0]
        lately = sum(self.stable.latency_ms.values()) >= self.limits.min_requests
        known = self.stable.latency_ms if lately or before is None else before.latency_ms
        block = Block(ours, theirs, known, self.limits)
        return replace(
            self,
            since=(stable, candidate),
            stable=self.stable + theirs,
            candidate=self.candidate + ours,
            pending=(NOTHING, NOTHING),
            evidence={name: _joined(self.evidence.get(name), charge, block) for name, charge in self.charges.items()},
        )

    @property
    def charges(self) -> dict[str, Charge]:
        return ALONE if self.alone else CHARGES

    @property
    def strongest(self) -> tuple[str, float]:
        """The charge with the most evidence, and how much that is."""
        values = {name: evidence.e_value for name, evidence in self.evidence.items()} or {"failures": 1.0}
        return max(values.items(), key=itemgetter(1))

    def observed(self) -> tuple[Observed, Observed] | None:
        """What candidate and stable version did so far, in numbers; None: nothing that could be compared."""
        if self.pending is None and not self.evidence:
            return None
        rest = self.pending or (NOTHING, NOTHING)
        return _observed(self.candidate + rest[1]), _observed(self.stable + rest[0])

    def weighed(self) -> tuple[Weighed, ...]:
        """The evidence for each charge, the strongest first."""
        found = [Weighed(name, evidence.e_value, self.enough) for name, evidence in self.evidence.items()]
        return tuple(sorted(found, key=lambda each: -each.e_value))

    def judgement(self) -> Judgement:
        """Failed as soon as one charge is proved; inconclusive below `min_requests` on either side; else
        passed: nothing is proved against it."""
        if self.pending is None and not self.evidence:
            if self.alone:
                return Judgement(Verdict.passed, ALONE_WORDS)
            return Judgement(Verdict.inconclusive, "no figures of both versions for the same time")
        rest = self.pending or (NOTHING, NOTHING)
        stable, candidate = self.stable + rest[0], self.candidate + rest[1]
        numbers = f"candidate {_told(candidate)}" + ("" if self.alone else f"; stable {_told(stable)}")
        name, strongest = self.strongest
        weighed = f"evidence {strongest:.3g} of {self.enough:.3g}"
        proved = [
            self.charges[each].words for each, evidence in self.evidence.items() if evidence.e_value >= self.enough
        ]
        if proved:
            return Judgement(Verdict.failed, f"{' and '.join(proved)} ({weighed}): {numbers}")
        if self.alone:
            return Judgement(Verdict.passed, f"{ALONE_WORDS}: {numbers}")
        least = self.limits.min_requests
        if min(stable.requests, candidate.requests) < least:
            return Judgement(Verdict.inconclusive, f"fewer than {least} requests on one side: {numbers}")
        return Judgement(Verdict.passed, f"{numbers}; most against it: {name}, {weighed}")


def _joined(evidence: Evidence | None, charge: Charge, block: Block) -> Evidence:
    so_far = evidence or Evidence(charge.margin(block.limits))
    counted = charge.count(block)
    return so_far if counted is None else so_far.after(*counted)


def _observed(of: Window) -> Observed:
    points = (quantile(of.latency_ms, q) for q in QUANTILES)
    p50, p95, p99 = (None if point is None or point == inf else point for point in points)
    return Observed(
        requests=of.requests,
        failed_pct=_share(of, of.failures),
        errors_5xx_pct=_share(of, of.errors_5xx),
        hidden_pct=_share(of, of.hidden),
        errors_4xx_pct=_share(of, of.errors_4xx),
        answers_3xx_pct=_share(of, of.answers_3xx),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


def _share(of: Window, hits: int) -> float:
    return round(of.percent(hits), 3)


def _told(of: Window) -> str:
    """`1000 requests, 1.2 % failed (5xx 1.0 %, hidden 0.2 %), 4xx 3.0 %, 3xx 0.0 %, p50/p95/p99 ≤ 10/50/200 ms`"""
    if not (of.requests or of.failures):
        return "0 requests"
    points = [quantile(of.latency_ms, q) for q in QUANTILES]
    shown = "/".join("?" if point is None else "∞" if point == inf else f"{point:g}" for point in points)
    return (
        f"{of.requests} requests, {of.percent(of.failures):.1f} % failed "
        f"(5xx {of.percent(of.errors_5xx):.1f} %, hidden from clients {of.percent(of.hidden):.1f} %), "
        f"4xx {of.percent(of.errors_4xx):.1f} %, 3xx {of.percent(of.answers_3xx):.1f} %, p50/p95/p99 ≤ {shown} ms"
    )
