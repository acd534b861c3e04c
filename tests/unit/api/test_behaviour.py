"""What the API promises beyond the seed: waiting, idempotency, the envelope for everything, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from longshore.api.settings import RateLimits
from longshore.model import Failure, RolloutStatus
from longshore.rollout.reports import Replicas
from support.api_client import app_of, client_of, until
from support.fake_service import FakeService, spec

ROOT = "/api/v1/deployments"
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def app(service: FakeService) -> FastAPI:
    return app_of(service)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app) as client:
        yield client


async def until_opened(service: FakeService) -> None:
    await until(lambda: service.known)


# ----------------------------------------------------------------------------------------------- waiting


async def test_a_deploy_is_answered_when_its_rollout_is_over(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.instant = False
    waiting = asyncio.create_task(client.post(ROOT, json=spec()))
    await until_opened(service)
    assert not waiting.done()
    service.finish("r-1")
    assert (await waiting).status_code == 201


async def test_respond_async_is_202_with_the_rollout_and_where_it_is(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.instant = False
    answer = await client.post(ROOT, json=spec(), headers={"Prefer": "wait=10, respond-async"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    body = answer.json()
    assert (body["status"], body["success"], body["end_time"], body["error"]) == ("running", None, None, None)
    service.finish("r-1")
    later = (await client.get(answer.headers["location"])).json()
    assert (later["status"], later["success"], later["progress_pct"]) == ("succeeded", True, 100)


async def test_a_client_that_leaves_changes_nothing(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.instant = False
    waiting = asyncio.create_task(client.post(ROOT, json=spec()))
    await until_opened(service)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    service.finish("r-1")
    assert (await client.get(f"{ROOT}/shop/rollouts/r-1")).json()["status"] == "succeeded"


async def test_a_waiting_request_is_answered_when_the_manager_stops(
    app: FastAPI, client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.instant = False
    waiting = asyncio.create_task(client.post(ROOT, json=spec()))
    await until_opened(service)
    app.state.stopping.set()
    answer = await waiting
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"]["rollout_id"]) == (500, "INTERNAL_ERROR", "r-1")
    assert service.known["r-1"].status is RolloutStatus.running


async def test_a_held_rollout_says_that_it_was_not_rolled_back(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.failure, service.ends_as = Failure("HOOK_FAILED", "make failed", "pre_deploy_hooks"), RolloutStatus.held
    details = (await client.post(ROOT, json=spec())).json()["error"]["details"]
    assert (details["rolled_back"], details["cause"]) == (False, "make failed")


async def test_a_failed_rollout_carries_its_error_as_a_resource(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.failure = Failure("HOOK_FAILED", "make failed", "pre_deploy_hooks")
    await client.post(ROOT, json=spec())
    body = (await client.get(f"{ROOT}/shop/rollouts/r-1")).json()
    assert (body["success"], body["error"]["code"]) == (False, "HOOK_FAILED")
    assert body["error"]["details"]["operation"] == "pre_deploy_hooks"


# ----------------------------------------------------------------------------------------------- idempotency


async def test_the_same_key_and_body_run_once_and_get_the_same_answer(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await client.post(ROOT, json=spec(), headers=headers)
    second = await client.post(ROOT, json=dict(reversed(spec().items())), headers=headers)
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert len(service.known) == 1


async def test_the_same_key_with_another_body_is_400(client: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    await client.post(ROOT, json=spec(), headers=headers)
    answer = await client.post(ROOT, json=spec(version="2.0"), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_DEPLOYMENT_SPEC")


async def test_two_requests_with_the_same_key_at_the_same_time_run_once(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.instant = False
    headers = {"Idempotency-Key": "k1"}
    both = [asyncio.create_task(client.post(ROOT, json=spec(), headers=headers)) for _ in range(2)]
    await until_opened(service)
    service.finish("r-1")
    assert [answer.status_code for answer in await asyncio.gather(*both)] == [201, 201]
    assert len(service.known) == 1


async def test_replays_do_not_count_against_the_rate_limit(client: httpx2.AsyncClient) -> None:
    answers = [await client.post(ROOT, json=spec(), headers={"Idempotency-Key": "k1"}) for _ in range(20)]
    assert {answer.status_code for answer in answers} == {201}


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_an_unusable_key_is_400(client: httpx2.AsyncClient, key: str) -> None:
    assert (await client.post(ROOT, json=spec(), headers={"Idempotency-Key": key})).status_code == 400


# ----------------------------------------------------------------------------------------------- rate limits


async def test_refused_deploys_count_as_requests(client: httpx2.AsyncClient) -> None:
    answers = [(await client.post(ROOT, json={"name": "shop"})).status_code for _ in range(6)]
    assert answers == [400] * 5 + [429]


@pytest.mark.parametrize("key", ["k1", "no key"])
async def test_deploys_with_a_key_that_is_refused_count_as_requests(client: httpx2.AsyncClient, key: str) -> None:
    await client.post(ROOT, json=spec(), headers={"Idempotency-Key": "k1"})
    answers = [
        (await client.post(ROOT, json=spec(version="2.0"), headers={"Idempotency-Key": key})).status_code
        for _ in range(5)
    ]
    assert answers == [400] * 4 + [429]


async def test_rolling_back_is_never_limited(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec())
    answers = {(await client.post(f"{ROOT}/shop/rollback", json={})).status_code for _ in range(20)}
    assert answers == {200}


async def test_limits_of_0_are_off(service: FakeService) -> None:
    async with client_of(app_of(service, rate_limits=RateLimits(0, 0, 0))) as client:
        assert {(await client.post(ROOT, json=spec())).status_code for _ in range(20)} == {201}
        answer = await client.get(f"{ROOT}/shop")
        assert "ratelimit" not in answer.headers


async def test_answers_say_what_is_left(client: httpx2.AsyncClient) -> None:
    answer = await client.get(f"{ROOT}/nope")
    assert answer.headers["ratelimit-policy"] == '"status";q=100;w=60'
    assert answer.headers["ratelimit"] == '"status";r=99;t=60'


# ----------------------------------------------------------------------------------------------- the envelope


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"name": "a", "name": "b"}',
        b'{"replicas": NaN}',
        b'{"replicas": 1e999}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"1" * 5000,
        b'{"name": "\\ud800"}',
        b'{"\\ud800": 1}',
    ],
)
async def test_a_body_that_is_no_json_object_is_400_in_the_envelope(client: httpx2.AsyncClient, content: bytes) -> None:
    answer = await client.post(ROOT, content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_DEPLOYMENT_SPEC")


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_400(client: httpx2.AsyncClient, declared: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65536

    answer = await client.post(ROOT, content=b" " * (17 * 65536) if declared else chunks())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_DEPLOYMENT_SPEC")


async def test_a_body_of_exactly_the_limit_is_read(client: httpx2.AsyncClient) -> None:
    body = b'{"name": "shop", "version": "1.0", "artifact_path": "/a"}'
    assert (await client.post(ROOT, content=body.ljust(1 << 20))).status_code == 201


async def test_an_unknown_path_is_404_NOT_FOUND(client: httpx2.AsyncClient) -> None:
    for path in ("/nope", f"{ROOT}/", f"{ROOT}/shop/", "/api/v1"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")


async def test_405_names_every_method_of_the_path(client: httpx2.AsyncClient) -> None:
    for path, allow in ((ROOT, "GET, POST"), (f"{ROOT}/shop", "DELETE, GET, PATCH"), (f"{ROOT}/shop/rollback", "POST")):
        answer = await client.request("PROPFIND", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)
        assert answer.json()["error"]["code"] == "METHOD_NOT_ALLOWED"


async def test_an_unforeseen_error_is_500_and_tells_nothing(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.raises["deploy"] = RuntimeError("the password is hunter2")
    answer = await client.post(ROOT, json=spec())
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert "hunter2" not in answer.text


async def test_an_invalid_name_is_404(client: httpx2.AsyncClient) -> None:
    for name in ("Shop", "a%00b", "%ff", "x" * 200):
        answer = await client.get(f"{ROOT}/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "DEPLOYMENT_NOT_FOUND")


async def test_a_rollout_of_another_deployment_is_404(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec("a"))
    await client.post(ROOT, json=spec("b"))
    assert (await client.get(f"{ROOT}/b/rollouts/r-1")).status_code == 404


# ----------------------------------------------------------------------------------------------- status


async def test_secrets_are_masked_in_status(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec(configuration={"API_TOKEN": "hunter2", "DB": "pg://a:hunter2@h/x", "L": "info"}))
    answer = await client.get(f"{ROOT}/shop")
    assert "hunter2" not in answer.text
    assert answer.json()["configuration"]["L"] == "info"


async def test_a_status_is_rendered_once_until_something_changes(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    await client.post(ROOT, json=spec())
    first = await client.get(f"{ROOT}/shop")
    service.raises["status"] = RuntimeError("rendered again")
    assert (await client.get(f"{ROOT}/shop")).content == first.content
    service.happen("shop", "it changed")
    assert (await client.get(f"{ROOT}/shop")).status_code == 500
    assert (await client.get(f"{ROOT}/shop")).json()["events"][0]["message"] == "it changed"


async def test_a_status_is_rendered_anew_while_an_instance_becomes_available_by_time(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    service.replicas = Replicas(1, 0, 1, 1)
    await client.post(ROOT, json=spec())
    assert (await client.get(f"{ROOT}/shop")).json()["replicas"]["available"] == 0
    service.replicas = Replicas(1, 1, 1, 1)
    assert (await client.get(f"{ROOT}/shop")).json()["replicas"]["available"] == 1


async def test_a_rollout_that_is_gone_before_it_is_over_is_merely_not_counted(app: FastAPI) -> None:
    await app.state.api._observe("deleted with its deployment")


async def test_a_deleted_deployment_is_gone(client: httpx2.AsyncClient) -> None:
    await client.post(ROOT, json=spec())
    await client.get(f"{ROOT}/shop")
    assert (await client.delete(f"{ROOT}/shop?keep_files=true")).status_code == 200
    assert (await client.get(f"{ROOT}/shop")).status_code == 404


# ----------------------------------------------------------------------------------------------- steering


@pytest.mark.parametrize(("verb", "status"), [("pause", "paused"), ("resume", "running"), ("promote", "running")])
async def test_a_rollout_can_be_steered(
    client: httpx2.AsyncClient, service: FakeService, verb: str, status: str
) -> None:
    service.instant = False
    await client.post(ROOT, json=spec(), headers=ASYNC)
    assert (await client.post(f"{ROOT}/shop/rollouts/r-1/{verb}")).json()["status"] == status


async def test_an_abort_may_give_a_reason(client: httpx2.AsyncClient, service: FakeService) -> None:
    service.instant = False
    await client.post(ROOT, json=spec(), headers=ASYNC)
    assert (await client.post(f"{ROOT}/shop/rollouts/r-1/abort", json={"reason": "oops"})).status_code == 200
    assert (await client.post(f"{ROOT}/shop/rollouts/r-1/abort")).status_code == 200
    assert service.callers == ["admin", "admin: oops", "admin: "]


async def test_events_are_paged_from_the_newest(client: httpx2.AsyncClient, service: FakeService) -> None:
    await client.post(ROOT, json=spec())
    for number in range(5):
        service.happen("shop", str(number))
    first = (await client.get(f"{ROOT}/shop/events?limit=3")).json()
    assert [event["message"] for event in first["events"]] == ["4", "3", "2"]
    second = (await client.get(f"{ROOT}/shop/events?limit=3&before={first['next_before']}")).json()
    assert [event["message"] for event in second["events"]][:2] == ["1", "0"]


# ----------------------------------------------------------------------------------------------- the manager itself


async def test_only_healthz_and_the_empty_docs_page_need_no_token(app: FastAPI) -> None:
    async with client_of(app, authenticated=False) as client:
        for path in ("/healthz", "/docs"):
            assert (await client.get(path)).status_code == 200
        for path in ("/readyz", "/metrics", "/openapi.json", ROOT, "/nope", f"{ROOT}?limit=x"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_readyz_is_503_while_the_manager_stops(app: FastAPI, client: httpx2.AsyncClient) -> None:
    assert (await client.get("/readyz")).status_code == 200
    app.state.stopping.set()
    assert (await client.get("/readyz")).status_code == 503


async def test_metrics_count_rollouts_and_requests(client: httpx2.AsyncClient, service: FakeService) -> None:
    await client.post(ROOT, json=spec())
    await client.get(f"{ROOT}/nope")
    await asyncio.sleep(0)
    text = (await client.get("/metrics")).text
    assert 'longshore_rollouts_total{kind="deploy",outcome="succeeded",strategy="recreate"} 1.0' in text
    assert 'longshore_http_requests_total{route="status",status="4xx"} 1.0' in text
    assert 'longshore_deployments{state="healthy"} 1.0' in text
    assert 'longshore_instances{is="ready"} 1.0' in text
