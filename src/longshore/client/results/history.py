"""The history of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from longshore.client.results.base import Result
from longshore.client.results.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Event(Result):
    """type: info | warning | error."""

    timestamp: datetime
    type: str
    message: str
    source: str
    id: int | None = None
    deployment: str = ""
    rollout_id: str | None = None
    #: what a candidate was judged by
    verdict: Verdict | None = None


@dataclass(frozen=True, kw_only=True)
class Events(Result):
    """Newest first."""

    events: tuple[Event, ...]
