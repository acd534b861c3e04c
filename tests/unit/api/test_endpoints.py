"""The list of endpoints over the API: waiting for another revision."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from longshore.rollout.reports import EndpointList
from support.api_client import app_of, client_of
from support.fake_service import FakeService, spec

ROOT = "/api/v1/deployments"


class Slow(FakeService):
    """Nothing ever changes."""

    asked: str | None = None

    async def endpoints(self, name: str, after: str | None = None) -> EndpointList:
        self.asked = after
        if after is not None:
            await asyncio.Event().wait()
        return await super().endpoints(name)


async def test_the_list_has_addresses_and_shares() -> None:
    async with client_of(app_of(FakeService())) as client:
        await client.post(ROOT, json=spec())
        body: dict[str, Any] = (await client.get(f"{ROOT}/shop/endpoints")).json()
    assert (body["deployment"], body["port"], body["serves"]) == ("shop", 8080, True)
    assert body["pools"][0]["targets"] == [
        {"instance": "shop-1-0", "version": "1.0", "host": "", "address": "127.0.0.1", "port": 20001, "ready": True}
    ]


@pytest.mark.parametrize("wait", ["", "abc", "0123456789ABCDEF", "0" * 17, "../etc/passwd"])
async def test_what_is_no_revision_is_refused(wait: str) -> None:
    async with client_of(app_of(FakeService())) as client:
        await client.post(ROOT, json=spec())
        answer = await client.get(f"{ROOT}/shop/endpoints", params={"wait": wait})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_DEPLOYMENT_SPEC")


async def test_a_manager_that_stops_keeps_nobody_waiting() -> None:
    service = Slow()
    app = app_of(service)
    async with client_of(app) as client:
        await client.post(ROOT, json=spec())
        waiting = asyncio.ensure_future(client.get(f"{ROOT}/shop/endpoints", params={"wait": "0" * 16}))
        async with asyncio.timeout(5):
            while service.asked is None:  # noqa: ASYNC110 - there is nothing else to wait for
                await asyncio.sleep(0.01)
        app.state.api.stopping.set()
        answer = await asyncio.wait_for(waiting, 5)
    assert answer.status_code == 500
