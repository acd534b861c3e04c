"""What every strategy of STRATEGIES keeps."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from longshore.model import STRATEGY_NAMES, RolloutKind, Spec
from longshore.rollout.frame import plan_rollout
from longshore.rollout.plan import View, decode_plan, encode_plan
from longshore.rollout.steps import STEPS
from longshore.rollout.strategies import STRATEGIES
from longshore.routers import ROUTERS
from longshore.routers.mock import MockRouter
from support.makers import PORT, URL, make_spec, make_view
from support.simulation import carry_out

#: (instances that serve, instances wanted, routed before, port wanted)
CASES = [
    (0, 3, False, PORT),
    (3, 3, True, PORT),
    (2, 5, True, PORT),
    (5, 2, True, PORT),
    (3, 3, True, 9000),
    (3, 3, True, None),
    (3, 3, False, PORT),
    (3, 3, False, None),
    (0, 1, False, None),
]


def situations(strategy: str) -> list[tuple[View, Spec]]:
    found = []
    for old, new, routed, port in CASES:
        spec = make_spec(strategy=strategy, replicas=new, port=port)
        view = make_view(spec, old, was_routed=routed)
        found += [(view, spec), (replace(view, kind=RolloutKind.rollback), spec)]
    return found


def test_the_names_of_the_contract_are_those_registered() -> None:
    assert set(STRATEGIES) == set(STRATEGY_NAMES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_called_by_its_name_and_says_what_it_needs(name: str) -> None:
    module = STRATEGIES[name]
    assert name == module.NAME
    assert MockRouter().capabilities() >= module.NEEDS
    assert "envoy" in ROUTERS


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_plan_depends_on_nothing_but_its_arguments_and_changes_none(name: str) -> None:
    assert not inspect.iscoroutinefunction(STRATEGIES[name].plan)
    for view, spec in situations(name):
        before = repr((view, spec))
        assert STRATEGIES[name].plan(view, spec) == STRATEGIES[name].plan(view, spec)
        assert repr((view, spec)) == before


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_plan_has_exactly_one_commit_and_no_undo_is_needed_after_it(name: str) -> None:
    for view, spec in situations(name):
        kinds = [step.kind for step in STRATEGIES[name].plan(view, spec)]
        assert kinds.count("commit") == 1
        after = kinds[kinds.index("commit") + 1 :]
        assert not set(after) & {"start_instances", "stop_instances", "await_ready", "watch_canary"}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_plan_ends_with_exactly_what_is_wanted(name: str) -> None:
    for view, spec in situations(name):
        paper = carry_out(STRATEGIES[name].plan(view, spec), view)
        assert paper.committed is not None
        assert len(paper.committed) == spec.replicas
        assert (paper.routing is not None) is (spec.public_port is not None)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_step_is_registered_and_the_plan_survives_its_json(name: str) -> None:
    for view, spec in situations(name):
        plan = plan_rollout(view, spec, keep_releases=5)
        assert {step.kind for step in plan.steps} <= STEPS.keys()
        assert decode_plan(encode_plan(plan), STEPS) == plan


@pytest.mark.parametrize("name", STRATEGIES)
def test_names_in_a_plan_tell_what_is_done(name: str) -> None:
    spec = make_spec(strategy=name, health_check_url=URL, replicas=3)
    for step in plan_rollout(make_view(spec, 3), spec, keep_releases=5).steps:
        assert step.name
        assert step.describe()
