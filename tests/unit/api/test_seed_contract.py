"""api-contract-seed, line by line: each promise of the user's own document is a test of that name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from longshore.errors import (
    ArtifactNotFound,
    BackupNotFound,
    DependencyUnknown,
    Issue,
)
from longshore.model import Failure
from support.api_client import app_of, client_of
from support.fake_service import FakeService, spec

ROOT = "/api/v1/deployments"


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
async def client(service: FakeService) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app_of(service)) as client:
        yield client


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    """The error of an answer, whose envelope has exactly the seed's form."""
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details", "timestamp"}
    assert {"deployment", "operation", "cause"} <= set(body["error"]["details"])
    assert body["error"]["timestamp"].endswith("Z")
    error: dict[str, Any] = body["error"]
    return error


# ----------------------------------------------------------------------------------------------- POST deployments


async def test_deploy_application_is_201_with_the_result(client: httpx2.AsyncClient) -> None:
    answer = await client.post(ROOT, json=spec())
    assert answer.status_code == 201
    body = answer.json()
    seed = {"version", "start_time", "end_time", "duration", "success", "message", "previous_version", "steps"}
    assert seed <= set(body)
    assert (body["version"], body["success"], body["duration"], body["previous_version"]) == ("1.0", True, "1.5s", "")
    assert "error" not in body


async def test_the_steps_of_a_deploy_have_the_seeds_fields(client: httpx2.AsyncClient) -> None:
    (step,) = (await client.post(ROOT, json=spec())).json()["steps"]
    assert {"name", "status", "message", "start_time", "end_time", "error"} <= set(step)
    assert step["status"] == "completed"


async def test_the_second_deploy_names_the_previous_version(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec())
    assert (await client.post(ROOT, json=spec(version="2.0"))).json()["previous_version"] == "1.0"


async def test_every_field_of_the_seeds_request_is_taken(client: httpx2.AsyncClient, service: FakeService) -> None:
    body = spec(
        environment="production",
        strategy="blue-green",
        working_directory="/srv/shop",
        service_name="web",
        health_check_url="http://localhost:8080/up",
        rollback_on_failure=True,
        dependencies=["database"],
        pre_deploy_hooks=["make"],
        post_deploy_hooks=["warm"],
    )
    assert (await client.post(ROOT, json=body)).status_code == 201
    assert set(service.requests[0].fields) == set(body)


async def test_deploy_with_an_invalid_specification_is_400_INVALID_DEPLOYMENT_SPEC(client: httpx2.AsyncClient) -> None:
    answer = await client.post(ROOT, json={"name": "shop", "version": 1})
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "INVALID_DEPLOYMENT_SPEC")
    assert {issue["field"] for issue in error["details"]["issues"]} == {"version", "artifact_path"}


async def test_deploy_while_another_runs_is_409_DEPLOYMENT_IN_PROGRESS(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.instant = False
    await client.post(ROOT, json=spec(), headers={"Prefer": "respond-async"})
    answer = await client.post(ROOT, json=spec(version="2.0"))
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (409, "DEPLOYMENT_IN_PROGRESS")
    assert error["details"]["rollout_id"] == "r-1"
    assert error["details"]["started_by"] == "admin"


@pytest.mark.parametrize("code", ["DEPLOYMENT_FAILED", "HEALTH_CHECK_FAILED", "DEPENDENCY_FAILED", "HOOK_FAILED"])
async def test_a_failed_deploy_is_500_with_the_code_of_what_failed(
    client: httpx2.AsyncClient, service: FakeService, code: str
) -> None:
    service.failure = Failure(code, "it was not ready", "health_check", "GET /up: 503")
    answer = await client.post(ROOT, json=spec())
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["message"]) == (500, code, "it was not ready")
    details = error["details"]
    assert (details["deployment"], details["operation"], details["cause"]) == ("shop", "health_check", "GET /up: 503")
    assert (details["rollout_id"], details["rolled_back"]) == ("r-1", True)
    assert details["steps"][0]["status"] == "failed"


