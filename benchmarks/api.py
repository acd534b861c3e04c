"""Plain requests to a manager's API, as any client would send them: what is timed is the request, not our client."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from httpx2 import AsyncClient

from longshore.demo.stage import Stage

ROOT = "/api/v1/deployments"
#: seconds; far above anything measured here
PATIENCE_S = 120.0


class Refused(Exception):
    """The manager answered something else than was expected."""


class Api:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Seconds until the answer was complete, and the answer. Raises Refused for anything but 2xx."""
        started = time.monotonic()
        answer = await self._client.post(ROOT + path, json=dict(body))
        seconds = time.monotonic() - started
        if not answer.is_success:
            raise Refused(f"POST {ROOT}{path} answered {answer.status_code}: {answer.text}")
        result: dict[str, Any] = answer.json()
        return seconds, result


@asynccontextmanager
async def api_of(stage: Stage) -> AsyncIterator[Api]:
    endpoint = stage.client.endpoint
    headers = {"Authorization": f"Bearer {endpoint.token}"}
    async with AsyncClient(base_url=endpoint.url, headers=headers, timeout=PATIENCE_S, trust_env=False) as client:
        yield Api(client)
