"""The canary's judge: what it counts, what proves something to it, and how often it is wrong."""

from __future__ import annotations

import importlib
import random
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.model import Analysis, Verdict
from longshore.rollout.analysis.evidence import Counts, Evidence
from longshore.rollout.analysis.judge import CHARGES, Comparison, Judgement, allowed_ms
from longshore.rollout.analysis.window import Window, quantile, slower, window
from longshore.routers.base import Figures
from longshore.routers.envoy.resources import LATENCY_BUCKETS_MS
from support.documents import ROOT

BEFORE = Figures("e1", 100, 1, 5, 2, 1, {10.0: 90, 100.0: 10, inf: 0}, 3)
PASSED, FAILED, OPEN = Verdict.passed, Verdict.failed, Verdict.inconclusive


# ------------------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ({}, 0.95, None),
        ({10.0: 0}, 0.95, None),
        ({10.0: 100}, 0.95, 10.0),
        ({10.0: 95, 100.0: 5}, 0.95, 10.0),
        ({10.0: 94, 100.0: 6}, 0.95, 100.0),
        ({100.0: 6, 10.0: 94}, 0.95, 100.0),
        ({10.0: 1, inf: 1}, 0.95, inf),
        ({10.0: 1, 100.0: 1}, 0.5, 10.0),
        ({0.5: 1, 1.0: 0}, 1.0, 0.5),
    ],
)
def test_a_quantile_is_the_upper_bound_of_its_bucket(
    buckets: dict[float, int], q: float, expected: float | None
) -> None:
    assert quantile(buckets, q) == expected


def test_slower_than_a_bound_is_what_lies_in_the_buckets_above_it() -> None:
    assert [slower({10.0: 4, 20.0: 2, inf: 1}, bound) for bound in (0.0, 10.0, 20.0, inf)] == [7, 3, 1, 0]


def test_a_window_is_the_difference_of_two_readings() -> None:
    after = Figures("e1", 300, 4, 9, 2, 1, {10.0: 90, 100.0: 210, inf: 0}, 13)
    assert window(BEFORE, after) == Window(200, 3, 4, 10, 0, {10.0: 0, 100.0: 200, inf: 0})


@pytest.mark.parametrize(("retries", "connects", "hidden"), [(7, 1, 5), (2, 5, 4), (5, 5, 4), (2, 1, 0)])
def test_what_a_retry_hid_from_the_client_counts_once(retries: int, connects: int, hidden: int) -> None:
    found = window(BEFORE, replace(BEFORE, retries=retries, connect_failures=connects))
    assert found is not None
    assert (found.failures, found.tries) == (hidden, hidden)


@pytest.mark.parametrize(
    ("taken_over", "expected"),
    [
        (60, Window(40, 2, 0, 3, 60)),
        (99, Window(1, 1, 0, 1, 99)),
        (103, Window(0, 0, 0, 0, 103)),
    ],
)
def test_what_the_other_pool_answered_is_a_failure_that_was_hidden_and_no_answer(
    taken_over: int, expected: Window
) -> None:
    after = replace(BEFORE, requests=BEFORE.requests + 100, errors_5xx=BEFORE.errors_5xx + 2)
    after = replace(after, answers_3xx=after.answers_3xx + 3, retries=after.retries + 20, taken_over=taken_over)
    found = window(BEFORE, after)
    assert found is not None
    assert replace(found, latency_ms={}) == expected
    assert found.failures <= found.tries


@pytest.mark.parametrize(
    "after",
    [
        None,
        replace(BEFORE, epoch="e2"),
        replace(BEFORE, requests=99),
        replace(BEFORE, errors_5xx=0),
        replace(BEFORE, latency_ms={10.0: 89, 100.0: 11, inf: 0}),
    ],
    ids=["nothing", "another-epoch", "fewer-requests", "fewer-errors", "fewer-in-a-bucket"],
)
def test_counters_that_began_anew_make_no_window(after: Figures | None) -> None:
    assert window(BEFORE, after) is None
    assert window(None, BEFORE) is None


def test_a_bound_allowed_at_the_default_ratio_is_at_most_the_next_but_one() -> None:
    bounds = [float(bound) for bound in LATENCY_BUCKETS_MS[:-1]]
    for bound, _, second in zip(bounds[7:], bounds[8:], bounds[9:], strict=False):
        assert bound * Analysis().max_latency_ratio <= second


