"""What the contract says of rollouts, health and hooks, asked of a real manager in the middle of them."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.backends import free_port
from support.hostile import ROOT, Hostile, hostile_manager, until
from support.manager import Site, open_site
from support.manager import until as until_true


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


def site(manager: Hostile, version: str = "1") -> dict[str, Any]:
    return {"artifact_path": manager.site(version), "command": None}


@contextmanager
def held(manager: Hostile, name: str) -> Iterator[str]:
    """A hook that waits until the block ends."""
    go = manager.directory / f"{name}.go"
    try:
        yield f"touch {go}.here; while [ ! -e {go} ]; do sleep 0.02; done"
    finally:
        go.touch()


def until_here(manager: Hostile, name: str) -> None:
    until("the hook", (manager.directory / f"{name}.go.here").exists)


# ----------------------------------------------------------------------------------------------- status and health

#: replicas with the new version up and verified, before the commit: desired, ready and updated
IN_THE_MIDDLE = {"recreate": (3, 3, 3), "rolling": (3, 3, 3), "blue-green": (3, 6, 3), "canary": (3, 6, 3)}


@pytest.mark.parametrize("strategy", IN_THE_MIDDLE)
def test_in_the_middle_of_a_rollout_the_old_version_deploys_and_what_serves_is_counted(
    manager: Hostile, strategy: str
) -> None:
    name, port = f"middle-{strategy}", free_port()
    common: dict[str, Any] = {"port": port, "strategy": strategy, "replicas": 3}
    common["canary"] = {"steps": [{"weight": 100, "pause": "0s"}]}
    manager.deployed(name, "1", **common)
    with held(manager, name) as hook:
        id = manager.begin(name, "2", **common, post_deploy_hooks=[hook])
        until_here(manager, name)
        status = manager.status(name)
        assert (status["state"], status["version"], status["health"]) == ("deploying", "1", "healthy")
        desired, ready, updated = IN_THE_MIDDLE[strategy]
        counted = {"desired": desired, "ready": ready, "available": ready, "updated": updated}
        assert status["replicas"] == counted
        health = manager.health(name)
        assert health["overall"] == "healthy", health
        assert {key: component["status"] for key, component in health["components"].items()} == {
            "service": "healthy",
            "endpoint": "healthy",
            "deployment_files": "healthy",
        }
        # What depends on it is not held up, and not refused.
        manager.deployed(f"on-{name}", "1", **site(manager), dependencies=[name])
    assert manager.over(name, id)["status"] == "succeeded"
    assert manager.status(name)["replicas"] == {"desired": 3, "ready": 3, "available": 3, "updated": 3}


def test_files_in_the_middle_of_their_switch_are_healthy(manager: Hostile) -> None:
    manager.deployed("switch", "1", **site(manager))
    with held(manager, "switch") as hook:
        id = manager.begin("switch", "2", **site(manager, "2"), post_deploy_hooks=[hook])
        until_here(manager, "switch")
        health = manager.health("switch")
        assert health["overall"] == "healthy", health
        assert health["components"]["deployment_files"]["message"] == "current → releases/2"
    assert manager.over("switch", id)["status"] == "succeeded"


def test_health_has_a_component_for_the_service_the_endpoint_the_files_and_each_dependency(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("database", "1", **site(manager))
    manager.deployed("service", "1", **site(manager))
    manager.deployed(
        "parts", "1", health_check_url=f"http://localhost:{port}/health", dependencies=["database", "service"]
    )
    health = manager.health("parts")
    assert health["overall"] == "healthy"
    components = health["components"]
    assert list(components) == ["service", "endpoint", "deployment_files", "database", "dependency:service"]
    assert components["service"]["message"] == "1 of 1 instances run"
    assert [f":{port}/health" in check["message"] for check in components["endpoint"]["checks"]].count(True) >= 1
    assert len(components["endpoint"]["checks"]) >= 2
    assert "releases/1" in components["deployment_files"]["message"]
    assert components["dependency:service"]["message"] == "dependency service is healthy"
    manager.take_down("service")
    assert manager.health("parts")["overall"] == "degraded"


def test_health_of_what_never_served_has_its_components_too(manager: Hostile) -> None:
    manager.refused("never", "1", 500, "HOOK_FAILED", **site(manager), pre_deploy_hooks=["exit 1"])
    health = manager.health("never")
    assert health["overall"] == "unknown"
    assert {key: part["status"] for key, part in health["components"].items()} == {
        "service": "unknown",
        "endpoint": "unknown",
        "deployment_files": "unknown",
    }
    assert manager.status("never")["state"] == "failed"


# ----------------------------------------------------------------------------------------------- files only


class Switch(http.server.BaseHTTPRequestHandler):
    """Somebody else's service: answers with `status`."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def somebody_elses_service() -> Iterator[str]:
    Switch.status = 200
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Switch) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/up"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("strategy", ["recreate", "rolling", "blue-green", "canary"])
def test_the_health_check_url_of_files_only_is_polled_as_it_stands_and_decides(manager: Hostile, strategy: str) -> None:
    name = f"files-{strategy}"
    quick = {"interval": "100ms", "timeout": "1s", "deadline": "500ms", "healthy_threshold": 1}
    with somebody_elses_service() as url:
        common = {"health_check_url": url, "strategy": strategy, "health_check": quick}
        spec = manager.spec(name, "1", **site(manager, "1"), **common)
        report = manager.http.post(f"{ROOT}/validate", json=spec).json()
        assert report["valid"] is True
        assert any("nothing runs" in warning["message"] for warning in report["warnings"])
        manager.deployed(name, "1", **site(manager, "1"), **common)
        Switch.status = 503
        error = manager.refused(name, "2", 500, "HEALTH_CHECK_FAILED", **site(manager, "2"), **common)
        assert "503" in error["message"] + error["details"]["cause"]
        current = manager.data_dir / "apps" / name / "current/index.html"
        assert current.read_text() == "1"
        Switch.status = 200
        manager.until_state(name, "healthy", "healthy")
        checks = manager.health(name)["components"]["endpoint"]["checks"]
        assert [check["name"] for check in checks] == [f"GET {url}"]


