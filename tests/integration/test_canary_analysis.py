"""Canaries that are judged by what a real router counted: worse ones are caught, and how; healthy ones pass."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from support.backends import free_port
from support.envoy import needs_envoy
from support.hostile import ROOT, Hostile, hostile_manager, until

pytestmark = [needs_envoy, pytest.mark.slow]

STEPS = [{"weight": 50, "pause": "90s"}, {"weight": 100, "pause": "0s"}]


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


class Load:
    """Requests in a row on a few threads, answers counted by their status."""

    def __init__(self, port: int, threads: int = 8) -> None:
        self.port, self.answers = port, Counter[str]()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

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
                    said = str(client.get("/").status_code)
                except httpx2.HTTPError as error:
                    said = type(error).__name__
                self.answers[said] += 1


@pytest.mark.parametrize(
    ("mode", "stable_s", "candidate_s", "charge"),
    [
        ("some-errors", "0", "0", "fails more often than allowed"),
        ("ok", "0.12", "0.24", "latency than allowed"),
        ("drops", "0", "0", "fails more often than allowed"),
    ],
    ids=["five-percent-errors", "doubled-latency", "a-crash-hidden-by-retries"],
)
def test_a_worse_candidate_is_caught(manager: Hostile, mode: str, stable_s: str, candidate_s: str, charge: str) -> None:
    name, port = f"caught-{mode}", free_port()
    manager.deployed(name, "1", port=port, configuration={"ANSWER_S": stable_s})
    with Load(port) as load:
        error = manager.refused(
            name, "2", 500, "HEALTH_CHECK_FAILED",
            mode=mode, port=port, strategy="canary", canary={"steps": STEPS}, configuration={"ANSWER_S": candidate_s},
        )  # fmt: skip
        seen = Counter(load.answers)
    assert charge in error["message"], error["message"]
    assert error["details"]["rolled_back"] is True
    if mode == "drops":
        # Next to no client has met what it did (a retry may be dropped as well): it was the figures that told.
        assert seen["503"] <= 2, seen
        assert "hidden from clients" in error["message"]
    events = manager.http.get(f"{ROOT}/{name}/events").json()["events"]
    assert any(each["type"] == "error" and charge in each["message"] for each in events)


def test_a_healthy_candidate_passes_with_its_numbers(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("well", "1", port=port, configuration={"ANSWER_S": "0.02"})
    check = {"name": "smoke", "command": 'test "$CANARY_WEIGHT" -ge 50'}
    steps = [{"weight": 50, "pause": "3s"}, {"weight": 100, "pause": "1s"}]
    with Load(port):
        result = manager.deployed(
            "well", "2", port=port, strategy="canary", configuration={"ANSWER_S": "0.02"},
            canary={"steps": steps, "analysis": {"checks": [check]}},
        )  # fmt: skip
    (watch,) = [step for step in result["steps"] if step["name"] == "watch_canary_50"]
    assert watch["message"].startswith("passed: candidate "), watch
    assert "most against it: " in watch["message"]
    assert "check smoke: passed 1, failed 0 (of 1), last: exit code 0" in watch["message"]


def test_with_little_traffic_it_is_paused_and_promote_goes_on(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("quiet", "1", port=port)
    steps = [{"weight": 50, "pause": "500ms"}, {"weight": 100, "pause": "0s"}]
    id = manager.begin("quiet", "2", port=port, strategy="canary", canary={"steps": steps})
    until("the pause", lambda: manager.rollout("quiet", id)["status"] == "paused")
    assert manager.status("quiet")["state"] == "deploying"
    assert manager.http.post(f"{ROOT}/quiet/rollouts/{id}/promote").status_code == 200
    ended = manager.over("quiet", id)
    assert ended["status"] == "succeeded"
    (watch,) = [step for step in ended["steps"] if step["name"] == "watch_canary_50"]
    assert watch["message"].startswith("promoted by hand: inconclusive: fewer than 50 requests on one side")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_canary_that_waits_survives_its_manager_and_is_judged_on(manager: Hostile, number: int) -> None:
    name, port = f"waits-{number}", free_port()
    manager.deployed(name, "1", port=port)
    steps = [{"weight": 50, "pause": "manual"}, {"weight": 100, "pause": "0s"}]

    def begun(version: str, **fields: Any) -> str:
        id = manager.begin(name, version, port=port, strategy="canary", canary={"steps": steps}, **fields)
        until("the pause", lambda: manager.rollout(name, id)["status"] == "paused")
        manager.end(number)
        manager.start()
        assert manager.rollout(name, id)["status"] == "paused"
        return id

    id = begun("2", mode="some-errors")
    with Load(port):
        ended = manager.over(name, id, 90)
    assert ended["status"] == "unwound", ended
    assert "fails more often than allowed" in ended["message"]
    id = begun("3")
    with Load(port) as load:
        assert manager.http.post(f"{ROOT}/{name}/rollouts/{id}/promote").status_code == 200
        assert manager.over(name, id)["status"] == "succeeded"
    assert set(load.answers) == {"200"}, load.answers
