"""Histories that Hypothesis makes up, on real processes under load (support/real_history.py says what happens in them).

For longer: LONGSHORE_CHAOS_MINUTES=30 make chaos. The seed is printed; `CHAOS_SEED=n` makes up the same histories,
though not the same moments of a machine that is never equally fast.
"""

from __future__ import annotations

import os
import secrets
import time
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from support.envoy import needs_envoy
from support.ground import open_ground
from support.real_history import RealHistory

#: without LONGSHORE_CHAOS_MINUTES: some twelve steps
SECONDS = 60 * float(os.environ.get("LONGSHORE_CHAOS_MINUTES", "0.75"))
STEPS = 8


@needs_envoy
@pytest.mark.slow
def test_whatever_happens_to_real_processes_nothing_is_lost_and_nothing_is_left(tmp_path: Path) -> None:
    first = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    with open_ground(tmp_path, SECONDS) as ground:
        RealHistory.ground = ground
        for number in count(first):
            if time.monotonic() > ground.end:
                break
            print(f"CHAOS_SEED={number}", flush=True)
            ground.dull = True
            try:
                tell(number)
            except BaseException as error:
                # What Hypothesis says of it is that it did not happen twice.
                raise (ground.failure or error) from None
        print(
            f"{ground.steps} steps, {ground.requests} requests; what takes them was looked at {ground.looks} times; "
            f"in flight in what was killed: {dict(ground.in_flight)}"
        )


@needs_envoy
@pytest.mark.slow
def test_an_instance_that_is_killed_again_and_again_is_promised_again_once_it_takes_requests(tmp_path: Path) -> None:
    """Found by the histories: ready again is not yet asked again, and for that moment nothing may be promised."""
    with open_ground(tmp_path, SECONDS) as ground:
        RealHistory.ground = ground
        it = RealHistory()
        try:
            it.deploy("shop", "good", "rolling", 2, 0, "none", 0.0)
            it.holds()
            for slot in (0, 0, 1):
                it.instances_die(slot, "nothing")
                it.holds()
            it.manager_goes("killed")
            it.holds()
        finally:
            it.teardown()


def tell(number: int) -> None:
    """A few histories. Nothing is shortened: real processes do not do the same thing twice."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        seed(number)(RealHistory),
        settings=settings(
            max_examples=3,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
