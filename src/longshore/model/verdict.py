"""Verdicts: what a candidate was judged by, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    passed = "passed"
    failed = "failed"
    #: too little was seen to say anything
    inconclusive = "inconclusive"


@dataclass(frozen=True, slots=True)
class Observed:
    """What one version did while it was watched. Shares are percent of its tries, latencies bounds of buckets in ms.

    A latency is None where none was measured, or it lies beyond the last bucket.
    """

    requests: int
    failed_pct: float
    errors_5xx_pct: float
    #: failures that a retry, or the other version's answer, hid from clients
    hidden_pct: float
    errors_4xx_pct: float
    answers_3xx_pct: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Weighed:
    """Evidence for one charge against the candidate: an e-value, which proves it from `needed` on."""

    charge: str
    e_value: float
    needed: float


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of the user's own has said so far; it fails the candidate at `limit` failures."""

    name: str
    verdict: Verdict
    passed: int
    failed: int
    limit: int


@dataclass(frozen=True, slots=True)
class VerdictReport:
    """candidate, stable: None where there are no figures; evidence: the strongest charge first; min_requests: fewer on
    either side are inconclusive."""

    verdict: Verdict
    #: percent of the requests that the candidate had
    weight: int
    reason: str
    min_requests: int
    candidate: Observed | None = None
    stable: Observed | None = None
    evidence: tuple[Weighed, ...] = ()
    checks: tuple[Checked, ...] = ()
