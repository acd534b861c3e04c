"""Judging a canary: the candidate's figures against the stable version's, from the same window of time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf

from longshore.model import Analysis
from longshore.routers.base import Figures


class Verdict(StrEnum):
    passed = "passed"
    failed = "failed"
    #: too little traffic on one side to say anything
    inconclusive = "inconclusive"


@dataclass(frozen=True, slots=True)
class Window:
    """What one pool did between two readings of its figures. Rates in percent, latency in seconds."""

    requests: int
    #: answered 5xx, plus tries that failed and were hidden from the client by a retry
    failures: int
    p95_s: float | None

    @property
    def error_rate(self) -> float:
        return 100.0 * self.failures / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    #: with the numbers it rests on, for people
    reason: str


def window(before: Figures | None, after: Figures | None) -> Window | None:
    """The difference of two readings; None where the counters began anew in between, so that it would mean nothing."""
    if before is None or after is None or before.epoch != after.epoch:
        return None
    requests = after.requests - before.requests
    counts = {bound: n - before.latency_ms.get(bound, 0) for bound, n in after.latency_ms.items()}
    if requests < 0 or any(n < 0 for n in counts.values()):
        return None
    # A crashing candidate whose failures are all retried elsewhere answers no client with an error: what was hidden
    # counts. A failed connect leads to a retry, so the larger of the two is taken, not their sum.
    hidden = max(after.retries - before.retries, after.connect_failures - before.connect_failures)
    return Window(requests, after.errors_5xx - before.errors_5xx + hidden, quantile(counts, 0.95))


def quantile(latency_ms: dict[float, int], q: float) -> float | None:
    """Upper bound, in seconds, of the bucket in which the q-quantile lies; None without any; inf beyond the last."""
    total = sum(latency_ms.values())
    if not total:
        return None
    seen = 0
    for bound in sorted(latency_ms):
        seen += latency_ms[bound]
        if seen >= q * total:
            return bound / 1000.0
    return inf


def judge(stable: Window | None, candidate: Window | None, limits: Analysis) -> Judgement:
    """Is the candidate worse than the stable version allows?

    stable, candidate   the same window of time; None: no figures
    Returns  failed as soon as a limit is passed with at least `limits.min_requests` on both sides; inconclusive below
             that number, except where the candidate has failed more often than `min_requests` healthy requests could
             excuse; else passed.
    Source   The two measures and their limits are the usual ones of progressive delivery (Argo Rollouts' and
             Flagger's success rate and p99/p95 latency against the primary); p95 is read from the router's histogram,
             so it is the upper bound of a bucket.
    """
    if stable is None or candidate is None:
        return Judgement(Verdict.inconclusive, "no figures of both versions for the same time")
    numbers = (
        f"candidate {candidate.requests} requests, {candidate.error_rate:.1f} % failed, p95 {_ms(candidate.p95_s)}; "
        f"stable {stable.requests} requests, {stable.error_rate:.1f} % failed, p95 {_ms(stable.p95_s)}"
    )
    if min(stable.requests, candidate.requests) < limits.min_requests:
        # 50 needed and 1 point allowed: 5 failures among the few there are already exceed every healthy outcome.
        excusable = max(4.0, limits.min_requests * (stable.error_rate + limits.max_error_rate_increase) / 100.0)
        if candidate.failures > excusable and candidate.error_rate > stable.error_rate + 50.0:
            return Judgement(Verdict.failed, f"most requests to the candidate fail: {numbers}")
        return Judgement(Verdict.inconclusive, f"fewer than {limits.min_requests} requests on one side: {numbers}")
    if candidate.error_rate > stable.error_rate + limits.max_error_rate_increase:
        return Judgement(
            Verdict.failed,
            f"error rate more than {limits.max_error_rate_increase:g} points above the stable version's: {numbers}",
        )
    if stable.p95_s is not None and candidate.p95_s is not None:
        allowed = max(stable.p95_s * limits.max_latency_ratio, stable.p95_s + limits.min_latency_increase)
        if candidate.p95_s > allowed:
            return Judgement(Verdict.failed, f"p95 latency above the allowed {_ms(allowed)}: {numbers}")
    return Judgement(Verdict.passed, numbers)


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return "over 30 s" if seconds == inf else f"≤ {seconds * 1000:g} ms"
