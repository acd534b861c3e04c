"""What a receiver can be told, and which moves of a rollout that is."""

from __future__ import annotations

from collections.abc import Callable

from longshore.model import Rollout, RolloutKind, RolloutStatus

# To add an event: a line here with what a rollout has to be like, and a row in docs/guide/webhooks.md. The first that
# fits a move is the one that is told.
EVENTS: dict[str, Callable[[Rollout], bool]] = {
    "rollout.started": lambda rollout: rollout.status is RolloutStatus.running,
    "rollout.paused": lambda rollout: rollout.status is RolloutStatus.paused,
    "rollout.waiting": lambda rollout: rollout.status is RolloutStatus.queued,
    "rollout.cancelled": lambda rollout: rollout.status is RolloutStatus.cancelled,
    "rollout.rolled_back": lambda rollout: (
        rollout.status is RolloutStatus.succeeded and rollout.kind is RolloutKind.rollback
    ),
    "rollout.succeeded": lambda rollout: rollout.status is RolloutStatus.succeeded,
    "rollout.failed": lambda rollout: rollout.status.is_failed,
}


def event_of(rollout: Rollout) -> str | None:
    """What is told of a rollout that has just become as it is; None: nothing."""
    return next((event for event, fits in EVENTS.items() if fits(rollout)), None)
