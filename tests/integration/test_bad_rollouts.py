"""Rollouts that are interrupted, judged, held and taken back, under load where it matters."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest

from support.backends import free_port
from support.hostile import ROOT, Hostile, ask, error_of, hostile_manager, processes, until


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


class Load:
    """Requests in a row on a few threads, each answer counted by its text."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: dict[str, int] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False) as client:
            while not self._over.is_set():
                try:
                    answer = client.get("/")
                    said = f"{answer.status_code} {answer.text}"
                except httpx2.HTTPError as error:
                    said = repr(error)
                with self._lock:
                    self.answers[said] = self.answers.get(said, 0) + 1


@contextmanager
def held(manager: Hostile, name: str) -> Iterator[str]:
    """A hook that waits until the block ends."""
    go = manager.directory / f"{name}.go"
    go.unlink(missing_ok=True)
    try:
        yield f"touch {go}.here; while [ ! -e {go} ]; do sleep 0.02; done"
    finally:
        go.touch()


def here(manager: Hostile, name: str) -> bool:
    return (manager.directory / f"{name}.go.here").exists()


def test_a_second_deploy_is_told_who_holds_it_since_when_and_cannot_delete(manager: Hostile) -> None:
    with held(manager, "busy") as hook:
        id = manager.begin("busy", "1", artifact_path=manager.site("1"), command=None, pre_deploy_hooks=[hook])
        error = manager.refused("busy", "2", 409, "DEPLOYMENT_IN_PROGRESS", artifact_path=manager.site("2"))
        assert error["details"]["rollout_id"] == id
        assert "admin" in str(error["details"])
        assert any("20" in str(value) and "T" in str(value) for value in error["details"].values()), error
        error_of(manager.http.delete(f"{ROOT}/busy"), 409, "DEPLOYMENT_IN_PROGRESS")
        status = manager.status("busy")
        assert (status["state"], status["version"], status["rollout_id"]) == ("deploying", "1", id)
        row = next(r for r in manager.http.get(f"{ROOT}?state=deploying").json()["deployments"] if r["name"] == "busy")
        assert row["state"] == "deploying"
    assert manager.over("busy", id)["status"] == "succeeded"


