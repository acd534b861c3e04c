"""The API over the real service: a manager in this process, files-only and running deployments, nothing faked."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from longshore.app import Manager, build
from longshore.settings import RateLimits, Settings
from support.api_client import until

ROOT = "/api/v1/deployments"
LOOP = "import time\nprint('up', flush=True)\nwhile True: time.sleep(0.05)\n"


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    settings = Settings(data_dir=tmp_path / "data", rate_limits=RateLimits(deploy=0, status=0, list=0))
    async with build(settings) as manager:
        yield manager


@pytest.fixture
async def client(manager: Manager) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(manager.app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {manager.token}"}
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://localhost", headers=headers, timeout=60
    ) as client:
        yield client


def site(tmp_path: Path, text: str) -> str:
    path = tmp_path / f"site-{text}"
    path.mkdir(exist_ok=True)
    (path / "index.html").write_text(text)
    return str(path)


def body(tmp_path: Path, version: str, **more: Any) -> dict[str, Any]:
    return {"name": "site", "version": version, "artifact_path": site(tmp_path, version), **more}


async def test_a_deployment_lives_its_whole_life_through_the_api(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    first = await client.post(ROOT, json=body(tmp_path, "1.0", configuration={"API_KEY": "hunter2"}))
    assert (first.status_code, first.json()["success"], first.json()["previous_version"]) == (201, True, "")
    assert all(step["status"] == "completed" for step in first.json()["steps"])
    second = await client.post(ROOT, json=body(tmp_path, "2.0"))
    assert second.json()["previous_version"] == "1.0"

    status = await client.get(f"{ROOT}/site")
    assert (status.json()["version"], status.json()["state"], status.json()["health"]) == ("2.0", "healthy", "healthy")
    assert status.json()["configuration"] == {"API_KEY": "********"}

    back = await client.post(f"{ROOT}/site/rollback", json={})
    assert (back.status_code, back.json()["version"]) == (200, "1.0")
    assert (await client.get(f"{ROOT}/site")).json()["version"] == "1.0"

    releases = (await client.get(f"{ROOT}/site/releases")).json()["releases"]
    assert {(row["version"], row["current"]) for row in releases} == {("1.0", True), ("2.0", False)}
    rollouts = (await client.get(f"{ROOT}/site/rollouts")).json()
    assert [(row["kind"], row["progress_pct"]) for row in rollouts["rollouts"]] == [
        ("rollback", 100),
        ("deploy", 100),
        ("deploy", 100),
    ]
    assert (await client.get(f"{ROOT}/site/health")).status_code == 200
    assert (await client.get(ROOT)).json()["total"] == 1
    assert (await client.get("/metrics")).status_code == 200

    assert (await client.delete(f"{ROOT}/site")).status_code == 200
    assert (await client.get(f"{ROOT}/site")).status_code == 404
    assert (await client.get(ROOT)).json()["total"] == 0


async def test_what_cannot_be_deployed_is_refused_by_deploy_validate_and_plan_alike(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    missing = {"name": "site", "version": "1.0", "artifact_path": str(tmp_path / "nope")}
    for path in ("", "/plan"):
        answer = await client.post(f"{ROOT}{path}", json=missing)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "ARTIFACT_NOT_FOUND")
    report = await client.post(f"{ROOT}/validate", json=missing)
    assert (report.status_code, report.json()["valid"]) == (400, False)
    assert report.json()["issues"][0]["field"] == "artifact_path"


async def test_an_unknown_dependency_is_400(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    answer = await client.post(ROOT, json=body(tmp_path, "1.0", dependencies=["nope"]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "DEPENDENCY_FAILED")


async def test_every_problem_of_the_shape_comes_from_the_real_service_too(client: httpx2.AsyncClient) -> None:
    answer = await client.post(ROOT, json={"nam": "x", "replicas": "3"})
    fields = {issue["field"] for issue in answer.json()["error"]["details"]["issues"]}
    assert {"nam", "replicas", "name", "version", "artifact_path"} <= fields


async def test_a_plan_shows_steps_and_changes(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    await client.post(ROOT, json=body(tmp_path, "1.0"))
    plan = (await client.post(f"{ROOT}/plan", json=body(tmp_path, "2.0"))).json()
    assert plan["steps"]
    assert {"field": "version", "from": "1.0", "to": "2.0"} in plan["changes"]


async def test_a_failing_hook_is_500_HOOK_FAILED_and_what_served_still_serves(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    await client.post(ROOT, json=body(tmp_path, "1.0"))
    answer = await client.post(ROOT, json=body(tmp_path, "2.0", pre_deploy_hooks=["echo broken >&2; exit 3"]))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["rolled_back"]) == (500, "HOOK_FAILED", True)
    assert "broken" in error["details"]["cause"]
    assert (await client.get(f"{ROOT}/site")).json()["version"] == "1.0"


async def test_a_failed_rollback_target_is_400_BACKUP_NOT_FOUND(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    await client.post(ROOT, json=body(tmp_path, "1.0"))
    for version in ("0.9", ""):
        answer = await client.post(f"{ROOT}/site/rollback", json={"version": version})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BACKUP_NOT_FOUND")


async def test_a_second_deploy_meanwhile_is_409_and_an_abort_ends_the_first(
    client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    await client.post(ROOT, json=body(tmp_path, "1.0"))
    slow = body(tmp_path, "2.0", pre_deploy_hooks=["sleep 60"])
    begun = await client.post(ROOT, json=slow, headers={"Prefer": "respond-async"})
    assert (begun.status_code, begun.json()["status"]) == (202, "running")
    answer = await client.post(ROOT, json=body(tmp_path, "3.0"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "DEPLOYMENT_IN_PROGRESS")
    assert answer.json()["error"]["details"]["rollout_id"] == begun.json()["id"]
    aborted = await client.post(f"{begun.headers['location']}/abort", json={"reason": "enough"})
    assert (aborted.json()["status"], aborted.json()["error"]["code"]) == ("unwound", "DEPLOYMENT_ABORTED")
    late = await client.post(f"{begun.headers['location']}/pause")
    assert late.status_code == 400


async def test_an_idempotency_key_deploys_once(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    headers = {"Idempotency-Key": "k-1"}
    one, two = [await client.post(ROOT, json=body(tmp_path, "1.0"), headers=headers) for _ in range(2)]
    assert (one.status_code, one.json()) == (two.status_code, two.json())
    other = await client.post(ROOT, json=body(tmp_path, "2.0"), headers=headers)
    assert other.status_code == 400


async def test_a_waiting_deploy_is_answered_when_the_manager_stops(
    manager: Manager, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    slow = body(tmp_path, "1.0", pre_deploy_hooks=["sleep 60"])
    waiting = asyncio.create_task(client.post(ROOT, json=slow))
    await until(lambda: manager.world.store.open_rollouts())
    manager.app.state.stopping.set()
    answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert answer.json()["error"]["details"]["rollout_id"]


async def test_the_output_of_a_running_deployment_can_be_read(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    program = tmp_path / "app.py"
    program.write_text(LOOP)
    asked = {
        "name": "loop",
        "version": "1.0",
        "artifact_path": str(program),
        "command": f"exec {sys.executable} app.py",
        "health_check": {"min_ready": 0, "interval": 0.1},
    }
    assert (await client.post(ROOT, json=asked)).status_code == 201
    status = (await client.get(f"{ROOT}/loop")).json()
    assert (status["replicas"]["ready"], status["health"]) == (1, "healthy")
    lines: list[Any] = []

    async def look() -> None:
        while not lines:
            lines.extend((await client.get(f"{ROOT}/loop/logs")).json()["lines"])

    async with asyncio.timeout(10):
        await look()
    assert lines[0]["line"] == "up"
    assert (await client.delete(f"{ROOT}/loop")).status_code == 200