# ------------------------------------------------------------------------------------------------- the evidence


@given(
    st.floats(0.0, 0.9),
    st.integers(1, 4),
    st.integers(1, 4),
    st.floats(0.0, 0.3),
    st.lists(st.tuples(st.integers(0, 3), st.integers(3, 9)), max_size=3),
)
def test_no_block_makes_evidence_grow_on_average_against_a_candidate_at_its_limit(
    rate: float, ours: int, theirs: int, margin: float, past: list[tuple[int, int]]
) -> None:
    """The expectation over every outcome of a block, exactly: what the bound on false alarms rests on."""
    evidence = Evidence(margin)
    for hits, trials in past:
        evidence = evidence.after(Counts(hits, trials), Counts(hits, trials))
    expected = 0.0
    for a in range(ours + 1):
        for b in range(theirs + 1):
            chance = _binomial(ours, a, min(1.0, rate + margin)) * _binomial(theirs, b, rate)
            expected += chance * evidence.after(Counts(a, ours), Counts(b, theirs)).e_value
    assert expected <= evidence.e_value * (1 + 1e-9)


def _binomial(trials: int, hits: int, share: float) -> float:
    ways = 1
    for k in range(hits):
        ways = ways * (trials - k) // (k + 1)
    return float(ways * share**hits * (1 - share) ** (trials - hits))


@given(st.integers(0, 30), st.integers(1, 30), st.integers(0, 30), st.integers(1, 300))
def test_more_hits_never_make_a_candidate_look_better(hits: int, more: int, others: int, trials: int) -> None:
    ours, theirs = hits + more + 10, max(others, trials)
    first = Evidence(0.01).after(Counts(hits, ours), Counts(others, theirs))
    second = Evidence(0.01).after(Counts(hits + more, ours), Counts(others, theirs))
    assert second.e_value >= first.e_value * (1 - 1e-9) or second.e_value < 1.0


def test_a_block_in_which_one_version_was_not_asked_says_nothing() -> None:
    evidence = Evidence().after(Counts(3, 5), Counts(0, 9))
    assert evidence.after(Counts(5, 5), Counts(0, 0)) == evidence
    assert evidence.after(Counts(0, 0), Counts(0, 9)) == evidence


def test_evidence_beyond_all_numbers_is_still_a_number() -> None:
    assert Evidence().after(Counts(10**6, 10**6), Counts(0, 10**6)).e_value < inf


def test_a_margin_of_everything_is_never_passed() -> None:
    assert Evidence(1.0).after(Counts(10**4, 10**4), Counts(0, 10**4)).e_value <= 1.0


# ------------------------------------------------------------------------------------------------- the judge

LIMITS = Analysis(min_requests=50, max_error_rate_increase=1.0, max_latency_ratio=1.5, min_latency_increase=0.05)
EMPTY = Figures("e1", 0, 0, 0, 0, 0, {})


def figures(
    requests: int, failures: int = 0, ms: float = 12.0, *, slow: int = 0, slow_ms: float = 620.0, **more: int
) -> Figures:
    """All requests in the bucket of `ms`, but `slow` of them."""
    latency = dict.fromkeys((*map(float, LATENCY_BUCKETS_MS[:-1]), inf), 0)
    latency[ms] += requests - slow
    latency[slow_ms] += slow
    return replace(EMPTY, requests=requests, errors_5xx=failures, latency_ms=latency, **more)


def judged(stable: Figures, candidate: Figures, limits: Analysis = LIMITS, *, looks: int = 10) -> Judgement:
    """Both reached in as many equal steps, after a past of the stable version that is the same again."""
    past = stable if stable.requests else EMPTY
    comparison = Comparison(limits).look(past, EMPTY)
    for look in range(1, looks + 1):
        comparison = comparison.look(_plus(past, _part(stable, look / looks)), _part(candidate, look / looks))
    return comparison.judgement()


def _part(of: Figures, share: float) -> Figures:
    counts = {
        name: int(getattr(of, name) * share)
        for name in ("requests", "errors_5xx", "errors_4xx", "retries", "connect_failures", "answers_3xx")
    }
    return replace(of, **counts, latency_ms={bound: int(n * share) for bound, n in of.latency_ms.items()})


