"""What was asked for and has not begun: it waits for its turn, or for somebody's approval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longshore.model.events import Progress
from longshore.model.rollout import Failure, Rollout, RolloutKind, RolloutStatus, WaitingFor
from longshore.model.spec import Spec, StrategyName


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request wants: kept as it was asked, for what it inherits is looked up when it begins."""

    kind: RolloutKind
    deployment: str
    #: well-typed fields of the request (rollout/request.py)
    fields: Mapping[str, Any] = field(default_factory=dict)
    #: dotted paths that a change takes back to their default
    dropped: frozenset[str] = frozenset()
    #: why what was stored, by another version, cannot be read
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Waiting:
    """id: the one that its rollout will have, so that who was told it finds that."""

    id: str
    ask: Ask
    #: what it came to when it was asked for
    spec: Spec
    strategy: StrategyName
    requested_by: str
    since: float
    #: when it is cancelled, if it has not begun
    expires_at: float
    waiting_for: WaitingFor
    #: with its turn comes the end of what is in progress, and of what was asked for before
    supersedes: bool = False
    approved_by: str | None = None
    override: str | None = None
    #: when it was cancelled; None: it waits
    ended_at: float | None = None
    message: str = ""

    def as_rollout(self) -> Rollout:
        """In the shape of what it may become: `queued`, or `cancelled`. It has no number, and no steps."""
        cancelled = self.ended_at is not None
        return Rollout(
            id=self.id,
            deployment=self.ask.deployment,
            number=0,
            kind=self.ask.kind,
            version=self.spec.version,
            previous_version=None,
            strategy=self.strategy,
            status=RolloutStatus.cancelled if cancelled else RolloutStatus.queued,
            spec=self.spec,
            requested_by=self.requested_by,
            started_at=self.since,
            ended_at=self.ended_at,
            message=self.message,
            failure=Failure("DEPLOYMENT_ABORTED", self.message, "queue", "cancelled") if cancelled else None,
            override=self.override,
            approved_by=self.approved_by,
            waiting_for=None if cancelled else self.waiting_for,
        )

    def progress(self) -> Progress:
        """What a watcher of it is told. Its rollout, once there is one, counts its messages from 1."""
        cancelled = self.ended_at is not None
        return Progress(
            rollout_id=self.id,
            deployment=self.ask.deployment,
            seq=0,
            step="rollout" if cancelled else "queue",
            status="failed" if cancelled else "running",
            message=self.message,
            progress_pct=100 if cancelled else 0,
            timestamp=self.ended_at if self.ended_at is not None else self.since,
            last=cancelled,
        )
