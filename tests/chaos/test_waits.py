"""What of a recovery is a wait for others, and what its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from longshore.client.results import Rollout, Step
from support.waits import Patience, waited

READY = datetime(2026, 1, 1, tzinfo=UTC)
PATIENCE = Patience(request_s=0.8, start_s=1.5, end_s=0.5)


def step(name: str, begin: float, end: float, *, undo: bool = False) -> Step:
    times = {"start_time": READY + timedelta(seconds=begin), "end_time": READY + timedelta(seconds=end)}
    return Step(name=name, status="completed", undo=undo, **times)


@pytest.mark.parametrize(
    ("one", "seconds"),
    [
        (step("drain", 0.1, 0.6), 0.5),
        (step("start_instances", 0.0, 1.2, undo=True), 1.2),
        (step("stop_instances", 0.0, 1.2, undo=True), 1.2),
        (step("retire", 0.0, 0.3), 0.3),
        (step("shift_traffic", 0.0, 3.0, undo=True), 0.0),  # the manager's own, and the router's
        (step("start_instances", 0.0, 3.0), 0.0),  # making a process is the manager's own
        (step("drain", 0.0, 9.0), 0.8),  # nobody's request takes that long: the rest is its own slowness
        (step("drain", -0.3, 0.2), 0.2),  # what was before is not counted
        (step("drain", -3.0, -2.0), 0.0),
    ],
    ids=lambda value: f"{value.name}-{value.undo}" if isinstance(value, Step) else None,
)
def test_a_step_counts_as_a_wait_for_no_longer_than_what_it_waits_for_can_take(one: Step, seconds: float) -> None:
    rollout = Rollout(version="1", start_time=READY, steps=(one,))
    assert waited(rollout, READY, PATIENCE) == pytest.approx(seconds)