def _plus(one: Figures, other: Figures) -> Figures:
    counts = {
        name: getattr(one, name) + getattr(other, name)
        for name in ("requests", "errors_5xx", "errors_4xx", "retries", "connect_failures", "answers_3xx")
    }
    latency = {b: one.latency_ms.get(b, 0) + n for b, n in other.latency_ms.items()}
    return replace(one, **counts, latency_ms=latency)


@pytest.mark.parametrize(
    ("stable", "candidate", "verdict"),
    [
        (figures(1000), figures(100), PASSED),
        # failures: at most one point above the stable version's, and never for what chance may do
        (figures(1000), figures(100, 2), PASSED),
        (figures(1000), figures(500, 15), PASSED),
        (figures(1000), figures(500, 40), FAILED),
        (figures(1000, 50), figures(1000, 58), PASSED),
        (figures(1000, 50), figures(1000, 150), FAILED),
        (figures(1000, 1000), figures(100, 100), PASSED),
        (figures(1000), figures(500, retries=40), FAILED),
        (figures(1000), figures(500, connect_failures=40), FAILED),
        (figures(1000), figures(500, 20, retries=20), FAILED),
        # classes of answers: at most five points above
        (figures(1000, errors_4xx=20), figures(500, errors_4xx=30), PASSED),
        (figures(1000, errors_4xx=20), figures(500, errors_4xx=90), FAILED),
        (figures(1000), figures(500, answers_3xx=20), PASSED),
        (figures(1000), figures(500, answers_3xx=500), FAILED),
        # latency: 1.5 times, and never held against it below 50 ms of difference
        (figures(1000, ms=120.0), figures(500, ms=180.0), PASSED),
        (figures(1000, ms=120.0), figures(500, ms=210.0), FAILED),
        (figures(1000, ms=1.0), figures(500, ms=53.0), PASSED),
        (figures(1000, ms=1.0), figures(500, ms=80.0), FAILED),
        (figures(1000, slow=10), figures(500, slow=8), PASSED),
        (figures(1000, slow=10), figures(500, slow=60), FAILED),
        (figures(1000, ms=120.0), figures(500, ms=inf), FAILED),
        (figures(1000, ms=inf), figures(500, ms=inf), PASSED),
        # too few requests on either side say nothing …
        (figures(1000), figures(49), OPEN),
        (figures(49), figures(1000), OPEN),
        (EMPTY, EMPTY, OPEN),
        (figures(1000), figures(30, 1), OPEN),
        (figures(1000, 600), figures(10, 10), OPEN),
        # … except what cannot be chance
        (figures(1000), figures(6, 5), FAILED),
        (figures(1000), figures(0, retries=6), FAILED),
        (figures(49), figures(1000, 510), FAILED),
        (figures(20), figures(20, 20), FAILED),
    ],
)
def test_the_judge(stable: Figures, candidate: Figures, verdict: Verdict) -> None:
    judgement = judged(stable, candidate)
    assert judgement.verdict is verdict, judgement.reason


def test_without_figures_of_both_at_the_same_time_there_is_no_verdict() -> None:
    for looks in ([(None, EMPTY)] * 3, [(EMPTY, None)] * 3, [(EMPTY, EMPTY)]):
        comparison = Comparison(LIMITS)
        for stable, candidate in looks:
            comparison = comparison.look(stable, candidate)
        assert comparison.judgement().verdict is OPEN
        assert "no figures of both" in comparison.judgement().reason


def test_a_router_that_began_anew_costs_one_look_and_not_the_watch() -> None:
    comparison = Comparison(LIMITS).look(EMPTY, EMPTY).look(figures(1000), figures(500, 20))
    again = [replace(each, epoch="e2") for each in (EMPTY, figures(1000), figures(500, 20))]
    comparison = comparison.look(again[0], again[0]).look(again[1], again[2])
    judgement = comparison.judgement()
    assert judgement.verdict is FAILED
    assert "candidate 1000 requests" in judgement.reason


