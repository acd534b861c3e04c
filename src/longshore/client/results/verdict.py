"""Verdicts on a canary."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one version did while a canary was watched. Shares in percent, latencies in ms; None: not known."""

    requests: int
    failed_pct: float = 0.0
    errors_5xx_pct: float = 0.0
    hidden_pct: float = 0.0
    errors_4xx_pct: float = 0.0
    answers_3xx_pct: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """Evidence for a charge against the candidate: an e-value, at which it is proved from `needed` on."""

    charge: str
    e_value: float
    needed: float


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check of the canary has said so far."""

    name: str
    verdict: str
    passed: int = 0
    failed: int = 0
    limit: int = 1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a candidate was judged by. verdict: passed | failed | inconclusive; evidence: the strongest first."""

    verdict: str
    weight: int
    reason: str = ""
    min_requests: int = 0
    candidate: Observed | None = None
    stable: Observed | None = None
    evidence: tuple[Weighed, ...] = ()
    checks: tuple[Checked, ...] = ()
