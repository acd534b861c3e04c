"""What the two versions did in the same span of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from longshore.routers.base import Figures


@dataclass(frozen=True, slots=True)
class Window:
    """What one pool did between two readings of its figures. `requests` counts answers."""

    requests: int = 0
    errors_5xx: int = 0
    errors_4xx: int = 0
    answers_3xx: int = 0
    #: tries that failed and were hidden from the client by a retry, or by the other pool, which answered instead
    hidden: int = 0
    #: upper bound of a bucket (inf for the last) → its own count
    latency_ms: Mapping[float, int] = field(default_factory=dict)

    @property
    def tries(self) -> int:
        return self.requests + self.hidden

    @property
    def failures(self) -> int:
        """What was hidden counts: a crashing candidate may answer no client with an error, all being retried."""
        return self.errors_5xx + self.hidden

    def percent(self, hits: int) -> float:
        return 100.0 * hits / self.tries if self.tries else 0.0

    def __add__(self, other: Window) -> Window:
        bounds = self.latency_ms.keys() | other.latency_ms.keys()
        return Window(
            self.requests + other.requests,
            self.errors_5xx + other.errors_5xx,
            self.errors_4xx + other.errors_4xx,
            self.answers_3xx + other.answers_3xx,
            self.hidden + other.hidden,
            {bound: self.latency_ms.get(bound, 0) + other.latency_ms.get(bound, 0) for bound in bounds},
        )


NOTHING = Window()


def window(before: Figures | None, after: Figures | None) -> Window | None:
    """The difference of two readings; None where the counters began anew in between, so that it would mean nothing."""
    if before is None or after is None or before.epoch != after.epoch:
        return None
    latency = {bound: n - before.latency_ms.get(bound, 0) for bound, n in after.latency_ms.items()}
    requests, taken_over = after.requests - before.requests, after.taken_over - before.taken_over
    # A failed connect leads to a retry, and that to the other pool, so the largest of them is taken, not their sum.
    failed = (after.retries - before.retries, after.connect_failures - before.connect_failures, taken_over)
    errors_5xx, errors_4xx = after.errors_5xx - before.errors_5xx, after.errors_4xx - before.errors_4xx
    answers_3xx = after.answers_3xx - before.answers_3xx
    if min(requests, errors_5xx, errors_4xx, answers_3xx, *failed, *latency.values()) < 0:
        return None
    # What the other pool answered is no answer of this one, whatever it was. The two counters are read a moment apart.
    own = max(0, requests - taken_over)
    return Window(own, min(errors_5xx, own), min(errors_4xx, own), min(answers_3xx, own), max(failed), latency)


def quantile(latency_ms: Mapping[float, int], q: float) -> float | None:
    """Upper bound, in ms, of the bucket in which the q-quantile lies; None without any; inf beyond the last."""
    total = sum(latency_ms.values())
    if not total:
        return None
    seen = 0
    for bound in sorted(latency_ms):
        seen += latency_ms[bound]
        if seen >= q * total:
            return bound
    return inf


def slower(latency_ms: Mapping[float, int], bound: float) -> int:
    """How many took longer than `bound` (ms), which is one of the buckets' bounds."""
    return sum(count for upper, count in latency_ms.items() if upper > bound)
