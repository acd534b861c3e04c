"""What waits, over HTTP and the WebSocket: the real service in memory behind the real API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from longshore.api import schemas
from longshore.api.wire_request import CONFLICT_FIELDS
from longshore.rollout.terms import Terms
from support.api_client import AUTH, app_of, client_of, serving
from support.queueing import ANA, ask, busy, let_go, needs_approval
from support.shop import Shop, until

ONE = "/api/v1/deployments/shop"
#: requests that may have to wait, with what each needs
WAITING = [
    ("POST", f"{ONE}/restart", {}), ("POST", f"{ONE}/scale", {"replicas": 3}), ("POST", f"{ONE}/stop", {}),
    ("PATCH", ONE, {"replicas": 3}),
]  # fmt: skip
ASYNC = {"Prefer": "respond-async"}


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.deployed("1.0")
    yield shop
    await shop.close()


@pytest.fixture
def app(shop: Shop) -> FastAPI:
    return app_of(shop.lab.service)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app) as client:
        yield client


def body_of(shop: Shop, version: str, **more: Any) -> dict[str, Any]:
    return {**shop.request(version).fields, **more}


@pytest.mark.parametrize(("method", "path", "body"), WAITING)
async def test_each_request_that_rolls_out_may_wait(
    shop: Shop, client: httpx2.AsyncClient, method: str, path: str, body: dict[str, Any]
) -> None:
    await busy(shop)
    refused = await client.request(method, path, json=body, headers=ASYNC)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "DEPLOYMENT_IN_PROGRESS")
    queued = await client.request(
        method, path, json={**body, "on_conflict": "queue", "queue_timeout": "5m"}, headers=ASYNC
    )
    assert queued.status_code == 202
    shown = queued.json()
    schemas.Rollout.model_validate(shown, extra="forbid")
    assert (shown["status"], shown["waiting_for"], shown["number"], shown["steps"]) == ("queued", "turn", 0, [])
    assert shown["message"] == "Waits for its turn behind the deploy of 2.0 of ana, at most 5m0s."
    assert queued.headers["location"] == f"{ONE}/rollouts/{shown['id']}"
    status = (await client.get(ONE)).json()
    schemas.Status.model_validate(status, extra="forbid")
    (waiting,) = status["queue"]
    assert (waiting["rollout_id"], waiting["waiting_for"], waiting["requested_by"]) == (shown["id"], "turn", "admin")
    assert (await client.get(f"{ONE}/rollouts/{shown['id']}")).json()["status"] == "queued"
    let_go(shop)
    assert (await shop.lab.service.outcome(shown["id"])).status == "succeeded"
    assert (await client.get(f"{ONE}/rollouts/{shown['id']}")).json()["number"] == 3


@pytest.mark.parametrize("verb", ["deploy", "restart", "change", "approve"])
@pytest.mark.parametrize(
    ("field", "value"), [("on_conflict", "wait"), ("on_conflict", 1), ("queue_timeout", "0s"), ("queue_timeout", "x")]
)
async def test_what_makes_no_sense_is_400(
    shop: Shop, client: httpx2.AsyncClient, verb: str, field: str, value: object
) -> None:
    body = {field: value}
    method, path, given = {
        "deploy": ("POST", "/api/v1/deployments", {**body_of(shop, "2.0"), **body}),
        "restart": ("POST", f"{ONE}/restart", body),
        "change": ("PATCH", ONE, body),
        "approve": ("POST", f"{ONE}/rollouts/{shop.last().id}/approve", body),
    }[verb]
    answer = await client.request(method, path, json=given)
    assert (answer.status_code, answer.json()["error"]["details"]["issues"][0]["field"]) == (400, field)


async def test_a_validation_and_a_plan_take_the_body_of_a_deploy(shop: Shop, client: httpx2.AsyncClient) -> None:
    body = body_of(shop, "2.0", on_conflict="queue", queue_timeout="1m")
    assert set(CONFLICT_FIELDS) <= set(body)
    validation = await client.post("/api/v1/deployments/validate", json=body)
    assert (validation.status_code, validation.json()["valid"]) == (200, True)
    plan = await client.post("/api/v1/deployments/plan", json=body)
    assert plan.status_code == 200, plan.text
    assert not {change["field"] for change in plan.json()["changes"]} & set(CONFLICT_FIELDS)


async def test_who_waits_for_the_answer_gets_that_of_the_rollout(shop: Shop, client: httpx2.AsyncClient) -> None:
    await busy(shop)
    answer = asyncio.ensure_future(client.post(f"{ONE}/restart", json={"on_conflict": "queue"}))
    await until(lambda: shop.lab.store.waiting_of("shop"), "it waits")
    let_go(shop)
    assert ((await answer).status_code, (await answer).json()["version"]) == (200, "2.0")


async def test_who_waits_for_what_is_cancelled_is_told_why(shop: Shop, client: httpx2.AsyncClient) -> None:
    await busy(shop)
    answer = asyncio.ensure_future(client.post(f"{ONE}/restart", json={"on_conflict": "queue"}))
    await until(lambda: shop.lab.store.waiting_of("shop"), "it waits")
    (waiting,) = shop.lab.store.waiting_of("shop")
    aborted = await client.post(f"{ONE}/rollouts/{waiting.id}/abort", json={"reason": "not now"})
    assert (aborted.status_code, aborted.json()["status"], aborted.json()["success"]) == (200, "cancelled", False)
    error = (await answer).json()["error"]
    assert ((await answer).status_code, error["code"], error["message"]) == (
        500, "DEPLOYMENT_ABORTED", "Aborted: not now",
    )  # fmt: skip
    assert (error["details"]["rollout_id"], error["details"]["rolled_back"]) == (waiting.id, False)
    listed = (await client.get(f"{ONE}/rollouts")).json()
    assert waiting.id not in {rollout["id"] for rollout in listed["rollouts"]}


async def test_a_replay_finds_what_waits(shop: Shop, client: httpx2.AsyncClient) -> None:
    await busy(shop)
    headers, body = {**ASYNC, "Idempotency-Key": "once"}, {"on_conflict": "queue"}
    first = await client.post(f"{ONE}/restart", json=body, headers=headers)
    again = await client.post(f"{ONE}/restart", json=body, headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, first.json()["id"], "queued")
    assert len(shop.lab.store.waiting_of("shop")) == 1
    other = await client.post(f"{ONE}/restart", json={"on_conflict": "supersede"}, headers=headers)
    assert other.status_code == 400


async def test_something_newer_is_answered_at_once_where_that_is_asked_for(
    shop: Shop, client: httpx2.AsyncClient
) -> None:
    first = await busy(shop)
    newer = await client.post("/api/v1/deployments", json=body_of(shop, "3.0", on_conflict="supersede"), headers=ASYNC)
    assert (newer.status_code, newer.json()["status"]) == (202, "queued")
    assert (await shop.outcome(first)).status == "unwound"
    assert (await shop.lab.service.outcome(newer.json()["id"])).status == "succeeded"


async def test_what_needs_an_approval_is_answered_at_once_and_approved_by_somebody_else(
    shop: Shop, client: httpx2.AsyncClient
) -> None:
    needs_approval(shop.lab)
    asked = await ask(shop, "2.0", Terms("ana"))
    own = await client.post(f"{ONE}/restart")
    assert (own.status_code, own.json()["waiting_for"]) == (202, "approval")
    assert "preference-applied" not in own.headers
    refused = await client.post(f"{ONE}/rollouts/{own.json()['id']}/approve")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    approved = await client.post(f"{ONE}/rollouts/{asked.id}/approve", json={"comment": "fine"})
    assert (approved.status_code, approved.json()["approved_by"]) == (200, "admin")
    assert (await shop.outcome(asked)).status == "succeeded"
    twice = await client.post(f"{ONE}/rollouts/{asked.id}/approve")
    assert twice.status_code == 400
    assert (await client.post(f"{ONE}/rollouts/nope/approve")).status_code == 404


async def test_the_metrics_count_what_waits_and_take_no_wait_for_a_rollout(
    shop: Shop, client: httpx2.AsyncClient
) -> None:
    await busy(shop)
    waiting = await client.post(f"{ONE}/restart", json={"on_conflict": "queue"}, headers=ASYNC)
    text = (await client.get("/metrics")).text
    assert 'longshore_waiting{for="turn"} 1.0' in text
    assert 'longshore_waiting{for="approval"} 0.0' in text
    await client.post(f"{ONE}/rollouts/{waiting.json()['id']}/abort")
    text = (await client.get("/metrics")).text
    assert 'longshore_rollouts_total{kind="restart",outcome="cancelled",strategy="rolling"} 1.0' in text
    assert 'longshore_rollout_seconds_count{kind="restart"}' not in text


# ------------------------------------------------------------------------------------------------- the WebSocket


async def messages_of(socket: Any) -> list[tuple[str, str, int]]:
    found = []
    try:
        while True:
            message = json.loads(await asyncio.wait_for(socket.recv(), 10))
            found.append((message["step"], message["status"], message["seq"]))
    except ConnectionClosed:
        return found


async def test_a_watcher_of_what_waits_sees_all_of_its_rollout(shop: Shop, app: FastAPI) -> None:
    await busy(shop)
    waiting = await ask(shop, "3.0", ANA)
    async with (
        serving(app) as running,
        connect(running.socket_url("shop", f"?rollout={waiting.id}"), additional_headers=AUTH) as socket,
    ):
        seen = asyncio.ensure_future(messages_of(socket))
        let_go(shop)
        messages = await seen
    assert messages[0] == ("queue", "running", 0)
    assert [seq for _, _, seq in messages[1:]] == list(range(1, len(messages)))
    assert messages[-1][:2] == ("rollout", "success")


async def test_a_watcher_of_what_is_cancelled_is_told_and_those_of_others_go_on(shop: Shop, app: FastAPI) -> None:
    await busy(shop)
    waiting = await ask(shop, "3.0", ANA)
    async with (
        serving(app) as running,
        connect(running.socket_url("shop", f"?rollout={waiting.id}"), additional_headers=AUTH) as mine,
        connect(running.socket_url("shop"), additional_headers=AUTH) as others,
    ):
        seen, other = asyncio.ensure_future(messages_of(mine)), asyncio.ensure_future(messages_of(others))
        await asyncio.wait_for(socket_is_watched(shop, 2), 10)
        await shop.lab.service.abort("shop", waiting.id, terms=Terms("ben"))
        assert (await seen)[-1] == ("rollout", "failed", 0)
        let_go(shop)
        assert (await other)[-1][:2] == ("rollout", "success")


async def socket_is_watched(shop: Shop, watchers: int) -> None:
    await until(
        lambda: len(shop.lab.world.bus._subscribers.get("shop", ())) == watchers, "all sockets have been subscribed"
    )
