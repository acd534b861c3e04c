"""What stands around a strategy, how plans are stored, and how they are shown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from longshore.masking import MASK
from longshore.model import BlueGreen, Canary, CanaryStep, RolloutKind
from longshore.rollout.frame import plan_rollout
from longshore.rollout.plan import Plan, decode_plan, encode_plan
from longshore.rollout.preview import changes, describe_plan
from longshore.rollout.reports import Change
from longshore.rollout.steps import STEPS
from longshore.rollout.steps.artifact import FetchArtifact
from longshore.rollout.steps.hooks import RunHooks
from longshore.rollout.steps.instances import RetireInstances
from longshore.rollout.steps.release import Commit, Prune
from longshore.rollout.strategies import STRATEGIES
from support.makers import PORT, URL, make_instances, make_release, make_spec, make_view

FRONT = ["check_dependencies", "fetch_artifact", "create_backup", "pre_deploy_hooks"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_rollout_has_the_same_front_the_same_checks_before_its_commit_and_the_same_end(strategy: str) -> None:
    spec = make_spec(strategy=strategy, health_check_url=URL, replicas=2)
    plan = plan_rollout(make_view(spec, 2), spec, keep_releases=5)
    names = [step.name for step in plan.steps]
    assert names[:4] == FRONT
    at = plan.commit_position
    assert names[at - 2 : at + 1] == ["health_check", "post_deploy_hooks", "commit"]
    assert names[-1] == "prune"


def test_the_frame_takes_its_values_from_the_spec_and_the_view() -> None:
    spec = make_spec(dependencies=("db",), pre_deploy_hooks=("a",), post_deploy_hooks=("b",))
    steps = plan_rollout(make_view(spec, 1, was_routed=False), spec, keep_releases=7).steps
    assert FetchArtifact("2.0", "/srv/2.0", "sha-2.0", "./run", True) in steps
    assert RunHooks("pre_deploy", ("a",), tolerant=False, name="pre_deploy_hooks") in steps
    assert RunHooks("post_deploy", ("b",), tolerant=True, name="post_deploy_hooks") in steps
    assert Prune(7) in steps


def test_a_post_hook_is_only_tolerated_where_the_spec_says_so() -> None:
    spec = make_spec(post_deploy_failure="rollback")
    steps = plan_rollout(make_view(spec, 1), spec, keep_releases=5).steps
    assert RunHooks("post_deploy", (), tolerant=False, name="post_deploy_hooks") in steps


def test_a_leftover_set_is_retired_after_the_commit() -> None:
    spec = make_spec(strategy="rolling", health_check_url=URL)
    view = make_view(spec, 1, leftover=make_instances(2, version="0.9", number=7))
    plan = plan_rollout(view, spec, keep_releases=5)
    assert plan.steps[-2] == RetireInstances(("shop-7-0", "shop-7-1"))
    gone_before = [s for s in plan.steps[: plan.commit_position] if "shop-7-0" in getattr(s, "instances", ())]
    assert gone_before == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_files_alone_are_switched_at_once_whatever_the_strategy(strategy: str) -> None:
    spec = make_spec(strategy=strategy)
    plan = plan_rollout(make_view(spec, 0, runs=False, current=make_release()), spec, keep_releases=5)
    middle = [step.name for step in plan.steps[4:]]
    assert middle == ["switch_current", "health_check", "post_deploy_hooks", "commit", "prune"]


def test_a_release_of_files_after_one_that_ran_ends_its_traffic_and_its_instances_past_the_commit() -> None:
    spec = make_spec()
    plan = plan_rollout(make_view(spec, 2, runs=False, routed=False), spec, keep_releases=5)
    assert [s.name for s in plan.steps[plan.commit_position :]] == [
        "commit",
        "stop_traffic",
        "drain",
        "retire",
        "prune",
    ]


def test_going_back_to_what_serves_only_commits_it_again() -> None:
    spec = make_spec("1.0", health_check_url=URL, replicas=2)
    view = make_view(spec, 2, kind=RolloutKind.rollback)
    kinds = [step.kind for step in plan_rollout(view, spec, keep_releases=5).steps]
    assert not set(kinds) & {"start_instances", "stop_instances", "shift_traffic", "retire"}
    assert Commit("1.0", "1.0", ("shop-1-0", "shop-1-1")) in plan_rollout(view, spec, keep_releases=5).steps


@pytest.mark.parametrize("commits", [0, 2])
def test_a_plan_has_exactly_one_commit(commits: int) -> None:
    with pytest.raises(ValueError, match=f"has {commits}"):
        Plan((Prune(1), *[Commit("1.0", None, ())] * commits))


@pytest.mark.parametrize("old", [0, 3])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_stored_plan_is_the_plan_that_was_made(strategy: str, old: int) -> None:
    spec = make_spec(
        strategy=strategy,
        health_check_url=URL,
        replicas=3,
        command=("./run", "--fast"),
        canary=Canary((CanaryStep(10, "manual"), CanaryStep(100, 2.5))),
        blue_green=BlueGreen(0.5),
    )
    plan = plan_rollout(make_view(spec, old), spec, keep_releases=5)
    assert decode_plan(encode_plan(plan), STEPS) == plan


def test_a_stored_plan_says_what_it_is_in_words() -> None:
    spec = make_spec()
    stored = json.loads(encode_plan(plan_rollout(make_view(spec, 1), spec, keep_releases=5)))
    assert stored["format"] == 1
    assert stored["steps"][1]["step"] == "fetch_artifact"
    assert stored["steps"][3]["name"] == "pre_deploy_hooks"


def test_every_step_of_a_shown_plan_has_a_name_and_a_sentence() -> None:
    spec = make_spec(strategy="canary", health_check_url=URL, replicas=3)
    shown = describe_plan(plan_rollout(make_view(spec, 3), spec, keep_releases=5))
    assert all(step.name and step.description for step in shown)
    assert ("shift_traffic", "shift traffic: 95 % to 1.0, 5 % to 2.0") in [(s.name, s.description) for s in shown]


# --------------------------------------------------------------------------------------------------- changes


def test_changes_name_each_field_that_differs() -> None:
    before = make_spec("1.0", replicas=1, configuration={"A": "1", "B": "2"})
    after = make_spec("2.0", replicas=3, configuration={"A": "1", "C": "3"}, port=PORT)
    assert changes(before, after) == (
        Change("artifact_path", "/srv/1.0", "/srv/2.0"),
        Change("configuration.B", "2", ""),
        Change("configuration.C", "", "3"),
        Change("port", "", "8080"),
        Change("replicas", "1", "3"),
        Change("version", "1.0", "2.0"),
    )


def test_groups_are_compared_field_by_field() -> None:
    after = replace(make_spec(), blue_green=BlueGreen(5.0))
    assert changes(make_spec(), after) == (Change("blue_green.keep_old", "1m0s", "5s"),)


def test_without_anything_before_all_that_is_set_is_new() -> None:
    found = {change.field: change for change in changes(None, make_spec())}
    assert found["version"] == Change("version", "", "2.0")
    assert "port" not in found


def test_no_change_shows_a_secret() -> None:
    before = make_spec(configuration={"API_TOKEN": "first", "URL": "postgres://app:hunter2@db/x"})
    after = make_spec(configuration={"DB_PASSWORD": "second", "URL": "postgres://app:hunter3@db/y"})
    shown = str(changes(before, after))
    assert MASK in shown
    assert not [secret for secret in ("first", "second", "hunter2", "hunter3") if secret in shown]


def test_that_a_secret_changes_is_shown() -> None:
    before, after = (make_spec(configuration={"API_TOKEN": value}) for value in ("first", "second"))
    assert [change.field for change in changes(before, after)] == ["configuration.API_TOKEN"]
