"""How often the canary's judge is wrong: false alarms of 10,000 healthy canaries, and what is caught at 1,000 requests.

    .venv/bin/python benchmarks/canary_analysis.py        # some 80 s; --json for numbers

Requests are drawn at random and counted as the router counts them; the judge is the one that rollouts use.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import erf, inf, log, log1p, sqrt

from harness import Figure, main

from longshore.model import Analysis
from longshore.rollout.analysis.judge import Comparison
from longshore.routers.base import Figures
from longshore.routers.envoy.resources import LATENCY_BUCKETS_MS

CANARIES = 10_000
#: of each point of the power table
TRIES = 200
#: share of those that has to be caught
POWER = 0.8
LOOKS = 5
LIMITS = Analysis()
BOUNDS = (*LATENCY_BUCKETS_MS[:-1], inf)


@dataclass(frozen=True)
class Version:
    """How one version answers: shares of requests, and a log-normal latency."""

    errors_5xx: float = 0.001
    errors_4xx: float = 0.02
    hidden: float = 0.0
    median_ms: float = 100.0
    sigma: float = 0.5


HEALTHY = Version()
#: as bad as it may be: at each limit at once
AT_THE_LIMITS = Version(
    errors_5xx=HEALTHY.errors_5xx + LIMITS.max_error_rate_increase / 100,
    errors_4xx=HEALTHY.errors_4xx + LIMITS.max_3xx_4xx_increase / 100,
    median_ms=HEALTHY.median_ms * LIMITS.max_latency_ratio,
)


def is_failed(stable: Version, candidate: Version, weights: tuple[int, ...], requests: int, rnd: random.Random) -> bool:
    """Whether one canary is failed that is watched at each weight for so many requests, in LOOKS looks each."""
    for weight in weights:
        readings = [Figures("1", 0, 0, 0, 0, 0, {})] * 2
        comparison = Comparison(LIMITS, len(weights)).look(*readings)
        for _ in range(LOOKS):
            size = requests // LOOKS
            ours = _hits(size, weight / 100, rnd)
            counted = ((stable, size - ours), (candidate, ours))
            readings = [_more(read, of, n, rnd) for read, (of, n) in zip(readings, counted, strict=True)]
            comparison = comparison.look(*readings)
            if comparison.strongest[1] >= comparison.enough:
                return True
    return False


def alarms(candidate: Version, canaries: int, weights: tuple[int, ...], requests: int, seed: int = 1) -> int:
    """How many of so many canaries are failed."""
    rnd = random.Random(seed)
    return sum(is_failed(HEALTHY, candidate, weights, requests, rnd) for _ in range(canaries))


def smallest_caught(worse: Callable[[float], Version], steps: list[float], weights: tuple[int, ...]) -> float:
    """The first step at which POWER of the canaries are caught with 1,000 requests in all; inf: none of them."""
    for step in steps:
        if alarms(worse(step), TRIES, weights, 1000 // len(weights)) >= POWER * TRIES:
            return step
    return inf


async def measure() -> list[Figure]:
    healthy = alarms(HEALTHY, CANARIES, (5, 25, 50), 300)
    limits = alarms(AT_THE_LIMITS, CANARIES, (5, 25, 50), 300)
    most = LIMITS.false_alarm_rate * CANARIES
    note = f"5, 25 and 50 %, {LOOKS} looks each; stated: {LIMITS.false_alarm_rate:.0%}"
    figures = [
        Figure(f"false alarms, {CANARIES:,} canaries as good as the stable version", healthy, at_most=most, note=note),
        Figure(f"false alarms, {CANARIES:,} canaries at every limit at once", limits, at_most=most, note=note),
    ]
    points = [step / 1000 for step in (15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 100, 120, 150, 200, 250, 300, 400)]
    times = [1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1, 2.2, 2.4, 2.6, 3.0, 3.5, 4.0, 5.0]
    for weight in (5, 25, 50):
        errors = smallest_caught(lambda p: replace(HEALTHY, errors_5xx=p), points, (weight,))
        hidden = smallest_caught(lambda p: replace(HEALTHY, hidden=p), points, (weight,))
        slow = smallest_caught(lambda x: replace(HEALTHY, median_ms=HEALTHY.median_ms * x), times, (weight,))
        at = f"1,000 requests, {weight} % to the candidate"
        caught = f"caught {POWER:.0%} of the time; stable version {HEALTHY.errors_5xx:.1%}"
        figures += [
            Figure(f"{at}: errors", 100 * errors, "%", note=caught),
            Figure(f"{at}: failures hidden by retries", 100 * hidden, "%", note=caught),
            Figure(f"{at}: latency", slow, "x", note=f"of the stable version's {HEALTHY.median_ms:g} ms, log-normal"),
        ]
    return figures


# --- private


def _more(read: Figures, of: Version, requests: int, rnd: random.Random) -> Figures:
    """The next reading, after so many more tries."""
    hidden = _hits(requests, of.hidden, rnd)
    answered = requests - hidden
    errors_5xx = _hits(answered, of.errors_5xx, rnd)
    latency = Counter(rnd.choices(BOUNDS, cum_weights=_buckets(of), k=answered)) if answered else Counter[float]()
    return Figures(
        read.epoch,
        read.requests + answered,
        read.errors_5xx + errors_5xx,
        read.errors_4xx + _hits(answered - errors_5xx, of.errors_4xx, rnd),
        read.retries + hidden,
        0,
        {bound: read.latency_ms.get(bound, 0) + latency[bound] for bound in BOUNDS},
    )


def _hits(trials: int, share: float, rnd: random.Random) -> int:
    """A binomial draw, by the gaps between hits, which are geometric (L. Devroye, Non-Uniform Random Variate
    Generation, 1986, X.4.3)."""
    if share <= 0.0:
        return 0
    at, hits = 0, -1
    while at <= trials:
        at += 1 + int(log(1.0 - rnd.random()) / log1p(-share))
        hits += 1
    return hits


@cache
def _buckets(of: Version) -> list[float]:
    """Cumulative shares of the buckets."""

    def below(bound: float) -> float:
        return 1.0 if bound == inf else 0.5 * (1 + erf(log(bound / of.median_ms) / (of.sigma * sqrt(2))))

    return [below(bound) for bound in BOUNDS]


if __name__ == "__main__":
    main("Canary analysis", measure)
