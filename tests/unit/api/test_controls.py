"""Stop, start, change, pins and pruning over HTTP, and the headers that every changing request takes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from longshore.api.routes import ROUTES, Row
from support.api_client import app_of, client_of
from support.fake_service import FakeService, spec

ROOT = "/api/v1/deployments"
ONE = f"{ROOT}/shop"
#: requests that change a deployment which is there, with the body that each needs
CHANGING = [
    ("POST", ROOT, spec(version="2.0")), ("POST", f"{ONE}/rollback", None), ("POST", f"{ONE}/restart", None),
    ("POST", f"{ONE}/scale", {"replicas": 3}), ("POST", f"{ONE}/stop", None), ("POST", f"{ONE}/start", None),
    ("PATCH", ONE, {"replicas": 3}), ("POST", f"{ONE}/releases/1.0/pin", None),
]  # fmt: skip
changing = pytest.mark.parametrize(("method", "path", "body"), CHANGING, ids=lambda value: str(value)[-12:])


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def app(service: FakeService) -> FastAPI:
    return app_of(service)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with client_of(app) as client:
        await client.post(ROOT, json=spec())
        yield client


async def test_the_status_shows_the_revision_and_has_it_as_its_etag(client: httpx2.AsyncClient) -> None:
    for _ in range(2):  # rendered, and from memory
        answer = await client.get(ONE)
        assert (answer.json()["revision"], answer.json()["stopped"]) == (0, False)
        assert answer.headers["etag"] == '"0"'


@changing
async def test_a_request_for_another_revision_is_412_with_the_present_one(
    client: httpx2.AsyncClient, method: str, path: str, body: object
) -> None:
    answer = await client.request(method, path, json=body, headers={"If-Match": '"7"'})
    assert (answer.status_code, answer.json()["error"]["code"]) == (412, "PRECONDITION_FAILED")
    assert answer.json()["error"]["details"]["revision"] == 0


@changing
async def test_a_request_for_the_present_revision_is_carried_out(
    client: httpx2.AsyncClient, method: str, path: str, body: object
) -> None:
    for given in ('"0"', "0", ' "0" '):
        answer = await client.request(method, path, json=body, headers={"If-Match": given})
        assert answer.status_code in (200, 201), answer.text


@pytest.mark.parametrize("given", ["*", "seven", '"seven"', '"-1"', 'W/"0"', '"0", "1"', '"' + "9" * 16 + '"', ""])
@changing
async def test_a_revision_that_is_none_is_400(
    client: httpx2.AsyncClient, method: str, path: str, body: object, given: str
) -> None:
    answer = await client.request(method, path, json=body, headers={"If-Match": given})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_DEPLOYMENT_SPEC")
    assert answer.json()["error"]["details"]["issues"][0]["field"] == "If-Match"


async def test_a_deploy_may_ask_for_there_being_none_yet(client: httpx2.AsyncClient) -> None:
    headers = {"If-None-Match": "*"}
    there = await client.post(ROOT, json=spec(version="2.0"), headers=headers)
    assert (there.status_code, there.json()["error"]["code"]) == (412, "PRECONDITION_FAILED")
    assert (await client.post(ROOT, json=spec("other"), headers=headers)).status_code == 201
    wrong = await client.post(ROOT, json=spec("third"), headers={"If-None-Match": '"1"'})
    assert wrong.status_code == 400


async def test_a_replay_is_answered_whatever_revision_its_own_change_led_to(
    client: httpx2.AsyncClient, service: FakeService
) -> None:
    headers = {"If-Match": '"0"', "Idempotency-Key": "once"}
    first = await client.post(f"{ONE}/restart", headers=headers)
    rollouts = len(service.known)
    again = await client.post(f"{ONE}/restart", headers={**headers, "If-Match": '"6"'})
    assert (first.status_code, again.status_code, again.json()) == (200, 200, first.json())
    assert len(service.known) == rollouts


@pytest.mark.parametrize("verb", ["stop", "start"])
async def test_a_stop_and_a_start_answer_as_a_deploy_does(client: httpx2.AsyncClient, verb: str) -> None:
    answer = await client.post(f"{ONE}/{verb}")
    assert (answer.status_code, answer.json()["success"], answer.json()["version"]) == (200, True, "1.0")
    begun = await client.post(f"{ONE}/{verb}", headers={"Prefer": "respond-async"})
    assert (begun.status_code, begun.json()["kind"]) == (202, verb)
    assert (await client.post(f"{ONE}/{verb}", json={"now": True})).status_code == 400


async def test_a_change_is_a_patch_of_the_deployment(client: httpx2.AsyncClient, service: FakeService) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = await client.patch(ONE, content=b'{"replicas": 3, "port": null}', headers=headers)
    assert (answer.status_code, answer.json()["version"]) == (200, "1.0+c1")
    asked = service.requests[-1]
    assert (asked.fields, asked.dropped) == ({"replicas": 3}, {"port"})


async def test_a_pin_and_a_pruning_say_what_became_of_the_releases(client: httpx2.AsyncClient) -> None:
    pinned = (await client.post(f"{ONE}/releases/1.0/pin", json={"reason": "old schema"})).json()
    assert (pinned["version"], pinned["pinned"], pinned["pinned_reason"]) == ("1.0", True, "old schema")
    unpinned = (await client.post(f"{ONE}/releases/1.0/unpin")).json()
    assert (unpinned["pinned"], unpinned["pinned_reason"]) == (False, "")
    missing = await client.post(f"{ONE}/releases/9.9/pin")
    assert (missing.status_code, missing.json()["error"]["code"]) == (400, "BACKUP_NOT_FOUND")
    for _ in range(2):
        await client.post(ROOT, json=spec())
    pruned = (await client.post(f"{ONE}/prune", json={"keep": 1})).json()
    assert pruned == {"removed": ["1.0", "1.0"], "freed_bytes": 20}


@pytest.mark.parametrize("body", [{"keep": 0}, {"keep": 1001}, {"keep": "3"}, {"keeps": 3}, []])
async def test_a_pruning_that_makes_no_sense_is_400(client: httpx2.AsyncClient, body: object) -> None:
    assert (await client.post(f"{ONE}/prune", json=body)).status_code == 400


OF_ONE = [row for row in ROUTES if row.headers and "{name}" in row.path]


@pytest.mark.parametrize("row", OF_ONE, ids=lambda row: row.name)
async def test_what_is_not_there_is_404_before_its_body_is_read(client: httpx2.AsyncClient, row: Row) -> None:
    path = row.path.format(name="nope", version="1.0", rollout_id="r-1")
    answer = await client.request(row.method, path, content=b"{")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "DEPLOYMENT_NOT_FOUND")