def test_a_rollback_aborts_the_rollout_that_runs_or_is_paused(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("back", "1", port=port)
    manager.deployed("back", "2", port=port)
    with held(manager, "back") as hook:
        id = manager.begin("back", "3", port=port, pre_deploy_hooks=[hook])
        until("the hook", lambda: here(manager, "back"))
        answer = manager.rollback("back")
    assert (answer.status_code, answer.json()["version"]) == (200, "2"), answer.text
    assert manager.rollout("back", id)["status"] == "unwound"
    assert ask(port) == "200 2"

    pauses = {"steps": [{"weight": 50, "pause": "manual"}, {"weight": 100, "pause": "0s"}]}
    id = manager.begin("back", "4", port=port, strategy="canary", canary=pauses)
    until("the candidate", lambda: "200 4" in {ask(port) for _ in range(5)})
    assert manager.status("back")["state"] == "deploying"
    answer = manager.rollback("back", "1")
    assert (answer.status_code, answer.json()["version"]) == (200, "1"), answer.text
    assert manager.rollout("back", id)["status"] == "unwound"
    assert {ask(port) for _ in range(10)} == {"200 1"}
    assert manager.status("back")["state"] == "healthy"


def test_a_canary_that_is_aborted_leaves_the_old_version_alone_with_the_traffic(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("drop", "1", port=port, replicas=2)
    pauses = {"steps": [{"weight": 50, "pause": "manual"}, {"weight": 100, "pause": "0s"}]}
    id = manager.begin("drop", "2", port=port, strategy="canary", replicas=2, canary=pauses)
    until("the candidate", lambda: "200 2" in {ask(port) for _ in range(5)})
    answer = manager.http.post(f"{ROOT}/drop/rollouts/{id}/abort", json={"reason": "looks odd"})
    assert answer.json()["status"] == "unwound"
    assert {ask(port) for _ in range(20)} == {"200 1"}
    assert manager.status("drop")["replicas"] == {"desired": 2, "available": 2, "ready": 2, "updated": 2}
    late = manager.http.post(f"{ROOT}/drop/rollouts/{id}/abort", json={})
    assert "unwound" in error_of(late, 400, "INVALID_DEPLOYMENT_SPEC")["message"]


def test_a_canary_is_promoted_by_hand(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("hand", "1", port=port)
    pauses = {"steps": [{"weight": 10, "pause": "manual"}, {"weight": 100, "pause": "0s"}]}
    id = manager.begin("hand", "2", port=port, strategy="canary", canary=pauses)
    until("the pause", lambda: any(s["name"] == "watch_canary_10" for s in manager.rollout("hand", id)["steps"]))
    assert manager.http.post(f"{ROOT}/hand/rollouts/{id}/promote").status_code == 200
    assert manager.over("hand", id)["status"] == "succeeded"
    assert ask(port) == "200 2"


@pytest.mark.parametrize("mode", ["errors", "slow"])
def test_a_worse_canary_is_unwound_under_load_and_the_old_version_loses_nothing(manager: Hostile, mode: str) -> None:
    name, port = f"worse-{mode}", free_port()
    manager.deployed(name, "1", port=port)
    weights = [{"weight": 50, "pause": "30s"}, {"weight": 100, "pause": "0s"}]
    steps = {"steps": weights, "analysis": {"min_requests": 20}}
    with Load(port) as load:
        error = manager.refused(
            name, "2", 500, "HEALTH_CHECK_FAILED", mode=mode, port=port, strategy="canary", canary=steps
        )
        assert "judged worse at 50 %" in error["message"]
        assert error["details"]["operation"] == "watch_canary_50"
        assert error["details"]["rolled_back"] is True
        load.answers.clear()
        until("requests after the unwind", lambda: sum(load.answers.values()) > 50)
    assert set(load.answers) == {"200 1"}, load.answers
    assert ("%" if mode == "errors" else "ms") in error["message"]
    assert manager.status(name)["state"] == "healthy"


def test_every_strategy_loses_no_request_to_a_version_that_never_becomes_healthy(manager: Hostile) -> None:
    name, port = "lossless", free_port()
    manager.deployed(name, "1", port=port, replicas=2, health_check_url=f"http://localhost:{port}/health")
    with Load(port) as load:
        for strategy in ("recreate", "rolling", "blue-green", "canary"):
            manager.refused(
                name, f"2-{strategy}", 500, "HEALTH_CHECK_FAILED", mode="exits", strategy=strategy, replicas=2,
                health_check_url=f"http://localhost:{port}/health",
            )  # fmt: skip
    assert set(load.answers) == {"200 1"}, load.answers
    assert manager.status(name)["state"] == "healthy"


def test_a_held_rollout_is_failed_keeps_what_serves_and_is_cleaned_up_by_the_next_deploy(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("held", "1", port=port, strategy="rolling")
    error = manager.refused(
        "held", "2", 500, "HEALTH_CHECK_FAILED", port=port, strategy="rolling", mode="exits", rollback_on_failure=False
    )
    assert error["details"]["rolled_back"] is False
    assert "Held for inspection" in manager.events("held")
    status = manager.status("held")
    assert (status["state"], status["version"]) == ("failed", "1")
    assert ask(port) == "200 1"
    assert (manager.data_dir / "apps/held/releases/2").exists()
    manager.deployed("held", "3", port=port, strategy="rolling")
    assert (ask(port), manager.status("held")["state"]) == ("200 3", "healthy")
    assert not (manager.data_dir / "apps/held/releases/2").exists()

    manager.refused(
        "held", "4", 500, "HOOK_FAILED", port=port, post_deploy_hooks=["exit 1"], post_deploy_failure="rollback",
        rollback_on_failure=False,
    )  # fmt: skip
    assert manager.status("held")["state"] == "failed"
    answer = manager.rollback("held")
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] in ("1", "3")
    assert ask(port) == f"200 {answer.json()['version']}"
    assert manager.status("held")["state"] == "healthy"
    assert len(processes(f"RELEASE_VERSION=4\0MODE=ok\0TEST={manager.directory}")) == 0


def test_a_held_first_deploy_can_be_deleted_and_deployed_anew(manager: Hostile) -> None:
    manager.refused("never", "1", 500, "HEALTH_CHECK_FAILED", port=free_port(), mode="exits", rollback_on_failure=False)
    assert manager.status("never")["state"] == "failed"
    assert manager.status("never")["health"] == "unknown"
    error_of(manager.rollback("never"), 400, "BACKUP_NOT_FOUND")
    assert manager.http.get(f"{ROOT}/never/health").json()["overall"] == "unknown"
    assert manager.http.delete(f"{ROOT}/never").status_code == 200
    assert manager.http.get(f"{ROOT}/never").status_code == 404
    assert not (manager.data_dir / "apps/never").exists()
    port = free_port()
    manager.deployed("never", "1", port=port)
    assert ask(port) == "200 1"


def test_everything_of_a_deleted_deployment_is_gone(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("gone", "1", port=port, replicas=2)
    manager.deployed("gone", "2", port=port, replicas=2, strategy="blue-green", blue_green={"keep_old": "60s"})
    answer = manager.http.delete(f"{ROOT}/gone")
    assert answer.status_code == 200
    for path in ("", "/health", "/rollouts", "/events", "/releases", "/logs"):
        error_of(manager.http.get(f"{ROOT}/gone{path}"), 404, "DEPLOYMENT_NOT_FOUND")
    with pytest.raises(httpx2.HTTPError):
        ask(port)
    assert not (manager.data_dir / "apps/gone").exists()
    assert not (manager.data_dir / "logs/gone").exists()
    error_of(manager.http.delete(f"{ROOT}/gone"), 404, "DEPLOYMENT_NOT_FOUND")
    # The name, the version and the port are free again.
    manager.deployed("gone", "1", port=port, artifact_path=manager.app("other", "gone"))
    assert ask(port) == "200 1"


def test_an_idempotency_key_holds_across_a_restart_and_refuses_another_body(manager: Hostile) -> None:
    headers = {"Idempotency-Key": "key-1"}
    spec = manager.spec("once", "1", artifact_path=manager.site("once"), command=None)
    first = manager.http.post(ROOT, json=spec, headers=headers)
    assert first.status_code == 201
    manager.end(signal.SIGKILL)
    manager.start()
    again = manager.http.post(ROOT, json=spec, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    other = manager.http.post(ROOT, json={**spec, "version": "2"}, headers=headers)
    assert "another body" in error_of(other, 400, "INVALID_DEPLOYMENT_SPEC")["message"]
    assert manager.http.get(f"{ROOT}/once/rollouts").json()["total"] == 1
    bad = {**spec, "version": "!"}
    for _ in range(2):
        error_of(manager.http.post(ROOT, json=bad, headers={"Idempotency-Key": "k2"}), 400, "INVALID_DEPLOYMENT_SPEC")


def test_applications_survive_a_killed_manager_and_status_is_true_afterwards(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("outlive", "1", port=port, replicas=2)
    pid = ask(port, "/pid")
    with Load(port) as load:
        manager.end(signal.SIGKILL)
        manager.start()
        manager.until_state("outlive", "healthy", "healthy")
    assert set(load.answers) == {"200 1"}, load.answers
    assert pid in {ask(port, "/pid") for _ in range(10)}
    assert manager.status("outlive")["replicas"] == {"desired": 2, "available": 2, "ready": 2, "updated": 2}


def test_two_at_once_of_one_name_are_one_201_and_one_409_and_of_many_names_all_succeed(manager: Hostile) -> None:
    answers: list[httpx2.Response] = []

    def deploy(name: str, version: str) -> None:
        spec: dict[str, Any] = {"artifact_path": manager.site(version), "command": None}
        answers.append(manager.deploy(name, version, **spec, pre_deploy_hooks=["sleep 0.3"]))

    for names in (["twice", "twice"], [f"many-{number}" for number in range(6)]):
        answers.clear()
        threads = [threading.Thread(target=deploy, args=(name, str(i))) for i, name in enumerate(names)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        codes = sorted(answer.status_code for answer in answers)
        assert codes == ([201, 409] if names[0] == "twice" else [201] * 6)
