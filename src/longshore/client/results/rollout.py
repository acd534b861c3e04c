"""Rollouts: attempts, their steps, and what is told of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from longshore.client.decode import Seconds
from longshore.client.results.base import Result
from longshore.client.results.verdict import Verdict

#: rollouts with these statuses are not over (a committed one still drains)
OPEN_STATUSES = frozenset({"queued", "running", "paused", "unwinding", "committed"})

NO_TIME = Seconds(0)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a rollout. status: running | completed | failed."""

    name: str
    status: str
    message: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    error: str = ""
    #: it is the undoing of that step
    undo: bool = False
    #: of a step that watched a canary
    verdict: Verdict | None = None

    @property
    def duration(self) -> float | None:
        """Seconds; None while it runs."""
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a rollout failed: the error the synchronous call would have answered with."""

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rollout(Result):
    """One attempt to take a deployment to a version: what `deploy` answers, and an entry of its history.

    The first eight fields are the answer of `POST /deployments`; the others are empty where the manager does not say.
    """

    version: str
    start_time: datetime
    end_time: datetime | None = None
    duration: Seconds = NO_TIME
    #: None while it is not over
    success: bool | None = None
    message: str = ""
    previous_version: str = ""
    steps: tuple[Step, ...] = ()
    id: str = field(default="", metadata={"keys": ("id", "rollout_id")})
    deployment: str = ""
    #: 1, 2, 3 … within the deployment
    number: int = 0
    #: deploy | rollback | restart | scale | change | stop | start
    kind: str = "deploy"
    strategy: str = ""
    #: queued | running | paused | unwinding | committed | succeeded | unwound | held | stuck | cancelled
    status: str = ""
    #: of one that is queued: turn | approval
    waiting_for: str | None = None
    requested_by: str = ""
    #: why a lock or a freeze window may be passed over
    override: str | None = None
    #: who else had to agree, and did
    approved_by: str | None = None
    error: Failure | None = None
    progress_pct: int = 0

    @property
    def is_over(self) -> bool:
        return self.status not in OPEN_STATUSES


@dataclass(frozen=True, kw_only=True)
class Rollouts(Result):
    """A page of a deployment's history, newest first."""

    rollouts: tuple[Rollout, ...]
    total: int
    limit: int = 0
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class RollbackResult(Result):
    """version: what serves now."""

    message: str
    version: str
    timestamp: datetime


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What was asked for and has not begun. rollout_id: the id that its rollout will have."""

    rollout_id: str
    kind: str
    version: str
    requested_by: str
    since: datetime
    #: when it is cancelled, if it has not begun
    expires_at: datetime
    #: turn | approval
    waiting_for: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress(Result):
    """A message of the WebSocket. status: running | success | failed | warning; seq counts from 1 in the rollout."""

    step: str
    status: str
    message: str = ""
    progress_pct: int = 0
    timestamp: datetime
    rollout_id: str = ""
    seq: int = 0
    #: what a candidate is judged by, at that moment
    verdict: Verdict | None = None

    @property
    def last(self) -> bool:
        """Nothing follows in this rollout: only its end is at 100 percent."""
        return self.progress_pct >= 100 and self.status in ("success", "failed")
