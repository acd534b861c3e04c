"""What goes into the store comes out of it, and what is counted is counted right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck as Health
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from longshore.model import (
    Analysis,
    Canary,
    CanaryStep,
    Failure,
    HealthCheck,
    InstanceState,
    Pool,
    ReleaseState,
    Resources,
    Rolling,
    RolloutStatus,
    Routing,
    Spec,
    StepRecord,
    StepStatus,
)
from longshore.store import Store, codec
from support.engine import Clock
from support.makers import make_deployment, make_instances, make_release, make_rollout

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
SECONDS = st.floats(0, 1e6, allow_nan=False)
COUNT = st.one_of(st.integers(0, 100), st.integers(0, 100).map(lambda percent: f"{percent}%"))
COMMANDS = st.one_of(st.none(), TEXT, st.lists(TEXT, max_size=4).map(tuple))
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
SPECS = st.builds(
    Spec,
    name=TEXT,
    version=TEXT,
    artifact_path=TEXT,
    environment=TEXT,
    strategy=st.sampled_from(["rolling", "blue-green", "canary", "recreate"]),
    working_directory=TEXT,
    health_check_url=TEXT,
    rollback_on_failure=st.booleans(),
    dependencies=TEXTS,
    pre_deploy_hooks=TEXTS,
    post_deploy_hooks=TEXTS,
    replicas=st.integers(1, 1000),
    command=COMMANDS,
    port=st.one_of(st.none(), st.integers(1, 65535)),
    configuration=st.dictionaries(TEXT, TEXT, max_size=3),
    shared_paths=TEXTS,
    health_check=st.builds(HealthCheck, interval=SECONDS, healthy_threshold=st.integers(1, 9)),
    rolling=st.builds(Rolling, max_surge=COUNT, max_unavailable=COUNT),
    canary=st.builds(
        Canary,
        steps=st.lists(
            st.builds(CanaryStep, weight=st.integers(1, 100), pause=st.one_of(SECONDS, st.just("manual"))), max_size=4
        ).map(tuple),
        analysis=st.builds(Analysis, max_latency_ratio=SECONDS),
        sticky=st.booleans(),
    ),
    resources=st.builds(
        Resources, memory=st.one_of(st.none(), st.integers(0, 2**50)), cpu=st.one_of(st.none(), SECONDS)
    ),
    post_deploy_failure=st.sampled_from(["warn", "rollback"]),
)
POOLS = st.builds(Pool, id=TEXT, version=TEXT, instances=TEXTS, health_path=st.one_of(st.none(), TEXT))


@settings(max_examples=200, deadline=None)
@given(SPECS)
def test_a_spec_survives_its_json(spec: Spec) -> None:
    assert codec.decode_spec(codec.encode_spec(spec)) == spec


@settings(max_examples=100, deadline=None)
@given(
    st.none() | st.builds(Routing, port=st.integers(1, 65535), stable=st.none() | POOLS, candidate=st.none() | POOLS)
)
def test_a_routing_survives_its_json(routing: Routing | None) -> None:
    assert codec.decode_routing(codec.encode_routing(routing)) == routing


@settings(max_examples=100, deadline=None)
@given(COMMANDS)
def test_a_command_survives_its_json(command: Any) -> None:
    assert codec.decode_command(codec.encode_command(command)) == command


def test_what_is_no_spec_is_not_decoded() -> None:
    with pytest.raises(ValidationError):
        codec.decode_spec('{"name": "shop", "version": ["1"], "artifact_path": "/a"}')


def test_a_spec_stored_before_a_field_was_there_gets_its_default() -> None:
    spec = codec.decode_spec('{"name": "shop", "version": "1", "artifact_path": "/a"}')
    assert spec == Spec("shop", "1", "/a")


@settings(max_examples=30, deadline=None, suppress_health_check=[Health.function_scoped_fixture])
@given(SPECS, COMMANDS)
def test_records_come_back_as_they_were_saved(store: Store, spec: Spec, command: Any) -> None:
    release = replace(make_release(), spec=spec, command=command)
    store.save_release(release)
    assert store.release("shop", "1.0") == release
    instance = replace(make_instances(1)[0], handle={"pid": 1, "start": 2.5}, retire_at=7.0)
    store.save_instance(instance)
    assert store.instance(instance.id) == instance


def test_a_deployment_comes_back_and_is_marked_with_the_time_of_the_change(store: Store) -> None:
    routing = Routing(80, Pool("aaaaaaaa", "1.0", ("shop-1-0",), "/up"), weight=0, sticky=True)
    deployment = make_deployment(public_port=80, current_version="1.0", routing=routing, instances=("shop-1-0",))
    store.save_deployment(deployment)
    assert store.deployment("shop") == replace(deployment, updated_at=store.clock.now())


def test_a_rollout_comes_back_with_its_failure(store: Store) -> None:
    rollout = store.open_rollout(make_rollout(previous_version="1.0"))
    assert store.rollout("r1") == rollout
    failure = Failure("HOOK_FAILED", "it failed", "pre_deploy_hooks", "exit 1")
    moved = store.set_status(rollout, RolloutStatus.held, message="Held.", failure=failure)
    assert moved == replace(
        rollout, status=RolloutStatus.held, message="Held.", failure=failure, ended_at=store.clock.now()
    )


def test_releases_are_listed_newest_first_and_rollouts_too(store: Store) -> None:
    for number, version in enumerate(("1.0", "2.0", "3.0")):
        store.save_release(make_release(version, created_at=float(number // 2)))
        rollout = store.open_rollout(make_rollout(version, version))
        store.set_status(store.set_status(rollout, RolloutStatus.committed), RolloutStatus.succeeded)
    assert [r.version for r in store.releases("shop")] == ["3.0", "2.0", "1.0"]
    found, total = store.rollouts("shop", limit=2, offset=1)
    assert ([r.number for r in found], total) == ([2, 1], 3)
    last = store.last_rollout_of("shop")
    assert last is not None
    assert last.version == "3.0"
    assert store.last_rollouts() == {}


def test_a_pruned_release_is_remembered(store: Store) -> None:
    store.save_release(make_release())
    store.set_release_state("shop", "1.0", ReleaseState.pruned)
    found = store.release("shop", "1.0")
    assert found is not None
    assert found.state is ReleaseState.pruned


def test_instances_are_listed_in_the_order_in_which_they_came(store: Store) -> None:
    for instance in reversed(make_instances(3)):
        store.save_instance(instance)
    store.save_instance(replace(make_instances(1)[0], state=InstanceState.stopped))
    assert [i.slot for i in store.instances("shop")] == [2, 1, 0]
    assert store.instances("api") == []


# ------------------------------------------------------------------------------------------------- the journal


def test_the_journal_tells_runs_forwards_and_undos_backwards(store: Store) -> None:
    store.open_rollout(make_rollout())
    for undo, positions in ((False, (0, 1, 2)), (True, (2, 1, 0))):
        for position in positions:
            store.write_step("shop", StepRecord("r1", position, "s", undo, StepStatus.running, 1.0))
            store.write_step("shop", StepRecord("r1", position, "s", undo, StepStatus.completed, 1.0, 2.0, "done"))
    found = [(r.undo, r.position, r.status) for r in store.journal("r1")]
    done = StepStatus.completed
    assert found == [
        (False, 0, done),
        (False, 1, done),
        (False, 2, done),
        (True, 2, done),
        (True, 1, done),
        (True, 0, done),
    ]
    assert store.completed_positions("r1") == 3


def test_progress_is_numbered_from_1_and_never_goes_down(store: Store) -> None:
    rollout = store.open_rollout(make_rollout())
    for pct in (10, 40, 20, 0):
        store.add_progress(rollout, step="s", status="running", message="", progress_pct=pct)
    found = store.progress("r1")
    assert [(p.seq, p.progress_pct) for p in found] == [(1, 10), (2, 40), (3, 40), (4, 40)]
    assert store.progress("r1", after=3) == found[3:]
    assert store.progress_pct("r1") == 40


# ------------------------------------------------------------------------------------------------- events


def test_events_are_listed_newest_first_between_two_ids(store: Store) -> None:
    for number in range(5):
        store.add_event("shop", "info", str(number), source="test")
    ids = {e.message: e.id for e in store.events("shop", limit=10)}
    assert [e.message for e in store.events("shop", limit=2)] == ["4", "3"]
    assert [e.message for e in store.events("shop", limit=2, before=ids["3"])] == ["2", "1"]
    assert [e.message for e in store.events(None, limit=10, after=ids["2"])] == ["4", "3"]


def test_an_event_of_a_deployment_that_is_gone_is_no_error(store: Store) -> None:
    store.add_event("gone", "info", "hello", source="test")
    assert store.events(None, limit=10) == []


def test_trimming_keeps_the_newest_events_of_that_deployment_only(store: Store) -> None:
    store.save_deployment(make_deployment("api"))
    for number in range(6):
        store.add_event("shop" if number % 2 else "api", "info", str(number), source="test")
    store.trim_events("shop", 2)
    assert [e.message for e in store.events(None, limit=10)] == ["5", "4", "3", "2", "0"]


def test_trimming_what_needs_none_writes_nothing(store: Store) -> None:
    store.add_event("shop", "info", "hello", source="test")
    before = store.stamp("shop")
    store.trim_events("shop", 1)
    assert store.stamp("shop") == before


# ------------------------------------------------------------------------------------------------- idempotency


def test_a_key_belongs_to_its_caller_and_remembers_what_it_came_with(store: Store) -> None:
    assert store.idempotency("ana", "k") is None
    store.remember_key("ana", "k", "body", None)
    store.remember_key("ana", "k", "", "r1")
    assert store.idempotency("ana", "k") == ("body", "r1")
    assert store.idempotency("ben", "k") is None


def test_keys_are_forgotten_when_they_are_old(tmp_path: Path) -> None:
    clock = Clock()
    store = Store(tmp_path / "longshore.db", clock)
    store.take_over()
    store.remember_key("ana", "old", "body", None)
    clock.time += 100
    store.remember_key("ana", "new", "body", None)
    store.forget_keys(clock.time - 50)
    assert store.idempotency("ana", "old") is None
    assert store.idempotency("ana", "new") == ("body", None)
    store.close()
