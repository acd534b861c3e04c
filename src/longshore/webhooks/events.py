"""What a receiver can be told, and which moves of a rollout that is."""

from __future__ import annotations

from collections.abc import Callable

from longshore.model import Rollout, RolloutKind, RolloutStatus

#: how the rollout is now, and the status that it had before; None: it has just begun, or begun to wait
Fits = Callable[[Rollout, RolloutStatus | None], bool]

#: what `…/test` sends; nobody has to ask for it
TEST = "test"


def _over(before: RolloutStatus | None) -> bool:
    """Its end was told already: what a rollout that is held or stuck has left, is undone with the next one."""
    return before is not None and before.is_over


# To add an event: a line here, a mark in formats.py, a row in docs/guide/webhooks.md. The first line that fits a move
# is the one that is told.
EVENTS: dict[str, Fits] = {
    "rollout.waiting": lambda now, before: now.status is RolloutStatus.queued,
    "rollout.cancelled": lambda now, before: now.status is RolloutStatus.cancelled,
    "rollout.started": lambda now, before: now.status is RolloutStatus.running and before is None,
    "rollout.paused": lambda now, before: now.status is RolloutStatus.paused,
    "rollout.resumed": lambda now, before: now.status is RolloutStatus.running and before is RolloutStatus.paused,
    "rollout.rolled_back": lambda now, before: (
        now.status is RolloutStatus.succeeded and now.kind is RolloutKind.rollback
    ),
    "rollout.succeeded": lambda now, before: now.status is RolloutStatus.succeeded,
    "rollout.failed": lambda now, before: now.status.is_failed and not _over(before),
}


def event_of(rollout: Rollout, before: RolloutStatus | None) -> str | None:
    """What is told of a rollout that has just become as it is; None: nothing."""
    return next((event for event, fits in EVENTS.items() if fits(rollout, before)), None)
