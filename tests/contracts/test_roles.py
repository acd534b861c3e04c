"""Every row of the table of routes asks for a role: who has a lesser one changes nothing and is told."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI

from longshore.access.tokens import Tokens
from longshore.api.routes import ROUTES, Row
from longshore.api.settings import RateLimits
from longshore.model import Role
from support.api_client import app_of, client_of
from support.fake_access import tokens_in_memory
from support.fake_service import FakeService, spec

PLACES = {
    "name": "shop", "rollout_id": "r-1", "version": "1.0", "environment": "live", "token": "ci", "webhook": "chat",
    "delivery": "msg_1",
}  # fmt: skip

guarded = pytest.mark.parametrize(
    "row", [row for row in ROUTES if not row.open_to_all], ids=lambda row: f"{row.method} {row.path}"
)


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return tokens_in_memory()


@pytest.fixture(scope="module")
def texts(tokens: Tokens) -> dict[str, str]:
    """Of one token of each role, and of one that is revoked."""
    texts = {str(role): tokens.create(f"a-{role}", role, None, None, by="ana")[1] for role in Role}
    texts["revoked"] = tokens.create("a-revoked", Role.admin, None, None, by="ana")[1]
    tokens.revoke("a-revoked", by="ana")
    return texts


@pytest.fixture(scope="module")
def service() -> FakeService:
    return FakeService()


@pytest.fixture(scope="module")
def app(service: FakeService, tokens: Tokens) -> FastAPI:
    """One for all: it takes longer to make than to ask."""
    return app_of(service, tokens=tokens, rate_limits=RateLimits(0, 0, 0))


async def asked(app: FastAPI, row: Row, text: str) -> httpx2.Response:
    body = spec("shop") if row.name == "deploy" else None
    async with client_of(app, authenticated=False) as client:
        headers = {"Authorization": f"Bearer {text}"}
        return await client.request(row.method, row.path.format(**PLACES), json=body, headers=headers)


@guarded
def test_whatever_changes_something_takes_more_than_the_role_to_read(row: Row) -> None:
    assert (row.least_role is Role.read) is (row.method == "GET" and "tokens" not in row.path)


@guarded
async def test_every_route_lets_in_its_role_and_those_above_and_no_other(
    app: FastAPI, texts: dict[str, str], row: Row
) -> None:
    for role in Role:
        if row.media == "text/event-stream" and role.may(row.least_role):
            continue  # endless
        answer = await asked(app, row, texts[role])
        assert (answer.status_code == 403) is not role.may(row.least_role)
        if answer.status_code == 403:
            assert answer.json()["error"]["code"] == "FORBIDDEN"
            assert str(row.least_role) in answer.json()["error"]["message"]


@guarded
async def test_a_revoked_token_opens_no_route(app: FastAPI, texts: dict[str, str], row: Row) -> None:
    assert (await asked(app, row, texts["revoked"])).status_code == 401


async def test_a_change_says_whose_token_asked_for_it(tokens: Tokens) -> None:
    service = FakeService()
    _, text = tokens.create("pipeline", Role.deploy, ["staging"], None, by="ana")
    async with client_of(app_of(service, tokens=tokens), authenticated=False) as client:
        headers = {"Authorization": f"Bearer {text}"}
        answer = await client.post("/api/v1/deployments", json=spec("shop", environment="staging"), headers=headers)
    assert (answer.status_code, service.callers) == (201, ["pipeline"])


async def test_the_text_of_a_token_is_shown_once_and_kept_by_nobody(app: FastAPI) -> None:
    async with client_of(app) as client:
        made = await client.post("/api/v1/tokens", json={"name": "ci", "role": "deploy", "expires_in": "720h"})
        assert made.status_code == 201, made.text
        listed = await client.get("/api/v1/tokens")
        revoked = await client.delete("/api/v1/tokens/ci")
    text = made.json()["token"]
    assert made.headers["cache-control"] == "no-store"
    assert text.startswith("lsh_")
    assert text not in listed.text + revoked.text
    assert (made.json()["created_by"], revoked.json()["revoked_at"] is not None) == ("admin", True)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "read"}, "name"),
        ({"name": "bad"}, "role"),
        ({"name": "Bad!", "role": "read"}, "name"),
        ({"name": "admin", "role": "read"}, "name"),
        ({"name": "anonymous", "role": "read"}, "name"),
        ({"name": "a-read", "role": "read"}, "name"),
        ({"name": "bad", "role": "root"}, "role"),
        ({"name": "bad", "role": "deploy", "environments": []}, "environments"),
        ({"name": "bad", "role": "admin", "environments": ["staging"]}, "environments"),
        ({"name": "bad", "role": "read", "expires_in": "1s"}, "expires_in"),
        ({"name": "bad", "role": "read", "expires": "1h"}, "expires"),
    ],
)
async def test_a_token_that_cannot_be_is_refused_by_its_field(
    app: FastAPI, tokens: Tokens, texts: dict[str, str], body: dict[str, object], field: str
) -> None:
    before = len(tokens.all())
    async with client_of(app) as client:
        answer = await client.post("/api/v1/tokens", json=body)
    assert (answer.status_code, [i["field"] for i in answer.json()["error"]["details"]["issues"]]) == (400, [field])
    assert len(tokens.all()) == before


async def test_to_force_a_lock_takes_an_admin(app: FastAPI, texts: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {texts['deploy']}"}
    async with client_of(app, authenticated=False) as client:
        await client.put("/api/v1/environments/live/lock", headers=headers)
        refused = await client.delete("/api/v1/environments/live/lock?force=true", headers=headers)
        allowed = await client.delete("/api/v1/environments/live/lock", headers=headers)
    assert (refused.status_code, allowed.status_code) == (403, 200)


@pytest.mark.parametrize("reason", ["", " ", "x" * 501, "a\tb"])
async def test_an_override_without_a_reason_that_can_be_shown_is_refused(app: FastAPI, reason: str) -> None:
    async with client_of(app) as client:
        headers = {"Longshore-Override": reason}
        answer = await client.post("/api/v1/deployments", json=spec("shop"), headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"]["issues"][0]["field"] == "Longshore-Override"


async def test_an_override_may_say_why_in_any_language(app: FastAPI, service: FakeService) -> None:
    async with client_of(app) as client:
        headers = [(b"Longshore-Override", "Störung behoben".encode())]
        answer = await client.post("/api/v1/deployments", json=spec("shop"), headers=headers)
    assert (answer.status_code, service.rollout_of("shop").override) == (201, "Störung behoben")
