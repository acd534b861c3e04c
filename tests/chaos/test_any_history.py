"""Histories that Hypothesis makes up, and shortens where they fail (support/history.py says what happens in them).

Many more of them: LONGSHORE_HISTORIES=2000 make chaos.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from support.history import History

#: each is some 25 things that happen, and takes some 0.25 s
HISTORIES = int(os.environ.get("LONGSHORE_HISTORIES", "120"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("simulated")
def test_whatever_happens_it_comes_to_rest_in_one_known_state() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        History,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=25,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
