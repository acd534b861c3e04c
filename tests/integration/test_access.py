"""Tokens, locks, freeze windows and approvals on a real manager, asked as its users ask it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpx2 import Response

from longshore.app import Manager, build
from longshore.settings import Settings, load

ROOT = "/api/v1/deployments"
CONFIG = """
[rate_limits]
deploy = 0

[environments.staging]

[environments.production]
approval = true

[[environments.frozen.freeze]]
cron = "* * * * *"
duration = "1h"
time_zone = "Europe/Berlin"
message = "stock-taking"
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "longshore.toml").write_text(CONFIG)
    return load(tmp_path / "longshore.toml", {"data_dir": tmp_path / "data"})


class Desk:
    """The manager, and requests to it with the token of somebody."""

    def __init__(self, manager: Manager, root: Path) -> None:
        self.manager, self.root = manager, root
        self.texts = {"admin": str(manager.token)}

    async def make(self, name: str, role: str, **more: Any) -> None:
        made = await self.ask("admin", "POST", "/api/v1/tokens", {"name": name, "role": role, **more})
        assert made.status_code == 201, made.text
        self.texts[name] = made.json()["token"]

    async def ask(self, who: str, method: str, path: str, body: Any = None, override: str | None = None) -> Response:
        transport = httpx2.ASGITransport(self.manager.app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {self.texts[who]}"}
        if override is not None:
            headers["Longshore-Override"] = override
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            return await client.request(method, path, json=body, headers=headers)

    async def deploy(self, who: str, version: str, environment: str = "staging", **more: Any) -> Response:
        path = self.root / f"site-{version}"
        path.mkdir(exist_ok=True)
        (path / "index.html").write_text(version)
        spec = {"name": f"{environment}-site", "version": version, "artifact_path": str(path)}
        return await self.ask(who, "POST", ROOT, {**spec, "environment": environment}, **more)


@pytest.fixture
async def desk(settings: Settings, tmp_path: Path) -> AsyncIterator[Desk]:
    async with build(settings) as manager:
        yield Desk(manager, tmp_path)


def said(answer: Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_who_asks_is_held_to_their_role_and_environments_until_revoked(desk: Desk) -> None:
    await desk.make("ci", "deploy", environments=["staging"])
    await desk.make("eye", "read")
    assert (await desk.deploy("ci", "1.0")).status_code == 201
    assert said(await desk.deploy("ci", "1.0", "production")) == (403, "FORBIDDEN")
    assert said(await desk.deploy("eye", "2.0")) == (403, "FORBIDDEN")
    assert said(await desk.ask("ci", "GET", "/api/v1/tokens")) == (403, "FORBIDDEN")
    for path in (f"{ROOT}/staging-site", f"{ROOT}/staging-site/events", "/metrics", "/readyz", "/api/v1/locks"):
        assert (await desk.ask("eye", "GET", path)).status_code == 200
    rollouts = (await desk.ask("eye", "GET", f"{ROOT}/staging-site/rollouts")).json()["rollouts"]
    assert [row["requested_by"] for row in rollouts] == ["ci"]
    used = {t["name"]: t["last_used_at"] for t in (await desk.ask("admin", "GET", "/api/v1/tokens")).json()["tokens"]}
    assert used["ci"] is not None

    assert (await desk.ask("admin", "DELETE", "/api/v1/tokens/ci")).status_code == 200
    assert said(await desk.deploy("ci", "2.0")) == (401, "UNAUTHORIZED")
    assert said(await desk.ask("ci", "GET", ROOT)) == (401, "UNAUTHORIZED")


async def test_a_lock_stops_a_deploy_but_no_rollback_and_an_override_is_written_down(desk: Desk) -> None:
    await desk.make("ana", "deploy")
    await desk.make("ben", "deploy")
    for version in ("1.0", "2.0"):
        assert (await desk.deploy("ana", version)).status_code == 201
    one = f"{ROOT}/staging-site"
    locked = await desk.ask("ben", "PUT", f"{one}/lock", {"message": "migration", "expires_in": "2h"})
    assert (locked.status_code, locked.json()["holder"]) == (200, "ben")
    refused = await desk.deploy("ana", "3.0")
    assert said(refused) == (423, "DEPLOYMENT_LOCKED")
    assert refused.json()["error"]["details"]["holder"] == "ben"
    assert (await desk.ask("ana", "GET", one)).json()["lock"]["message"] == "migration"
    assert (await desk.ask("ana", "POST", f"{one}/rollback", {})).json()["version"] == "1.0"

    passed = await desk.deploy("ana", "3.0", override="the site is down")
    assert passed.status_code == 201
    rollout = (await desk.ask("ana", "GET", f"{one}/rollouts/{passed.json()['rollout_id']}")).json()
    assert (rollout["override"], rollout["requested_by"]) == ("the site is down", "ana")
    events = (await desk.ask("ana", "GET", f"{one}/events")).json()["events"]
    (noted,) = [event for event in events if "passed over" in event["message"]]
    assert (noted["type"], noted["rollout_id"]) == ("warning", rollout["id"])

    assert said(await desk.ask("ana", "DELETE", f"{one}/lock")) == (423, "DEPLOYMENT_LOCKED")
    assert said(await desk.ask("ana", "DELETE", f"{one}/lock?force=true")) == (403, "FORBIDDEN")
    assert (await desk.ask("admin", "DELETE", f"{one}/lock?force=true")).status_code == 200
    assert (await desk.ask("ana", "GET", one)).json()["lock"] is None
    assert said(await desk.ask("ana", "GET", f"{one}/lock")) == (404, "NOT_FOUND")


async def test_an_environment_is_locked_as_a_whole_and_must_be_known(desk: Desk) -> None:
    lock = "/api/v1/environments/staging/lock"
    assert (await desk.ask("admin", "PUT", lock, {"message": "audit"})).status_code == 200
    assert said(await desk.deploy("admin", "1.0")) == (423, "DEPLOYMENT_LOCKED")
    assert [row["name"] for row in (await desk.ask("admin", "GET", "/api/v1/locks")).json()["locks"]] == ["staging"]
    mistyped = await desk.ask("admin", "PUT", "/api/v1/environments/stagign/lock", {})
    assert said(mistyped) == (404, "NOT_FOUND")
    assert "staging" in mistyped.json()["error"]["message"]
    assert (await desk.ask("admin", "DELETE", lock)).status_code == 200
    assert (await desk.deploy("admin", "1.0")).status_code == 201


async def test_what_needs_an_approval_gets_it_from_another_token(desk: Desk, until_over: Callable[..., Any]) -> None:
    await desk.make("ana", "deploy")
    await desk.make("ben", "deploy", environments=["staging"])
    await desk.make("eve", "deploy", environments=["production"])
    asked = await desk.deploy("ana", "1.0", "production")
    assert (asked.status_code, asked.json()["status"]) == (202, "queued")
    approve = f"{asked.headers['location']}/approve"
    assert said(await desk.ask("ana", "POST", approve, {})) == (403, "FORBIDDEN")
    assert said(await desk.ask("ben", "POST", approve, {})) == (403, "FORBIDDEN")
    assert (await desk.ask("eve", "POST", approve, {"comment": "seen"})).status_code == 200
    over = await until_over(desk, asked.headers["location"])
    assert (over["status"], over["requested_by"], over["approved_by"]) == ("succeeded", "ana", "eve")
    assert said(await desk.ask("ana", "DELETE", f"{ROOT}/production-site", override="mine")) == (
        423,
        "DEPLOYMENT_LOCKED",
    )
    gone = await desk.ask("admin", "DELETE", f"{ROOT}/production-site", override="it was a try")
    assert gone.status_code == 200


@pytest.fixture
def until_over() -> Callable[..., Any]:
    async def wait(desk: Desk, path: str) -> Any:
        name, rollout_id = path.split("/")[-3], path.split("/")[-1]
        assert name
        await desk.manager.app.state.api.service.outcome(rollout_id)
        return (await desk.ask("admin", "GET", path)).json()

    return wait


async def test_an_open_freeze_window_stops_a_deploy_and_says_when_it_ends(desk: Desk) -> None:
    refused = await desk.deploy("admin", "1.0", "frozen")
    assert said(refused) == (423, "DEPLOYMENTS_FROZEN")
    error = refused.json()["error"]
    assert datetime.fromisoformat(error["details"]["until"]) > datetime.fromisoformat(error["timestamp"])
    assert error["details"]["until"] in error["message"]
    assert "stock-taking" in error["message"]
    assert "Europe/Berlin" in error["details"]["cause"]
    assert (await desk.ask("admin", "GET", f"{ROOT}/frozen-site")).status_code == 404
    assert (await desk.deploy("admin", "1.0", "frozen", override="the shop is on fire")).status_code == 201


async def test_tokens_and_locks_outlive_the_manager(settings: Settings, tmp_path: Path) -> None:
    async with build(settings) as manager:
        desk = Desk(manager, tmp_path)
        await desk.make("ci", "deploy")
        await desk.make("old", "admin")
        await desk.ask("admin", "DELETE", "/api/v1/tokens/old")
        await desk.deploy("ci", "1.0")
        await desk.ask("ci", "PUT", f"{ROOT}/staging-site/lock", {})
        texts = desk.texts
    database = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("longshore.db*"))
    assert all(texts[name].encode() not in database for name in texts)
    async with build(settings) as manager:
        desk = Desk(manager, tmp_path)
        desk.texts = texts
        assert said(await desk.ask("old", "GET", ROOT)) == (401, "UNAUTHORIZED")
        assert said(await desk.deploy("ci", "2.0")) == (423, "DEPLOYMENT_LOCKED")
