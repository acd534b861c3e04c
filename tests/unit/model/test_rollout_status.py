"""Which status of a rollout may follow which."""

from __future__ import annotations

from longshore.model import OPEN_STATUSES, TRANSITIONS, RolloutStatus


def test_every_status_has_its_transitions_and_only_ends_have_none() -> None:
    assert set(TRANSITIONS) == set(RolloutStatus) - {RolloutStatus.queued, RolloutStatus.cancelled}
    assert {s for s, following in TRANSITIONS.items() if not following} == {
        RolloutStatus.succeeded,
        RolloutStatus.unwound,
    }


def test_nothing_leads_back_from_past_the_commit() -> None:
    reached, queue = set[RolloutStatus](), [RolloutStatus.committed]
    while queue:
        status = queue.pop()
        reached.add(status)
        queue += TRANSITIONS[status] - reached
    assert reached == {RolloutStatus.committed, RolloutStatus.succeeded}


def test_nothing_that_is_over_becomes_open_again() -> None:
    for status, following in TRANSITIONS.items():
        if status not in OPEN_STATUSES:
            assert not following & OPEN_STATUSES


def test_an_open_rollout_has_not_failed() -> None:
    assert not any(status.is_open and status.is_failed for status in RolloutStatus)
    assert {s for s in RolloutStatus if s.is_over and not s.is_failed} == {RolloutStatus.succeeded}


def test_what_is_queued_is_neither_open_nor_over() -> None:
    assert {s for s in RolloutStatus if not s.is_open and not s.is_over} == {RolloutStatus.queued}
