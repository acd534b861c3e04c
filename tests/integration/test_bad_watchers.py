"""Who watches a rollout over the WebSocket sees all of it, in order, whenever he comes, and its end exactly once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from support.backends import free_port
from support.hostile import ROOT, Hostile, ask, hostile_manager, until


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


def socket(manager: Hostile, name: str, query: str = "", token: str | None = None) -> ClientConnection:
    return connect(
        f"ws://{manager.listen}{ROOT}/{name}/progress{query}",
        additional_headers={"Authorization": f"Bearer {manager.token if token is None else token}"},
        open_timeout=15,
        close_timeout=0.5,
    )


def messages(connection: ClientConnection, seconds: float = 30) -> list[dict[str, Any]]:
    """All that comes until the server closes, which it has to do by itself."""
    found = []
    try:
        while True:
            found.append(json.loads(connection.recv(timeout=seconds)))
    except ConnectionClosed:
        return found


def check_whole(seen: list[dict[str, Any]], outcome: str) -> None:
    """A rollout from its first message to its last."""
    assert [message["seq"] for message in seen] == list(range(1, len(seen) + 1))
    assert len({message["rollout_id"] for message in seen}) == 1
    pcts = [message["progress_pct"] for message in seen]
    assert pcts == sorted(pcts)
    assert [pct for pct in pcts if pct == 100] == [100]
    assert (pcts[-1], seen[-1]["status"]) == (100, outcome)
    times = [message["timestamp"] for message in seen]
    assert times == sorted(times)
    for message in seen:
        assert message["status"] in ("running", "success", "failed", "warning")
        assert message["message"], message
        assert message["step"], message


def site(manager: Hostile, version: str = "1") -> dict[str, Any]:
    return {"artifact_path": manager.site(version), "command": None}


def test_who_comes_before_while_and_after_sees_the_same(manager: Hostile) -> None:
    go = manager.directory / "watch.go"
    found: dict[str, list[dict[str, Any]]] = {}
    with socket(manager, "watched") as early:
        reader = threading.Thread(target=lambda: found.update(early=messages(early)))
        reader.start()
        id = manager.begin(
            "watched", "1", **site(manager), pre_deploy_hooks=[f"while [ ! -e {go} ]; do sleep 0.02; done"]
        )
        until("the hook", lambda: "pre_deploy_hooks" in [s["name"] for s in manager.rollout("watched", id)["steps"]])
        with socket(manager, "watched") as middle:
            json.loads(middle.recv(timeout=10))
            go.touch()
            found["middle"] = messages(middle)
        reader.join(30)
    with socket(manager, "watched", f"?rollout={id}") as late:
        found["late"] = messages(late)
    check_whole(found["early"], "success")
    check_whole(found["late"], "success")
    assert found["early"] == found["late"]
    assert found["middle"] == found["late"][1:]
    with socket(manager, "watched", f"?rollout={id}&after=3") as resumed:
        assert messages(resumed) == found["late"][3:]


def test_a_rollout_that_is_undone_ends_in_failed_at_100_once(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("undone", "1", port=port)
    with socket(manager, "undone", "?follow=1"):
        id = manager.begin("undone", "2", port=port, mode="exits", strategy="recreate")
        with socket(manager, "undone", f"?rollout={id}") as watching:
            seen = messages(watching)
    check_whole(seen, "failed")
    assert any(message["step"].startswith("undo ") for message in seen)
    assert any("no configuration file" in message["message"] for message in seen)
    assert "Everything was undone" in seen[-1]["message"]
    assert ask(port) == "200 1"


def test_a_held_rollout_and_an_aborted_one_end_in_failed(manager: Hostile) -> None:
    id = manager.begin("kept", "1", **site(manager), pre_deploy_hooks=["exit 1"], rollback_on_failure=False)
    with socket(manager, "kept", f"?rollout={id}") as watching:
        check_whole(messages(watching), "failed")
    id = manager.begin("kept", "1", **site(manager), pre_deploy_hooks=["sleep 3333"])
    with socket(manager, "kept", f"?rollout={id}") as watching:
        json.loads(watching.recv(timeout=10))
        manager.http.post(f"{ROOT}/kept/rollouts/{id}/abort", json={"reason": "enough"})
        seen = messages(watching)
    assert (seen[-1]["status"], seen[-1]["progress_pct"]) == ("failed", 100)
    assert "enough" in seen[-1]["message"]


def test_a_warning_is_one_and_the_rollout_succeeds(manager: Hostile) -> None:
    id = manager.begin("warned", "1", **site(manager), post_deploy_hooks=["echo oh; exit 1"])
    with socket(manager, "warned", f"?rollout={id}") as watching:
        seen = messages(watching)
    check_whole(seen, "success")
    assert [m["step"] for m in seen if m["status"] == "warning"] == ["post_deploy_hooks"]


@pytest.mark.parametrize(
    ("path", "token", "code"),
    [("watched", "wrong", 4401), ("UPPER", None, 4404), ("watched", None, 4400)],
)
def test_who_may_not_watch_gets_the_envelope_and_a_close_code(
    manager: Hostile, path: str, token: str | None, code: int
) -> None:
    if not manager.http.get(f"{ROOT}/watched").is_success:
        manager.deployed("watched", "1", **site(manager))
    query = "?after=x" if code == 4400 else ""
    with socket(manager, path, query, token) as refused:
        error = json.loads(refused.recv(timeout=10))["error"]
        assert set(error) == {"code", "message", "details", "timestamp"}
        with pytest.raises(ConnectionClosed):
            refused.recv(timeout=10)
        assert refused.close_code == code


def test_a_reader_that_never_reads_slows_nothing(manager: Hostile) -> None:
    with socket(manager, "slow") as _silent:
        for version in ("1", "2", "3"):
            manager.deployed("slow", version, **site(manager, version))
    assert manager.status("slow")["version"] == "3"
