"""Redeploys that change everything, in each strategy: what serves, what is counted and what is kept stays true."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from support.backends import free_port
from support.hostile import ROOT, Hostile, ask, error_of, hostile_manager, processes, until

STRATEGIES = ("recreate", "rolling", "blue-green", "canary")
AT_ONCE = {"steps": [{"weight": 50, "pause": "0s"}, {"weight": 100, "pause": "0s"}]}


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


def running(manager: Hostile, name: str) -> int:
    """How many processes of a deployment there really are."""
    return len(processes(f"WHOSE={manager.directory.name}-{name}\0"))


def whose(manager: Hostile, name: str, **more: str) -> dict[str, str]:
    return {"WHOSE": f"{manager.directory.name}-{name}", **more}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_replicas_go_from_1_to_4_to_2(manager: Hostile, strategy: str) -> None:
    name, port = f"scale-{strategy}", free_port()
    for number, replicas in enumerate((1, 4, 2), start=1):
        manager.deployed(
            name, str(number), port=port, strategy=strategy, replicas=replicas, canary=AT_ONCE,
            configuration=whose(manager, name),
        )  # fmt: skip
        counted = {"desired": replicas, "available": replicas, "ready": replicas, "updated": replicas}
        assert manager.status(name)["replicas"] == counted
        assert running(manager, name) == replicas
        assert ask(port) == f"200 {number}"
        assert manager.health(name)["overall"] == "healthy"
    manager.take_down(name)
    assert running(manager, name) == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_version_again_restarts_it_with_other_replicas_and_configuration(
    manager: Hostile, strategy: str
) -> None:
    name, port = f"again-{strategy}", free_port()
    common = {"port": port, "strategy": strategy, "canary": AT_ONCE}
    manager.deployed(name, "1", **common, configuration=whose(manager, name, COLOUR="blue"))
    before = ask(port, "/pid")
    result = manager.deployed(name, "1", **common, configuration=whose(manager, name, COLOUR="blue"))
    assert result["previous_version"] == "1"
    assert ask(port, "/pid") != before
    manager.deployed(name, "1", **common, replicas=3, configuration=whose(manager, name, COLOUR="red"))
    assert ask(port, "/env/COLOUR") == "200 red"
    assert running(manager, name) == 3
    assert manager.status(name)["replicas"] == {"desired": 3, "available": 3, "ready": 3, "updated": 3}
    assert manager.status(name)["configuration"]["COLOUR"] == "red"
    error_of(manager.rollback(name), 400, "BACKUP_NOT_FOUND")
    failed = manager.refused(
        name, "1", 500, "HEALTH_CHECK_FAILED", **common, mode="exits", configuration=whose(manager, name, COLOUR="bad")
    )
    assert failed["details"]["rolled_back"] is True
    assert ask(port, "/env/COLOUR") == "200 red"
    assert running(manager, name) == 3
    assert manager.status(name)["state"] == "healthy"
    manager.take_down(name)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_worker_without_a_port_is_replaced(manager: Hostile, strategy: str) -> None:
    name = f"worker-{strategy}"
    common = {"mode": "worker", "strategy": strategy, "canary": AT_ONCE, "configuration": whose(manager, name)}
    manager.deployed(name, "1", **common, replicas=2)
    manager.deployed(name, "2", **common, replicas=2)
    assert running(manager, name) == 2
    assert manager.status(name)["replicas"] == {"desired": 2, "available": 2, "ready": 2, "updated": 2}
    # A worker has no answers to count: staying up for (healthy_threshold - 1) pauses is its check.
    slow = {"interval": "1s", "timeout": "1s", "deadline": "10s", "healthy_threshold": 3}
    error = manager.refused(
        name, "3", 500, "HEALTH_CHECK_FAILED", **{**common, "mode": "exits"}, replicas=2, health_check=slow
    )
    assert "code 3" in error["message"]
    assert (running(manager, name), manager.status(name)["version"]) == (2, "2")
    assert manager.rollback(name).json()["version"] == "1"
    assert running(manager, name) == 2
    manager.take_down(name)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_site_of_files_is_switched(manager: Hostile, strategy: str) -> None:
    name = f"site-{strategy}"
    current = manager.data_dir / "apps" / name / "current/index.html"
    for version in ("1", "2"):
        manager.deployed(name, version, artifact_path=manager.site(version), command=None, strategy=strategy)
        assert current.read_text() == version
    manager.refused(
        name, "3", 500, "HOOK_FAILED", artifact_path=manager.site("3"), command=None, strategy=strategy,
        post_deploy_hooks=["exit 1"], post_deploy_failure="rollback",
    )  # fmt: skip
    assert current.read_text() == "2"
    assert manager.rollback(name).json()["version"] == "1"
    assert current.read_text() == "1"
    status = manager.status(name)
    assert (status["state"], status["health"], status["replicas"]["desired"]) == ("healthy", "healthy", 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_site_becomes_an_application_and_a_site_again(manager: Hostile, strategy: str) -> None:
    name, port = f"both-{strategy}", free_port()
    manager.deployed(name, "1", artifact_path=manager.site("1"), command=None, strategy=strategy)
    manager.deployed(name, "2", strategy=strategy, port=port, canary=AT_ONCE, configuration=whose(manager, name))
    assert ask(port) == "200 2"
    assert manager.rollback(name).json()["version"] == "1"
    until("its end", lambda: running(manager, name) == 0)
    assert manager.status(name)["replicas"]["desired"] == 0
    assert manager.rollback(name, "2").json()["version"] == "2"
    assert ask(port) == "200 2"
    manager.take_down(name)


def test_a_changed_health_path_is_what_is_probed(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("path", "1", health_check_url=f"http://localhost:{port}/health")
    error = manager.refused(
        "path", "2", 500, "HEALTH_CHECK_FAILED", mode="unhealthy", health_check_url=f"http://localhost:{port}/health",
        health_check={"interval": "100ms", "timeout": "1s", "deadline": "2s", "healthy_threshold": 1},
    )  # fmt: skip
    assert "/health" in error["message"]
    manager.deployed("path", "2", mode="unhealthy", health_check_url=f"http://localhost:{port}/ready")
    assert manager.until_state("path", "healthy", "healthy")["version"] == "2"
    assert manager.rollback("path").json()["version"] == "1"
    checks = manager.health("path")["components"]["endpoint"]["checks"]
    assert all("/health" in check["message"] for check in checks)


def test_the_same_version_with_other_content_is_refused_and_the_environment_stays(manager: Hostile) -> None:
    manager.deployed("fixed", "1", artifact_path=manager.site("one"), command=None)
    error = manager.refused(
        "fixed", "1", 400, "INVALID_DEPLOYMENT_SPEC", artifact_path=manager.site("two"), command=None
    )
    assert "versions are immutable" in str(error)
    error = manager.refused(
        "fixed", "2", 400, "INVALID_DEPLOYMENT_SPEC", artifact_path=manager.site("two"), command=None,
        environment="staging",
    )  # fmt: skip
    assert "stays there" in str(error)
    # A version that failed and was undone may be built anew.
    hooks = {"pre_deploy_hooks": ["exit 1"]}
    manager.refused("fixed", "2", 500, "HOOK_FAILED", artifact_path=manager.site("two"), command=None, **hooks)
    manager.deployed("fixed", "2", artifact_path=manager.site("three"), command=None)


def test_rollbacks_that_cannot_be_say_why(manager: Hostile) -> None:
    error_of(manager.rollback("nobody"), 404, "DEPLOYMENT_NOT_FOUND")
    plain: dict[str, Any] = {"command": None}
    manager.deployed("back", "1", artifact_path=manager.site("b1"), **plain)
    assert "nothing to go back to" in str(error_of(manager.rollback("back"), 400, "BACKUP_NOT_FOUND"))
    manager.refused("back", "bad", 500, "HOOK_FAILED", artifact_path=manager.site("bb"), pre_deploy_hooks=["exit 1"])
    for version, said in (("9", "never deployed"), ("bad", "never"), ("../x", "cannot be the version"), (" ", "")):
        error = error_of(manager.rollback("back", version), 400, "BACKUP_NOT_FOUND")
        assert said in error["message"] + str(error["details"]), version
    error = error_of(manager.rollback("back", "1"), 400, "INVALID_DEPLOYMENT_SPEC")
    assert "serves 1 already" in error["message"]
    for number in range(2, 9):
        manager.deployed("back", str(number), artifact_path=manager.site(f"b{number}"), **plain)
    error = error_of(manager.rollback("back", "1"), 400, "BACKUP_NOT_FOUND")
    assert "pruned" in error["message"] + str(error["details"])
    assert len(list((manager.data_dir / "apps/back/releases").iterdir())) == 5
    assert manager.rollback("back", "").json()["version"] == "7"
    assert manager.rollback("back").json()["version"] == "6"


def test_dependencies_unknown_unhealthy_and_in_a_cycle(manager: Hostile) -> None:
    site: dict[str, Any] = {"artifact_path": manager.site("d"), "command": None}
    port = free_port()
    manager.refused("web", "1", 400, "DEPENDENCY_FAILED", **site, dependencies=["database"])
    assert manager.http.get(f"{ROOT}/web").status_code == 404
    manager.deployed("database", "1", port=port, health_check_url=f"http://localhost:{port}/health")
    manager.deployed("web", "1", **site, dependencies=["database"])
    assert manager.health("web")["components"]["database"]["status"] == "healthy"
    error = manager.refused("database", "2", 400, "INVALID_DEPLOYMENT_SPEC", **site, dependencies=["web"])
    assert "database → web → database" in str(error["details"])
    manager.refused("web", "2", 400, "INVALID_DEPLOYMENT_SPEC", **site, dependencies=["web"])

    # It goes on running, but is not healthy any more.
    pid = int(ask(port, "/pid").split()[1])
    os.kill(pid, signal.SIGSTOP)
    try:
        manager.until_state("database", "unhealthy", "unhealthy")
        error = manager.refused(
            "web", "2", 500, "DEPENDENCY_FAILED", **{**site, "artifact_path": manager.site("d2")},
            dependencies=["database"],
        )  # fmt: skip
        assert "database" in error["message"]
        assert "unhealthy" in error["message"]
        assert manager.health("web")["overall"] in ("degraded", "unhealthy")
        assert manager.status("web")["version"] == "1"
    finally:
        os.kill(pid, signal.SIGCONT)
    manager.until_state("database", "healthy", "healthy")
    manager.deployed("web", "2", **{**site, "artifact_path": manager.site("d2")}, dependencies=["database"])


def test_a_rollback_that_fails_leaves_what_serves(manager: Hostile) -> None:
    port, flag = free_port(), manager.directory / "rollback.flag"
    manager.deployed("stay", "1", mode="loop", port=port, configuration={"FLAG": str(flag)})
    manager.deployed("stay", "2", port=port)
    flag.touch()
    error = error_of(manager.rollback("stay"), 500, "ROLLBACK_FAILED")
    assert error["details"]["rolled_back"] is True
    assert "HEALTH_CHECK_FAILED" in str(error["details"])
    assert ask(port) == "200 2"
    assert manager.status("stay")["state"] == "healthy"
