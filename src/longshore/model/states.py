"""State and health, derived from facts and never stored."""

from __future__ import annotations

from enum import StrEnum

from longshore.model.rollout import Rollout, RolloutKind, RolloutStatus


class State(StrEnum):
    unknown = "unknown"
    deploying = "deploying"
    healthy = "healthy"
    unhealthy = "unhealthy"
    failed = "failed"
    rolling_back = "rolling_back"


class Health(StrEnum):
    unknown = "unknown"
    healthy = "healthy"
    unhealthy = "unhealthy"
    degraded = "degraded"


def derive_health(*, desired: int, ready: int, known: bool = True) -> Health:
    """Health of what is committed: all instances ready, some, none; unknown where they cannot be asked.

    desired   instances wanted; 0 is a release of files only, whose one check counts as one (`ready` 0 or 1 of 1)
    """
    if not known:
        return Health.unknown
    if ready >= desired:
        return Health.healthy
    return Health.degraded if ready > 0 else Health.unhealthy


def derive_state(
    *, open_rollout: Rollout | None, last_rollout: Rollout | None, current_version: str | None, health: Health
) -> State:
    """The one answer to "what state is it in", from facts alone.

    A rollout in progress decides; then a last rollout that failed and was not unwound, or nothing that ever served
    (unknown where that was not even tried: its first deploy waits); then the health of what is committed. An unwound
    failure leaves the old version serving, so it does not show here.
    """
    if open_rollout is not None:
        going_back = open_rollout.kind is RolloutKind.rollback or open_rollout.status is RolloutStatus.unwinding
        return State.rolling_back if going_back else State.deploying
    if current_version is None:
        return State.failed if last_rollout is not None else State.unknown
    if last_rollout is not None and last_rollout.status in (RolloutStatus.held, RolloutStatus.stuck):
        return State.failed
    match health:
        case Health.unknown:
            return State.unknown
        case Health.healthy | Health.degraded:
            return State.healthy
        case Health.unhealthy:
            return State.unhealthy