def test_requests_that_came_to_one_side_only_wait_for_those_of_the_other() -> None:
    comparison = Comparison(LIMITS).look(EMPTY, EMPTY).look(figures(80), EMPTY)
    assert "stable 80 requests" in comparison.judgement().reason
    assert comparison.judgement().verdict is OPEN
    comparison = comparison.look(figures(100), figures(60))
    assert comparison.judgement().verdict is PASSED
    assert "stable 100 requests" in comparison.judgement().reason


def test_a_judgement_says_the_numbers_it_rests_on() -> None:
    reason = judged(figures(1000, 10, errors_4xx=30), figures(100, 40, inf, retries=0, answers_3xx=20)).reason
    assert "fails more often than allowed and answers 3xx more often than allowed and has a higher p50" in reason
    assert (
        "candidate 100 requests, 40.0 % failed (5xx 40.0 %, hidden from clients 0.0 %), 4xx 0.0 %, 3xx 20.0 %" in reason
    )
    assert "p50/p95/p99 ≤ ∞/∞/∞ ms; stable 1000 requests, 1.0 % failed" in reason


def test_of_a_version_that_was_asked_nothing_only_that_is_said() -> None:
    reason = Comparison(LIMITS).look(EMPTY, EMPTY).look(figures(100, 0), EMPTY).judgement().reason
    assert "candidate 0 requests; stable" in reason


def test_the_more_watches_and_the_lower_the_rate_the_more_evidence_is_enough() -> None:
    assert Comparison(LIMITS).enough == pytest.approx(len(CHARGES) / 0.05)
    assert Comparison(LIMITS, 4).enough == pytest.approx(4 * len(CHARGES) / 0.05)
    assert Comparison(replace(LIMITS, false_alarm_rate=0.01)).enough == pytest.approx(len(CHARGES) / 0.01)


@pytest.mark.parametrize(("failures", "verdict"), [(0, PASSED), (40, PASSED), (80, FAILED)])
def test_alone_with_all_requests_a_candidate_fails_where_most_fail(failures: int, verdict: Verdict) -> None:
    comparison = Comparison(LIMITS, alone=True).look(EMPTY, EMPTY)
    assert comparison.judgement().verdict is PASSED
    assert comparison.look(EMPTY, figures(100, failures)).judgement().verdict is verdict


def test_what_is_allowed_is_the_larger_of_ratio_and_increase() -> None:
    assert [allowed_ms(ms, LIMITS) for ms in (1.0, 100.0, 200.0, inf)] == [51.0, 150.0, 300.0, inf]


# ------------------------------------------------------------------------------------------ how often it is wrong


@pytest.fixture(scope="module")
def simulation() -> Any:
    """benchmarks/canary_analysis.py, which draws whole canaries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        return importlib.import_module("canary_analysis")


@pytest.mark.slow
def test_of_ten_thousand_canaries_at_every_limit_at_once_no_more_are_failed_than_is_stated(simulation: Any) -> None:
    failed = simulation.alarms(simulation.AT_THE_LIMITS, 10_000, (25,), 100)
    assert failed <= Analysis().false_alarm_rate * 10_000


@pytest.mark.parametrize(
    ("worse", "least"),
    [({"errors_5xx": 0.1}, 0.9), ({"hidden": 0.1}, 0.9), ({"errors_4xx": 0.25}, 0.9), ({"median_ms": 230.0}, 0.9)],
    ids=["errors", "hidden", "4xx", "latency"],
)
def test_of_canaries_that_are_worse_most_are_caught_at_a_thousand_requests(
    simulation: Any, worse: dict[str, float], least: float
) -> None:
    version = replace(simulation.HEALTHY, **worse)
    assert simulation.alarms(version, 60, (25,), 1000) >= least * 60


def test_a_candidate_at_its_limit_is_rarely_failed_by_one_charge_however_often_one_looks() -> None:
    """One charge, with all of the rate to itself: the bound is not only kept because nothing is ever proved."""
    rnd, rate, failed = random.Random(7), 0.05, 0
    for _ in range(1000):
        evidence = Evidence(0.01)
        for _ in range(100):
            ours, theirs = sum(rnd.random() < 0.11 for _ in range(4)), sum(rnd.random() < 0.10 for _ in range(4))
            evidence = evidence.after(Counts(ours, 4), Counts(theirs, 4))
            if evidence.e_value >= 1 / rate:
                failed += 1
                break
    assert 0 < failed <= rate * 1000
