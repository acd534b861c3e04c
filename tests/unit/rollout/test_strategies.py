"""Strategies as tables, and every plan of every size carried out on paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longshore.errors import SpecInvalid
from longshore.model import BlueGreen, Canary, CanaryStep, Pool, Recreate, Rolling, RolloutKind, Routing, Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.instances import KeepWarm, RetireInstances, StartInstances
from longshore.rollout.steps.release import Commit
from longshore.rollout.steps.traffic import ShiftTraffic, summary
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.strategies.rolling import Bounds, bounds
from support.makers import PORT, URL, make_instances, make_spec, make_view
from support.simulation import carry_out


def plan(view: View, spec: Spec) -> list[Step]:
    steps: list[Step] = STRATEGIES[spec.strategy].plan(view, spec)
    return steps


def told(steps: list[Step]) -> list[str]:
    """Each step in a word, and the routing each shift leads to."""
    words = []
    for step in steps:
        match step:
            case StartInstances():
                words.append("start " + ",".join(id.rpartition("-")[2] for id, _ in step.instances))
            case ShiftTraffic():
                words.append(f"{step.name}: {summary(step.after)}")
            case _:
                words.append(step.name)
    return words


UPGRADES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "recreate": (
        {"replicas": 2},
        [
            "hold_requests: requests wait up to 30s",
            "verify_traffic",
            "drain",
            "stop_instances",
            "start 0,1",
            "await_ready",
            "shift_traffic: 100 % to 2.0",
            "verify_traffic",
            "commit",
            "retire",
        ],
    ),
    "rolling": (
        {"replicas": 2, "rolling": Rolling(1, 0)},
        [
            "start 0",
            "await_ready",
            "shift_traffic: 50 % to 1.0, 50 % to 2.0",
            "verify_traffic",
            "drain",
            "stop_instances",
            "start 1",
            "await_ready",
            "shift_traffic: 100 % to 2.0",
            "verify_traffic",
            "drain",
            "stop_instances",
            "commit",
            "retire",
        ],
    ),
    "blue-green": (
        {"replicas": 2},
        [
            "start 0,1",
            "await_ready",
            "shift_traffic: 100 % to 2.0",
            "verify_traffic",
            "commit",
            "promote: 100 % to 2.0",
            "verify_traffic",
            "keep_warm",
        ],
    ),
    "canary": (
        {"replicas": 2, "canary": Canary((CanaryStep(10), CanaryStep(60), CanaryStep(100)))},
        [
            "start 0",
            "await_ready",
            "shift_traffic: 90 % to 1.0, 10 % to 2.0",
            "verify_traffic",
            "watch_canary_10",
            "start 1",
            "await_ready",
            "shift_traffic: 40 % to 1.0, 60 % to 2.0",
            "verify_traffic",
            "watch_canary_60",
            "shift_traffic: 100 % to 2.0",
            "verify_traffic",
            "watch_canary_100",
            "commit",
            "promote: 100 % to 2.0",
            "verify_traffic",
            "drain",
            "retire",
        ],
    ),
}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_upgrade_takes_exactly_these_steps(strategy: str) -> None:
    fields, expected = UPGRADES[strategy]
    spec = make_spec(strategy=strategy, health_check_url=URL, **fields)
    assert told(plan(make_view(spec, 2), spec)) == expected


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_first_deploy_starts_routes_and_commits(strategy: str) -> None:
    spec = make_spec(strategy=strategy, health_check_url=URL, replicas=3)
    assert told(plan(make_view(spec, 0), spec)) == [
        "start 0,1,2",
        "await_ready",
        "shift_traffic: 100 % to 2.0",
        "verify_traffic",
        "commit",
    ]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_a_port_nothing_is_ever_routed_or_drained(strategy: str) -> None:
    spec = make_spec(strategy=strategy, replicas=3)
    steps = plan(make_view(spec, 3, was_routed=False), spec)
    assert not {step.kind for step in steps} & {"shift_traffic", "verify_traffic", "drain"}
    carry_out(steps, make_view(spec, 3, was_routed=False))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_port_that_is_taken_away_ends_with_no_traffic(strategy: str) -> None:
    spec = make_spec(strategy=strategy, replicas=2)
    view = make_view(spec, 2)
    steps = plan(view, spec)
    assert carry_out(steps, view).routing is None
    assert any(isinstance(s, ShiftTraffic) and s.after is None for s in steps)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_port_that_comes_new_ends_with_traffic(strategy: str) -> None:
    spec = make_spec(strategy=strategy, replicas=2, health_check_url=URL, rolling=Rolling(0, 1))
    view = make_view(spec, 2, was_routed=False)
    routing = carry_out(plan(view, spec), view).routing
    assert routing is not None
    assert routing.stable is not None
    assert routing.stable.instances == ("shop-2-0", "shop-2-1")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_another_port_ends_with_that_port(strategy: str) -> None:
    spec = make_spec(strategy=strategy, replicas=2, port=9999)
    view = make_view(spec, 2)
    routing = carry_out(plan(view, spec), view).routing
    assert routing is not None
    assert routing.port == 9999


@pytest.mark.parametrize("strategy", ["rolling", "blue-green", "canary"])
def test_a_rollback_replays_no_pause(strategy: str) -> None:
    spec = make_spec(strategy=strategy, replicas=3, health_check_url=URL)
    view = replace(make_view(spec, 3), kind=RolloutKind.rollback)
    steps = plan(view, spec)
    assert not any(step.kind == "watch_canary" for step in steps)
    carry_out(steps, view)


def test_a_rollback_to_what_is_warm_starts_nothing_and_switches_back_at_once() -> None:
    spec = make_spec("1.0", strategy="blue-green", replicas=2, health_check_url=URL)
    blue, green = make_instances(2, version="2.0", number=2), make_instances(2)
    serving = Pool("bbbbbbbb", "2.0", tuple(i.id for i in blue), "/health")
    warm = Pool("aaaaaaaa", "1.0", tuple(i.id for i in green), "/health")
    view = make_view(
        spec,
        0,
        number=3,
        kind=RolloutKind.rollback,
        serving=blue,
        warm=green,
        warm_pool="aaaaaaaa",
        routing=Routing(PORT, serving, warm),
    )
    steps = plan(view, spec)
    assert told(steps) == [
        "await_ready",
        "shift_traffic: 100 % to 1.0",
        "verify_traffic",
        "commit",
        "promote: 100 % to 1.0",
        "verify_traffic",
        "keep_warm",
    ]
    after = carry_out(steps, view)
    assert after.routing == Routing(PORT, warm, serving)


def test_blue_green_without_keep_old_retires_the_old_set() -> None:
    spec = make_spec(strategy="blue-green", health_check_url=URL, blue_green=BlueGreen(0))
    view = make_view(spec, 1)
    steps = plan(view, spec)
    assert [s.kind for s in steps[-2:]] == ["drain", "retire"]
    routing = carry_out(steps, view).routing
    assert routing is not None
    assert routing.candidate is None


def test_blue_green_keeps_the_old_set_known_to_the_router_at_weight_0() -> None:
    spec = make_spec(strategy="blue-green", health_check_url=URL)
    view = make_view(spec, 1)
    after = carry_out(plan(view, spec), view)
    assert after.routing is not None
    assert after.routing.candidate == (view.routing and view.routing.stable)
    assert after.routing.weight == 0
    assert after.warm == {"shop-1-0"}


def test_recreate_never_runs_two_versions_at_once() -> None:
    spec = make_spec(strategy="recreate", replicas=3, health_check_url=URL)
    kinds = [step.kind for step in plan(make_view(spec, 3), spec)]
    assert kinds.index("stop_instances") < kinds.index("start_instances")


def test_recreate_without_hold_answers_503_meanwhile() -> None:
    spec = make_spec(strategy="recreate", health_check_url=URL, recreate=Recreate(hold=0.0))
    assert told(plan(make_view(spec, 1), spec))[0] == "hold_requests: requests get 503"


def test_a_canary_starts_with_one_instance_and_grows_with_its_weight() -> None:
    spec = make_spec(
        strategy="canary",
        replicas=10,
        health_check_url=URL,
        canary=Canary((CanaryStep(5), CanaryStep(25), CanaryStep(50), CanaryStep(100))),
    )
    steps = plan(make_view(spec, 10), spec)
    assert [len(s.instances) for s in steps if isinstance(s, StartInstances)] == [1, 2, 2, 5]


def test_slots_are_numbered_through_however_many_starts_there_are() -> None:
    spec = make_spec(strategy="rolling", replicas=5, health_check_url=URL, rolling=Rolling(2, 0))
    started = [s.instances for s in plan(make_view(spec, 5), spec) if isinstance(s, StartInstances)]
    assert [slot for batch in started for _, slot in batch] == [0, 1, 2, 3, 4]
    assert [id for batch in started for id, _ in batch] == [f"shop-2-{slot}" for slot in range(5)]


# ------------------------------------------------------------------------------------------------------ bounds


@pytest.mark.parametrize(
    ("desired", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", Bounds(13, 8)),
        (10, "25%", 0, Bounds(13, 10)),
        (1, "25%", 0, Bounds(2, 1)),
        (1, 0, 0, Bounds(2, 1)),
        (3, "0%", "10%", Bounds(4, 3)),
        (3, 0, 1, Bounds(3, 2)),
        (3, 0, "100%", Bounds(3, 0)),
        (3, 0, 9, Bounds(3, 0)),
        (4, "100%", "0%", Bounds(8, 4)),
        (1, 0, 1, Bounds(1, 0)),
    ],
)
def test_surge_rounds_up_unavailable_down_and_both_zero_still_moves(
    desired: int, surge: int | str, unavailable: int | str, expected: Bounds
) -> None:
    assert bounds(desired, surge, unavailable) == expected


@pytest.mark.parametrize("bad", [-1, "-1%", "101%", "many", "%", "25", "nan%"])
def test_a_bound_that_is_no_count_and_no_percentage_is_refused(bad: int | str) -> None:
    with pytest.raises(SpecInvalid) as refused:
        bounds(3, bad, 0)
    assert [issue.field for issue in refused.value.issues] == ["rolling.max_surge"]
    with pytest.raises(SpecInvalid) as refused:
        bounds(3, 0, bad)
    assert [issue.field for issue in refused.value.issues] == ["rolling.max_unavailable"]


COUNTS = st.one_of(st.integers(0, 9), st.integers(0, 100).map(lambda percent: f"{percent}%"))


@settings(max_examples=400, deadline=None)
@given(old=st.integers(0, 8), new=st.integers(0, 8), surge=COUNTS, unavailable=COUNTS, routed=st.booleans())
def test_rolling_keeps_its_bounds_at_every_moment(
    old: int, new: int, surge: int | str, unavailable: int | str, routed: bool
) -> None:
    spec = make_spec(
        strategy="rolling", replicas=new, rolling=Rolling(surge, unavailable), health_check_url=URL if routed else ""
    )
    view, limit = make_view(spec, old, was_routed=routed), bounds(new, surge, unavailable)
    paper = carry_out(plan(view, spec), view)
    reached = 0
    for running, serving, _ in paper.seen:
        assert running <= max(limit.most, old)
        # Scaling up, there are fewer than promised at first; what has been reached is never given up again.
        reached = max(reached, serving)
        assert not old or serving >= min(limit.fewest, reached)
    assert paper.seen[-1][:2] == (new, new)


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[View, Spec]:
    weights = sorted(draw(st.sets(st.integers(1, 99), max_size=4)) | {100})
    spec = make_spec(
        strategy=draw(st.sampled_from(sorted(STRATEGIES))),
        replicas=draw(st.integers(1, 8)),
        port=draw(st.sampled_from([None, PORT, 9000])),
        rolling=Rolling(draw(COUNTS), draw(COUNTS)),
        canary=Canary(tuple(CanaryStep(weight) for weight in weights), sticky=draw(st.booleans())),
        blue_green=BlueGreen(draw(st.sampled_from([0.0, 60.0]))),
        recreate=Recreate(draw(st.sampled_from([0.0, 30.0]))),
    )
    view = make_view(spec, draw(st.integers(0, 8)), was_routed=draw(st.booleans()))
    if draw(st.booleans()):
        view = replace(view, kind=RolloutKind.rollback)
    return view, spec


@settings(max_examples=600, deadline=None)
@given(rollouts())
def test_every_plan_ends_with_exactly_the_new_set_and_never_sends_a_request_astray(given: tuple[View, Spec]) -> None:
    view, spec = given
    steps = plan(view, spec)
    paper = carry_out(steps, view)
    new = tuple(f"shop-2-{slot}" for slot in range(spec.replicas))
    assert paper.committed == new
    if spec.public_port is None:
        assert paper.routing is None
    else:
        assert paper.routing is not None
        assert paper.routing.stable is not None
        assert paper.routing.stable.instances == new
        assert paper.getting_traffic() == set(new)
    assert sum(isinstance(step, Commit) for step in steps) == 1
    assert all(isinstance(s, KeepWarm) for s in steps if s.kind == "keep_warm")
    gone = {id for s in steps if isinstance(s, RetireInstances) for id in s.instances}
    assert gone | paper.warm == {i.id for i in view.serving}


@settings(max_examples=300, deadline=None)
@given(rollouts())
def test_blue_green_and_canary_never_serve_with_fewer_than_before(given: tuple[View, Spec]) -> None:
    view, spec = given
    if spec.strategy not in ("blue-green", "canary") or not view.routed or view.routing is None:
        return
    for _, serving, held in carry_out(plan(view, spec), view).seen:
        assert not held
        assert serving >= min(len(view.serving), spec.replicas)
