"""Rollouts, and the rule which of their statuses may follow which."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from longshore.model.spec import Spec, StrategyName


class RolloutKind(StrEnum):
    deploy = "deploy"
    rollback = "rollback"
    #: the committed release again, in new instances
    restart = "restart"
    #: more or fewer instances of the committed release
    scale = "scale"
    #: a new release of the committed one's files, with another spec
    change = "change"
    #: no instances at all, until the next start, deploy or rollback
    stop = "stop"
    #: the committed release, after a stop
    start = "start"


class RolloutStatus(StrEnum):
    #                                  ┌────────────► succeeded
    #   running ──► committed ─────────┘
    #    │  ▲ │
    #    ▼  │ ├────► unwinding ──► unwound      everything is as it was
    #   paused│          └───────► stuck ──┐    an undo failed; a person is needed
    #         └────► held ─────────────────┴──► unwound
    #   held: rollback_on_failure is false. The next deploy or rollback undoes what held and stuck have left.
    #
    #: steps before the commit
    running = "running"
    #: waits for resume, promote or abort; no deadline counts
    paused = "paused"
    #: undoing, in reverse
    unwinding = "unwinding"
    #: past the commit: what is left is finished, never undone
    committed = "committed"
    succeeded = "succeeded"
    unwound = "unwound"
    held = "held"
    stuck = "stuck"
    #: asked for, not begun (model/waiting.py); none is stored with this status or the next
    queued = "queued"
    #: ended without having begun
    cancelled = "cancelled"

    @property
    def is_open(self) -> bool:
        """In progress: no other rollout of the deployment may begin."""
        return self in OPEN_STATUSES

    @property
    def is_failed(self) -> bool:
        return self in (RolloutStatus.unwound, RolloutStatus.held, RolloutStatus.stuck, RolloutStatus.cancelled)

    @property
    def is_over(self) -> bool:
        return not self.is_open and self is not RolloutStatus.queued


class WaitingFor(StrEnum):
    """What keeps something that was asked for from beginning."""

    #: the end of the rollout in progress, and of those that were asked for before
    turn = "turn"
    #: another person's word
    approval = "approval"


#: status → what may follow it. The store enforces it: `UPDATE … WHERE status IN (…)`, and no matching row is an error.
#: Those that are not here are never stored: they are of requests that have not begun.
TRANSITIONS: dict[RolloutStatus, frozenset[RolloutStatus]] = {
    RolloutStatus.running: frozenset(
        {RolloutStatus.paused, RolloutStatus.unwinding, RolloutStatus.committed, RolloutStatus.held}
    ),
    RolloutStatus.paused: frozenset({RolloutStatus.running, RolloutStatus.unwinding, RolloutStatus.held}),
    RolloutStatus.unwinding: frozenset({RolloutStatus.unwound, RolloutStatus.stuck}),
    RolloutStatus.committed: frozenset({RolloutStatus.succeeded}),
    RolloutStatus.succeeded: frozenset(),
    RolloutStatus.unwound: frozenset(),
    RolloutStatus.held: frozenset({RolloutStatus.unwound, RolloutStatus.stuck}),
    RolloutStatus.stuck: frozenset({RolloutStatus.unwound, RolloutStatus.stuck}),
}

#: the schema's partial unique index names the same four
OPEN_STATUSES = frozenset(
    {RolloutStatus.running, RolloutStatus.paused, RolloutStatus.unwinding, RolloutStatus.committed}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a rollout failed. code: one of errors.FAILURES; operation: the step's name."""

    code: str
    message: str
    operation: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt to take a deployment to a release."""

    id: str
    deployment: str
    #: 1, 2, 3 … within the deployment
    number: int
    kind: RolloutKind
    version: str
    previous_version: str | None
    strategy: StrategyName
    status: RolloutStatus
    spec: Spec
    requested_by: str
    started_at: float
    ended_at: float | None = None
    message: str = ""
    failure: Failure | None = None
    #: an abort was asked for; its reason
    abort_requested: str | None = None
    #: why what stood against it was passed over; None: nothing was
    override: str | None = None
    #: who else had to agree, and did
    approved_by: str | None = None
    #: of one that is queued
    waiting_for: WaitingFor | None = None
