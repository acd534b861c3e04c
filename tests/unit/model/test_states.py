"""State and health follow from facts."""

from __future__ import annotations

import pytest

from longshore.model import Health, Rollout, RolloutKind, RolloutStatus, State, derive_health, derive_state
from support.makers import make_rollout


@pytest.mark.parametrize(
    ("desired", "ready", "health"),
    [
        (3, 3, Health.healthy),
        (3, 4, Health.healthy),
        (3, 2, Health.degraded),
        (3, 1, Health.degraded),
        (3, 0, Health.unhealthy),
        (1, 0, Health.unhealthy),
        (0, 0, Health.healthy),
    ],
)
def test_health_is_all_ready_some_or_none(desired: int, ready: int, health: Health) -> None:
    assert derive_health(desired=desired, ready=ready) is health


def test_health_is_unknown_where_nobody_can_be_asked() -> None:
    assert derive_health(desired=3, ready=3, known=False) is Health.unknown


RUNNING = make_rollout(status=RolloutStatus.running)
HELD = make_rollout(status=RolloutStatus.held)


@pytest.mark.parametrize(
    ("open_rollout", "last", "current", "health", "state"),
    [
        (RUNNING, RUNNING, None, Health.unknown, State.deploying),
        (RUNNING, RUNNING, "1.0", Health.healthy, State.deploying),
        (make_rollout(status=RolloutStatus.paused), None, "1.0", Health.healthy, State.deploying),
        (make_rollout(status=RolloutStatus.committed), None, "1.0", Health.healthy, State.deploying),
        (make_rollout(status=RolloutStatus.unwinding), None, "1.0", Health.healthy, State.rolling_back),
        (make_rollout(kind=RolloutKind.rollback), None, "1.0", Health.healthy, State.rolling_back),
        (None, None, None, Health.unknown, State.unknown),
        (None, make_rollout(status=RolloutStatus.unwound), None, Health.unknown, State.failed),
        (None, make_rollout(status=RolloutStatus.unwound), "1.0", Health.healthy, State.healthy),
        (None, HELD, "1.0", Health.healthy, State.failed),
        (None, make_rollout(status=RolloutStatus.stuck), "1.0", Health.healthy, State.failed),
        (None, make_rollout(status=RolloutStatus.succeeded), "1.0", Health.healthy, State.healthy),
        (None, None, "1.0", Health.degraded, State.healthy),
        (None, None, "1.0", Health.unhealthy, State.unhealthy),
        (None, None, "1.0", Health.unknown, State.unknown),
    ],
)
def test_state_follows_from_facts(
    open_rollout: Rollout | None, last: Rollout | None, current: str | None, health: Health, state: State
) -> None:
    found = derive_state(open_rollout=open_rollout, last_rollout=last, current_version=current, health=health)
    assert found is state
