"""What watchers and operators are told: progress of a rollout, events of a deployment."""

from __future__ import annotations

from dataclasses import dataclass

from longshore.model.verdict import VerdictReport


@dataclass(frozen=True, slots=True)
class Progress:
    """One message of the WebSocket. seq counts from 1 within the rollout; 0: it has not begun."""

    rollout_id: str
    deployment: str
    seq: int
    step: str
    #: running | success | failed | warning
    status: str
    message: str
    progress_pct: int
    timestamp: float
    #: nothing follows in this rollout
    last: bool = False
    #: what a candidate is judged by, at that moment
    verdict: VerdictReport | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A line that an operator reads in the deployment's history. type: info | warning | error."""

    id: int
    deployment: str
    timestamp: float
    type: str
    message: str
    source: str
    rollout_id: str | None = None
    #: what a candidate was judged by
    verdict: VerdictReport | None = None
