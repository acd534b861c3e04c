"""Hooks that hang, flood, fail and leave things behind."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from support.backends import free_port
from support.hostile import Hostile, ask, hostile_manager, processes, until


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


def site(manager: Hostile, version: str = "1") -> dict[str, object]:
    return {"artifact_path": manager.site(version), "command": None}


def test_a_hanging_hook_is_killed_at_its_limit_with_its_children(manager: Hostile) -> None:
    began = time.monotonic()
    hook = "export MARK=hanging-hook; sleep 3333 & setsid sleep 3333 & echo started; sleep 3333"
    error = manager.refused(
        "hang", "1", 500, "HOOK_FAILED", **site(manager), pre_deploy_hooks=[hook], hook_timeout="500ms"
    )
    assert time.monotonic() - began < 20
    assert "did not end within 500ms and was killed" in error["message"]
    assert error["details"]["cause"] == "started"
    assert error["details"]["rolled_back"] is True
    assert not processes("MARK=hanging-hook")


def test_what_a_hook_leaves_running_is_ended_with_it(manager: Hostile) -> None:
    manager.deployed(
        "litter", "1", **site(manager), pre_deploy_hooks=["MARK=litter-hook nohup setsid sleep 3333 >/dev/null 2>&1 &"]
    )
    assert not processes("MARK=litter-hook")


def test_a_flooding_hook_keeps_the_answer_small_and_the_end_of_its_output(manager: Hostile) -> None:
    answer = manager.deploy(
        "flood", "1", **site(manager), pre_deploy_hooks=["head -c 30000000 /dev/zero | tr '\\0' x; echo; echo the end"]
    )
    assert answer.status_code == 201, answer.text[-2000:]
    assert len(answer.content) < 100_000
    assert "the end" in answer.text
    assert sum(path.stat().st_size for path in manager.data_dir.rglob("*") if path.is_file()) < 30_000_000


def test_output_that_is_no_text_harms_nothing(manager: Hostile) -> None:
    hook = r"printf 'a\000b\377\033[31mred\n'; exit 4"
    error = manager.refused("binary", "1", 500, "HOOK_FAILED", **site(manager), pre_deploy_hooks=[hook])
    assert "exited with code 4" in error["message"]
    assert manager.status("binary")["state"] == "failed"


def test_a_failing_pre_hook_undoes_everything_and_what_served_serves(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("pre", "1", port=port)
    error = manager.refused("pre", "2", 500, "HOOK_FAILED", port=port, pre_deploy_hooks=["true", "echo no >&2; exit 3"])
    assert "pre_deploy hook 2 (echo no >&2; exit 3) exited with code 3" in error["message"]
    assert (error["details"]["operation"], error["details"]["cause"]) == ("pre_deploy_hooks", "no")
    failed = next(step for step in error["details"]["steps"] if step["status"] == "failed")
    assert failed["error"].endswith("\nno")
    assert (ask(port), manager.status("pre")["state"]) == ("200 1", "healthy")
    assert not (manager.data_dir / "apps/pre/releases/2").exists()


def test_a_failing_post_hook_is_a_warning_unless_it_is_to_roll_back(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("post", "1", port=port)
    result = manager.deployed("post", "2", port=port, post_deploy_hooks=["echo nobody told; exit 1"])
    failed = [step for step in result["steps"] if step["status"] == "failed"]
    assert [step["name"] for step in failed] == ["post_deploy_hooks"]
    assert "nobody told" in failed[0]["error"]
    assert ask(port) == "200 2"
    assert "warning: post_deploy_hooks failed" in manager.events("post")

    error = manager.refused(
        "post", "3", 500, "HOOK_FAILED", port=port, post_deploy_hooks=["exit 1"], post_deploy_failure="rollback"
    )
    assert error["details"]["operation"] == "post_deploy_hooks"
    assert ask(port) == "200 2"


def test_a_hook_gets_its_environment_and_not_the_manager_s(manager: Hostile) -> None:
    out = manager.directory / "hook.env"
    manager.deployed(
        "env", "1", **site(manager), strategy="rolling", configuration={"COLOUR": "blue"},
        post_deploy_hooks=[f"env > {out}; pwd >> {out}"],
    )  # fmt: skip
    text = out.read_text()
    release = manager.data_dir / "apps/env/releases/1"
    for line in (
        "DEPLOYMENT_NAME=env", "DEPLOYMENT_VERSION=1", "DEPLOYMENT_PREVIOUS_VERSION=", "DEPLOYMENT_STRATEGY=rolling",
        "DEPLOYMENT_HOOK=post_deploy", f"DEPLOYMENT_RELEASE_DIR={release}", "COLOUR=blue", str(release),
    ):  # fmt: skip
        assert line in text.splitlines(), line
    assert "LONGSHORE_DATA_DIR" not in text
    assert manager.token not in text


def test_an_abort_kills_a_running_hook_at_once(manager: Hostile) -> None:
    id = manager.begin("abort", "1", **site(manager), pre_deploy_hooks=["MARK=abort-hook sleep 3333"])
    until("the hook", lambda: processes("MARK=abort-hook"))
    answer = manager.http.post(f"/api/v1/deployments/abort/rollouts/{id}/abort", json={"reason": "wrong build"})
    assert answer.json()["status"] == "unwound"
    assert answer.json()["error"]["code"] == "DEPLOYMENT_ABORTED"
    assert "wrong build" in answer.json()["message"]
    assert not processes("MARK=abort-hook")
