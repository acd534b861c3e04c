"""The canary's judge, as tables."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from longshore.model import Analysis
from longshore.rollout.analysis import Verdict, Window, judge, quantile, window
from longshore.routers.base import Figures

BEFORE = Figures("e1", 100, 1, 5, 2, 1, {10.0: 90, 100.0: 10, inf: 0})


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ({}, 0.95, None),
        ({10.0: 0}, 0.95, None),
        ({10.0: 100}, 0.95, 0.01),
        ({10.0: 95, 100.0: 5}, 0.95, 0.01),
        ({10.0: 94, 100.0: 6}, 0.95, 0.1),
        ({100.0: 6, 10.0: 94}, 0.95, 0.1),
        ({10.0: 1, inf: 1}, 0.95, inf),
        ({10.0: 1, 100.0: 1}, 0.5, 0.01),
        ({0.5: 1, 1.0: 0}, 1.0, 0.0005),
    ],
)
def test_a_quantile_is_the_upper_bound_of_its_bucket_in_seconds(
    buckets: dict[float, int], q: float, expected: float | None
) -> None:
    assert quantile(buckets, q) == expected


def test_a_window_is_the_difference_of_two_readings() -> None:
    after = Figures("e1", 300, 4, 9, 2, 1, {10.0: 90, 100.0: 210, inf: 0})
    assert window(BEFORE, after) == Window(200, 3, 0.1)


@pytest.mark.parametrize(("retries", "connects", "hidden"), [(7, 1, 5), (2, 5, 4), (5, 5, 4), (2, 1, 0)])
def test_what_a_retry_hid_from_the_client_counts_once(retries: int, connects: int, hidden: int) -> None:
    found = window(BEFORE, replace(BEFORE, retries=retries, connect_failures=connects))
    assert found is not None
    assert found.failures == hidden


@pytest.mark.parametrize(
    "after",
    [
        None,
        replace(BEFORE, epoch="e2"),
        replace(BEFORE, requests=99),
        replace(BEFORE, latency_ms={10.0: 89, 100.0: 11, inf: 0}),
    ],
    ids=["nothing", "another-epoch", "fewer-requests", "fewer-in-a-bucket"],
)
def test_counters_that_began_anew_make_no_window(after: Figures | None) -> None:
    assert window(BEFORE, after) is None
    assert window(None, BEFORE) is None


def test_a_window_without_requests_has_no_errors() -> None:
    found = window(BEFORE, BEFORE)
    assert found == Window(0, 0, None)
    assert found.error_rate == 0.0


LIMITS = Analysis(min_requests=50, max_error_rate_increase=1.0, max_latency_ratio=1.5, min_latency_increase=0.05)
PASSED, FAILED, OPEN = Verdict.passed, Verdict.failed, Verdict.inconclusive


@pytest.mark.parametrize(
    ("stable", "candidate", "verdict"),
    [
        (None, Window(100, 0, 0.01), OPEN),
        (Window(100, 0, 0.01), None, OPEN),
        (Window(1000, 0, 0.01), Window(100, 0, 0.01), PASSED),
        # error rates: at most one point above the stable version's
        (Window(1000, 0, 0.01), Window(100, 1, 0.01), PASSED),
        (Window(1000, 0, 0.01), Window(100, 2, 0.01), FAILED),
        (Window(1000, 50, 0.01), Window(100, 6, 0.01), PASSED),
        (Window(1000, 50, 0.01), Window(100, 7, 0.01), FAILED),
        (Window(1000, 1000, 0.01), Window(100, 100, 0.01), PASSED),
        # latency: 1.5 times, and never held against it below 50 ms of difference
        (Window(1000, 0, 0.1), Window(100, 0, 0.15), PASSED),
        (Window(1000, 0, 0.1), Window(100, 0, 0.25), FAILED),
        (Window(1000, 0, 0.001), Window(100, 0, 0.05), PASSED),
        (Window(1000, 0, 0.001), Window(100, 0, 0.1), FAILED),
        (Window(1000, 0, 0.1), Window(100, 0, inf), FAILED),
        (Window(1000, 0, inf), Window(100, 0, inf), PASSED),
        (Window(1000, 0, None), Window(100, 0, 9.0), PASSED),
        # too few requests on either side say nothing …
        (Window(1000, 0, 0.01), Window(49, 0, 9.0), OPEN),
        (Window(49, 0, 0.01), Window(1000, 510, 0.01), FAILED),
        (Window(0, 0, None), Window(0, 0, None), OPEN),
        # … except where most of them fail
        (Window(1000, 0, 0.01), Window(6, 5, 0.01), FAILED),
        (Window(1000, 0, 0.01), Window(4, 4, 0.01), OPEN),
        (Window(1000, 600, 0.01), Window(10, 10, 0.01), OPEN),
        (Window(1000, 0, 0.01), Window(30, 10, 0.01), OPEN),
    ],
)
def test_the_judge(stable: Window | None, candidate: Window | None, verdict: Verdict) -> None:
    judgement = judge(stable, candidate, LIMITS)
    assert judgement.verdict is verdict, judgement.reason


def test_a_judgement_says_the_numbers_it_rests_on() -> None:
    reason = judge(Window(1000, 10, 0.1), Window(100, 50, inf), LIMITS).reason
    assert "candidate 100 requests, 50.0 % failed, p95 over 30 s" in reason
    assert "stable 1000 requests, 1.0 % failed, p95 ≤ 100 ms" in reason


@pytest.mark.parametrize("failures", range(11))
def test_more_failures_never_make_a_candidate_look_better(failures: int) -> None:
    stable, worse = Window(1000, 5, 0.01), {PASSED: 0, OPEN: 0, FAILED: 1}
    first = judge(stable, Window(100, failures, 0.01), LIMITS).verdict
    second = judge(stable, Window(100, failures + 1, 0.01), LIMITS).verdict
    assert worse[second] >= worse[first]