async def test_deploy_of_a_missing_artifact_is_400_ARTIFACT_NOT_FOUND(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.raises["deploy"] = ArtifactNotFound("There is no /a.", deployment="shop")
    answer = await client.post(ROOT, json=spec())
    assert (answer.status_code, error_of(answer)["code"]) == (400, "ARTIFACT_NOT_FOUND")


async def test_deploy_with_an_unknown_dependency_is_400_DEPENDENCY_FAILED(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.raises["deploy"] = DependencyUnknown(issues=[Issue("dependencies.0", "is no deployment")])
    answer = await client.post(ROOT, json=spec(dependencies=["nope"]))
    assert (answer.status_code, error_of(answer)["code"]) == (400, "DEPENDENCY_FAILED")


# ----------------------------------------------------------------------------------------------- POST rollback


async def test_rollback_is_200_with_message_version_and_timestamp(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec())
    await client.post(ROOT, json=spec(version="2.0"))
    answer = await client.post(f"{ROOT}/shop/rollback", json={"version": "1.0"})
    body = answer.json()
    assert answer.status_code == 200
    assert (body["message"], body["version"]) == ("Rollback completed successfully", "1.0")
    assert body["timestamp"].endswith("Z")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"version": ""}', b'{"version": null}'])
async def test_rollback_without_a_version_goes_to_the_previous_one(client: httpx2.AsyncClient, content: bytes) -> None:
    await client.post(ROOT, json=spec())
    await client.post(ROOT, json=spec(version="2.0"))
    assert (await client.post(f"{ROOT}/shop/rollback", content=content)).json()["version"] == "1.0"


async def test_rollback_of_an_unknown_deployment_is_404_DEPLOYMENT_NOT_FOUND(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{ROOT}/nope/rollback", json={})
    assert (answer.status_code, error_of(answer)["code"]) == (404, "DEPLOYMENT_NOT_FOUND")


async def test_rollback_to_a_version_without_a_backup_is_400_BACKUP_NOT_FOUND(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    await client.post(ROOT, json=spec())
    service.raises["rollback"] = BackupNotFound("Version 0.9 was never deployed.")
    answer = await client.post(f"{ROOT}/shop/rollback", json={"version": "0.9"})
    assert (answer.status_code, error_of(answer)["code"]) == (400, "BACKUP_NOT_FOUND")


async def test_rollback_to_what_cannot_be_a_version_is_400(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec())
    for version, code in (("../1", "BACKUP_NOT_FOUND"), (3, "INVALID_DEPLOYMENT_SPEC")):
        answer = await client.post(f"{ROOT}/shop/rollback", json={"version": version})
        assert (answer.status_code, error_of(answer)["code"]) == (400, code)


async def test_a_failed_rollback_is_500_ROLLBACK_FAILED_with_its_cause(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    await client.post(ROOT, json=spec())
    service.failure = Failure("HEALTH_CHECK_FAILED", "1.0 was not ready", "health_check", "GET /up: 503")
    answer = await client.post(f"{ROOT}/shop/rollback", json={"version": "1.0"})
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (500, "ROLLBACK_FAILED")
    assert error["details"]["cause"] == "GET /up: 503"
    assert error["details"]["failed_with"] == "HEALTH_CHECK_FAILED"


# ----------------------------------------------------------------------------------------------- GET {name}


async def test_get_status_has_the_seeds_fields(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec(configuration={"LOG_LEVEL": "info"}))
    body = (await client.get(f"{ROOT}/shop")).json()
    seed = {"name", "version", "environment", "state", "health", "last_updated", "replicas", "configuration", "events"}
    assert seed <= set(body)
    assert set(body["replicas"]) == {"desired", "available", "ready", "updated"}
    assert body["configuration"] == {"LOG_LEVEL": "info"}
    assert {"timestamp", "type", "message", "source"} <= set(body["events"][0])


async def test_get_status_of_an_unknown_deployment_is_404_DEPLOYMENT_NOT_FOUND(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{ROOT}/nope")
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["details"]["deployment"]) == (404, "DEPLOYMENT_NOT_FOUND", "nope")


# ----------------------------------------------------------------------------------------------- GET deployments


async def test_list_deployments_has_the_seeds_fields_and_defaults(client: httpx2.AsyncClient) -> None:
    for name in ("shop", "api"):
        await client.post(ROOT, json=spec(name))
    body = (await client.get(ROOT)).json()
    assert (body["total"], body["limit"], body["offset"]) == (2, 50, 0)
    assert [row["name"] for row in body["deployments"]] == ["api", "shop"]
    assert set(body["deployments"][0]) == {"name", "version", "environment", "state", "health", "updated_at"}


async def test_list_deployments_filters_by_environment_and_state(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec("a", environment="production"))
    await client.post(ROOT, json=spec("b"))
    for query, names in (("environment=production", ["a"]), ("state=healthy", ["a", "b"]), ("state=failed", [])):
        rows = (await client.get(f"{ROOT}?{query}")).json()["deployments"]
        assert [row["name"] for row in rows] == names


async def test_list_deployments_pages_by_limit_and_offset(client: httpx2.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await client.post(ROOT, json=spec(name))
    body = (await client.get(f"{ROOT}?limit=1&offset=1")).json()
    assert ([row["name"] for row in body["deployments"]], body["total"]) == (["b"], 3)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "limit=", "offset=-1", "state=nope"])
async def test_list_deployments_with_an_invalid_parameter_is_400(client: httpx2.AsyncClient, query: str) -> None:
    answer = await client.get(f"{ROOT}?{query}")
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "INVALID_DEPLOYMENT_SPEC")
    assert error["details"]["issues"][0]["field"] == query.split("=")[0]


# ----------------------------------------------------------------------------------------------- POST validate


async def test_validate_of_a_valid_specification_is_200(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.warnings = (Issue("health_check_url", "nothing is probed", "warning"),)
    answer = await client.post(f"{ROOT}/validate", json=spec(strategy="rolling", dependencies=[]))
    assert answer.status_code == 200
    assert answer.json() == {
        "valid": True,
        "issues": [],
        "warnings": [{"field": "health_check_url", "message": "nothing is probed"}],
    }


async def test_validate_of_an_invalid_specification_is_400_in_the_seeds_own_form(client: httpx2.AsyncClient) -> None:
    answer = await client.post(f"{ROOT}/validate", json=spec(strategy="big-bang"))
    assert answer.status_code == 400
    body = answer.json()
    assert (body["valid"], body["warnings"]) == (False, [])
    (issue,) = body["issues"]
    assert (set(issue), issue["field"], issue["severity"]) == (
        {"field", "message", "severity"},
        "strategy",
        "error",
    )


# ----------------------------------------------------------------------------------------------- GET health


async def test_health_check_has_the_seeds_fields(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec())
    body = (await client.get(f"{ROOT}/shop/health")).json()
    assert set(body) == {"overall", "components", "last_check", "message"}
    component = body["components"]["service"]
    assert set(component) == {"name", "status", "message", "checks"}
    (check,) = component["checks"]
    assert set(check) == {"name", "status", "message", "duration", "last_run"}
    assert check["duration"] == "100ms"


async def test_health_check_of_an_unknown_deployment_is_404_DEPLOYMENT_NOT_FOUND(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{ROOT}/nope/health")
    assert (answer.status_code, error_of(answer)["code"]) == (404, "DEPLOYMENT_NOT_FOUND")


# ----------------------------------------------------------------------------------------------- rate limits


async def test_deploys_are_limited_to_5_a_minute_for_each_deployment(client: httpx2.AsyncClient) -> None:
    for _ in range(5):
        assert (await client.post(ROOT, json=spec())).status_code == 201
    answer = await client.post(ROOT, json=spec())
    assert (answer.status_code, error_of(answer)["code"]) == (429, "RATE_LIMITED")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert (await client.post(ROOT, json=spec("other"))).status_code == 201


async def test_status_and_health_are_limited_to_100_a_minute_together(client: httpx2.AsyncClient) -> None:
    for path in (f"{ROOT}/nope", f"{ROOT}/nope/health") * 50:
        assert (await client.get(path)).status_code == 404
    assert (await client.get(f"{ROOT}/nope")).status_code == 429
    assert (await client.get(f"{ROOT}/nope/health")).status_code == 429


async def test_lists_are_limited_to_50_a_minute(client: httpx2.AsyncClient) -> None:
    answers = [(await client.get(ROOT)).status_code for _ in range(51)]
    assert answers == [200] * 50 + [429]
