"""What the database itself enforces: one open rollout, the transitions, the fence."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from pathlib import Path

import pytest

from longshore.errors import DeploymentInProgress, InternalError, LeaseLost
from longshore.model import OPEN_STATUSES, TRANSITIONS, Failure, Rollout, RolloutStatus
from longshore.store import Store
from support.engine import Clock
from support.makers import make_deployment, make_instances, make_rollout


def put(store: Store, status: RolloutStatus) -> Rollout:
    """A rollout brought to this status by moves alone."""
    paths = {RolloutStatus.running: (RolloutStatus.running,)}
    queue = [RolloutStatus.running]
    while queue:
        here = queue.pop(0)
        for following in sorted(TRANSITIONS[here] - paths.keys()):
            paths[following] = (*paths[here], following)
            queue.append(following)
    rollout = store.open_rollout(make_rollout())
    for each in paths[status][1:]:
        rollout = store.set_status(rollout, each)
    return rollout


@pytest.mark.parametrize(("source", "goal"), list(itertools.product(TRANSITIONS, repeat=2)))
def test_the_store_knows_the_transitions_and_no_others(
    store: Store, source: RolloutStatus, goal: RolloutStatus
) -> None:
    rollout = put(store, source)
    if goal in TRANSITIONS[source]:
        assert store.set_status(rollout, goal).status is goal
        return
    with pytest.raises(InternalError, match=rollout.id):
        store.set_status(rollout, goal)
    found = store.rollout(rollout.id)
    assert found is not None
    assert found.status is source


@pytest.mark.parametrize("status", TRANSITIONS)
def test_a_rollout_has_ended_exactly_when_it_is_not_open(store: Store, status: RolloutStatus) -> None:
    assert (put(store, status).ended_at is None) is status.is_open


def test_what_a_move_leaves_out_stays(store: Store) -> None:
    rollout = store.open_rollout(make_rollout())
    failure = Failure("HOOK_FAILED", "no", "pre_deploy_hooks", "exit 1")
    rollout = store.set_status(rollout, RolloutStatus.unwinding, message="Undoing.", failure=failure)
    rollout = store.set_status(rollout, RolloutStatus.unwound)
    assert (rollout.message, rollout.failure) == ("Undoing.", failure)


@pytest.mark.parametrize("status", TRANSITIONS)
def test_a_second_rollout_is_refused_exactly_while_one_is_open(store: Store, status: RolloutStatus) -> None:
    first = put(store, status)
    if status not in OPEN_STATUSES:
        assert store.open_rollout(make_rollout("r2")).number == 2
        return
    with pytest.raises(DeploymentInProgress) as refused:
        store.open_rollout(make_rollout("r2"))
    assert refused.value.details["rollout_id"] == first.id
    assert refused.value.details["started_by"] == "ana"
    assert refused.value.details["started_at"] == "1970-01-01T00:16:40.000Z"


def test_of_sixteen_at_once_exactly_one_is_opened(store: Store, tmp_path: Path) -> None:
    """Connections of their own, as sixteen processes would have, with the fence of the same manager."""
    admitted, refused = list[str](), list[str]()
    together = threading.Barrier(16)

    def attempt(number: int) -> None:
        mine = Store(tmp_path / "longshore.db", Clock())
        mine.db.epoch = store.db.epoch
        try:
            together.wait(timeout=30)
            mine.open_rollout(make_rollout(f"r{number}"))
            admitted.append(f"r{number}")
        except DeploymentInProgress as error:
            refused.append(error.details["rollout_id"])
        finally:
            mine.close()

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(admitted) == 1
    assert refused == admitted * 15


def test_deployments_do_not_hold_each_other_up(store: Store) -> None:
    store.save_deployment(make_deployment("api"))
    store.open_rollout(make_rollout())
    assert store.open_rollout(make_rollout("r2", deployment="api")).number == 1
    assert {rollout.id for rollout in store.open_rollouts()} == {"r1", "r2"}


def test_a_second_manager_that_takes_over_ends_the_writing_of_the_first(store: Store, tmp_path: Path) -> None:
    rollout = store.open_rollout(make_rollout())
    second = Store(tmp_path / "longshore.db", Clock())
    second.take_over()
    assert second.manager_id == store.manager_id
    writes = [
        lambda: store.set_status(rollout, RolloutStatus.unwinding),
        lambda: store.save_deployment(make_deployment("api")),
        lambda: store.add_event("shop", "info", "hello", source="test"),
        lambda: store.remember_key("ana", "key", "body", None),
        lambda: store.open_rollout(make_rollout("r2")),
    ]
    for write in writes:
        with pytest.raises(LeaseLost, match="taken over"):
            write()
    assert second.set_status(rollout, RolloutStatus.unwinding).status is RolloutStatus.unwinding
    second.close()


def test_nobody_writes_before_taking_over(tmp_path: Path) -> None:
    store = Store(tmp_path / "longshore.db", Clock())
    with pytest.raises(LeaseLost):
        store.save_deployment(make_deployment())
    store.close()


def test_two_deployments_never_share_a_directory_or_a_port(store: Store) -> None:
    store.save_deployment(make_deployment("api", public_port=80))
    for twin in (make_deployment("b", working_directory="/data/apps/api"), make_deployment("c", public_port=80)):
        with pytest.raises(sqlite3.IntegrityError):
            store.save_deployment(twin)
    assert [d.name for d in store.deployments()] == ["api", "shop"]


def test_two_instances_never_share_a_port(store: Store) -> None:
    first, second = make_instances(2)
    store.save_instance(first)
    with pytest.raises(sqlite3.IntegrityError):
        store.save_instance(second.__class__(**{f: getattr(second, f) for f in second.__slots__} | {"port": 20000}))
    assert store.ports_in_use() == {20000}


@pytest.mark.parametrize("status", TRANSITIONS)
def test_an_abort_is_noted_only_before_the_commit(store: Store, status: RolloutStatus) -> None:
    rollout = put(store, status)
    before = {RolloutStatus.running, RolloutStatus.paused, RolloutStatus.unwinding}
    assert store.request_abort(rollout, "wrong build") is (status in before)
    assert store.request_abort(rollout, "again") is (status in before)
    found = store.rollout(rollout.id)
    assert found is not None
    assert found.abort_requested == ("wrong build" if status in before else None)


def test_a_plan_is_written_once(store: Store) -> None:
    rollout = store.open_rollout(make_rollout())
    store.save_plan(rollout, "first")
    with pytest.raises(InternalError):
        store.save_plan(rollout, "second")
    assert store.plan_of(rollout.id) == "first"


def test_deleting_a_deployment_deletes_all_about_it(store: Store) -> None:
    rollout = store.open_rollout(make_rollout())
    store.add_progress(rollout, step="commit", status="running", message="", progress_pct=1)
    store.add_event("shop", "info", "hello", source="test")
    store.save_instance(make_instances(1)[0])
    store.delete_deployment("shop")
    assert store.rollout(rollout.id) is None
    assert store.progress(rollout.id) == []
    assert store.events(None, limit=10) == []
    assert store.instances() == []
