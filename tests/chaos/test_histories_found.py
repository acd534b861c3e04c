"""Histories that once went wrong, each with its disturbance at every moment it can have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from longshore.model import RolloutKind, RolloutStatus
from longshore.rollout.terms import Terms
from support.history import History

pytestmark = [
    pytest.mark.usefixtures("simulated"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def history() -> Iterator[History]:
    found = History()
    try:
        yield found
    finally:
        found.teardown()


def at_every_moment(happens: Callable[[History, int], object], last: int, step: int = 1) -> None:
    for at in range(1, last, step):
        with history() as it:
            happens(it, at)
            it.all_is_as_it_must()


def test_an_undo_that_a_killed_manager_had_begun_for_an_earlier_rollout_does_not_stay_open() -> None:
    def happens(it: History, at: int) -> None:
        it.begin(1, "blue-green")
        it.deploy("good-1", "blue-green", 1, False, True, "refuse", 1)
        it.restart("kill", at)

    at_every_moment(happens, 40)


def test_the_monitor_does_not_turn_in_circles_over_a_rollout_that_no_task_is_at() -> None:
    with history() as it:
        it.begin(2, "rolling")
        release = it.lab.store.release("shop", "good-1")
        assert release is not None
        it.lab.runner.open(release.spec, RolloutKind.restart, Terms("test"))
        it.crash(0)
        it.let_be(100.0)
        assert it.open() is None, "the tidying has taken it up"
        it.all_is_as_it_must()


def test_a_first_deploy_that_is_held_promises_nothing_when_what_it_has_started_ends() -> None:
    with history() as it:
        it.begin(1, "rolling")
        it.deploy("good-slow", "blue-green", 3, False, False, "sicken", 162, name="base")
        for slot in range(4):
            it.instances_end(slot, also=False)
            it.all_is_as_it_must()


def test_a_recreate_that_is_aborted_while_what_serves_is_sick_gives_the_traffic_back_to_it() -> None:
    """A sick release is just when somebody deploys another one: the undo waited for its health, and got stuck."""

    def happens(it: History, at: int) -> None:
        it.begin(1, "rolling")
        it.deploy("falls-sick", "rolling", 2, False, True, "none", 1)
        it.let_be(100.0)
        it.deploy("good-1", "recreate", 2, False, True, "abort", at)
        last = it.lab.store.last_rollout_of("shop")
        assert last is not None
        assert last.status in (RolloutStatus.unwound, RolloutStatus.succeeded), last.message

    at_every_moment(happens, 70, step=2)
