"""Which moves of a rollout are told, and as what."""

from __future__ import annotations

import pytest

from longshore.model import RolloutKind, RolloutStatus
from longshore.webhooks.events import EVENTS, event_of
from longshore.webhooks.formats import MARKS
from support.makers import make_rollout

S = RolloutStatus


@pytest.mark.parametrize(
    ("before", "now", "event"),
    [
        (None, S.queued, "rollout.waiting"),
        (S.queued, S.cancelled, "rollout.cancelled"),
        (None, S.running, "rollout.started"),
        (S.running, S.paused, "rollout.paused"),
        (S.paused, S.running, "rollout.resumed"),
        (S.running, S.committed, None),
        (S.committed, S.succeeded, "rollout.succeeded"),
        (S.running, S.unwinding, None),
        (S.unwinding, S.unwound, "rollout.failed"),
        (S.unwinding, S.stuck, "rollout.failed"),
        (S.running, S.held, "rollout.failed"),
        (S.held, S.unwound, None),
        (S.held, S.stuck, None),
        (S.stuck, S.unwound, None),
    ],
)
def test_each_move_is_told_as_what_it_is(before: S | None, now: S, event: str | None) -> None:
    assert event_of(make_rollout(status=now), before) == event


def test_a_rollback_that_is_done_is_told_as_that() -> None:
    done = make_rollout(kind=RolloutKind.rollback, status=S.succeeded)
    assert event_of(done, S.committed) == "rollout.rolled_back"


def test_every_event_has_a_mark() -> None:
    assert MARKS.keys() == EVENTS.keys()