# ----------------------------------------------------------------------------------------------- hooks


def test_hooks_run_in_order_in_the_new_release_and_stop_at_the_first_that_fails(manager: Hostile) -> None:
    said = manager.directory / "said"
    hooks = [f"pwd >> {said}", f"echo two >> {said}; exit 7", f"echo three >> {said}"]
    error = manager.refused("order", "1", 500, "HOOK_FAILED", **site(manager), pre_deploy_hooks=hooks)
    assert "hook 2" in error["message"]
    assert said.read_text().splitlines() == [str(manager.data_dir / "apps/order/releases/1"), "two"]


def test_a_hook_is_told_what_the_contract_says_and_its_output_is_in_step_and_log(manager: Hostile) -> None:
    out = manager.directory / "told"
    manager.deployed("told", "1", **site(manager), environment="staging")
    result = manager.deployed(
        "told", "2", **site(manager, "2"), environment="staging", strategy="rolling",
        configuration={"COLOUR": "blue"}, pre_deploy_hooks=[f"env > {out}; wc -c; echo said so"],
    )  # fmt: skip
    told = dict(line.split("=", 1) for line in out.read_text().splitlines())
    assert {key: value for key, value in told.items() if key.startswith("DEPLOYMENT_")} == {
        "DEPLOYMENT_NAME": "told",
        "DEPLOYMENT_VERSION": "2",
        "DEPLOYMENT_PREVIOUS_VERSION": "1",
        "DEPLOYMENT_ENVIRONMENT": "staging",
        "DEPLOYMENT_STRATEGY": "rolling",
        "DEPLOYMENT_RELEASE_DIR": str(manager.data_dir / "apps/told/releases/2"),
        "DEPLOYMENT_ROLLOUT_ID": result["rollout_id"],
        "DEPLOYMENT_HOOK": "pre_deploy",
    }
    assert told["COLOUR"] == "blue"
    (step,) = [step for step in result["steps"] if step["name"] == "pre_deploy_hooks"]
    # Its standard input is closed: there was nothing to count.
    assert step["message"].splitlines()[1:] == ["0", "said so"]
    logged = [path.read_text() for path in (manager.data_dir / "logs/told").iterdir()]
    assert any("said so" in text for text in logged)


# ----------------------------------------------------------------------------------------------- exactly once


async def test_a_key_opens_one_rollout_wherever_the_manager_is_killed_meanwhile(tmp_path: Path) -> None:
    async with open_site(tmp_path, replicas=1) as site:
        for write in range(1, 7):
            name, headers = f"once-{write}", {"Idempotency-Key": f"key-{write}"}
            body = site.spec("1.0", "recreate", name=name, command=None, health_check_url="")
            site.light_fuse(write, "committed")
            with pytest.raises(httpx2.HTTPError):
                await post(site, body, headers)
            await until_true(lambda: not site.manager.alive, "the manager is dead")
            await site.restart()
            answers = [await post(site, body, headers) for _ in range(2)]
            # Before its rollout was open it is a new request; from then on the rollout is what it is answered with.
            assert [answer.status_code for answer in answers] in ([201, 201], [500, 500]), answers[0].text
            assert (await site.client.rollouts(name)).total == 1


async def post(site: Site, body: dict[str, Any], headers: dict[str, str]) -> httpx2.Response:
    url = json.loads((site.data / "server.json").read_text())["url"]
    token = (site.data / "admin.token").read_text().strip()
    async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
        return await client.post(ROOT, json=body, headers={"Authorization": f"Bearer {token}", **headers})
