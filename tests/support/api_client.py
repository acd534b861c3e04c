"""The API in the test's own process, and under a real server on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr

from longshore.access.locks import Locks
from longshore.access.tokens import Tokens
from longshore.api import server
from longshore.api.app import create_app
from longshore.api.service import Service
from longshore.api.settings import ApiSettings
from longshore.clock import SystemClock
from longshore.doctor import Doctor
from longshore.model import Delivery, DeliveryState
from longshore.store import Store
from longshore.webhooks.desk import Desk
from longshore.webhooks.outbox import Outbox
from longshore.webhooks.receiver import Webhook
from support.fake_access import FakeDoctor, FakeLocks, tokens_in_memory

TOKEN = "t0ken-of-the-tests"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


def app_of(service: Service, *, tokens: Tokens | None = None, **settings: Any) -> FastAPI:
    tokens = tokens or tokens_in_memory("ci")
    given = ApiSettings(**{"token": TOKEN, "find_token": tokens.find, **settings})
    locks, doctor = cast(Locks, FakeLocks()), cast(Doctor, FakeDoctor())
    return create_app(service, desk(), tokens, locks, doctor, given, ready=lambda: True, version="0.0.1")


def desk() -> Desk:
    """Of one webhook, `chat`, with one delivery, `msg_1`; in memory."""
    store = Store(Path(":memory:"), SystemClock())
    store.take_over()
    webhooks = (Webhook(name="chat", url=SecretStr("http://127.0.0.1:9/secret-path")),)
    store.add_delivery(Delivery("msg_1", "chat", "rollout.failed", "shop", "{}", DeliveryState.dead, 1.0, 1.0))
    return Desk(store, SystemClock(), Outbox(store, SystemClock(), webhooks), webhooks)


def client_of(app: FastAPI, *, authenticated: bool = True) -> httpx2.AsyncClient:
    """A client that calls the application directly. Unforeseen errors become the answer they become in production."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    headers = AUTH if authenticated else {}
    return httpx2.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


async def until(condition: Callable[[], object], seconds: float = 10) -> None:
    """Wait for what announces itself in no other way. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@dataclass
class Running:
    server: server.Server
    task: asyncio.Task[None]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def socket_url(self, name: str, query: str = "") -> str:
        return f"ws://127.0.0.1:{self.port}/api/v1/deployments/{name}/progress{query}"


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[Running]:
    """The application under uvicorn, in this event loop."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    instance = server.build(app, loop="none")
    task = asyncio.create_task(instance._serve([listener]))
    await until(lambda: instance.started)
    try:
        yield Running(instance, task, listener.getsockname()[1])
    finally:
        instance.should_exit = True
        async with asyncio.timeout(10):
            await task
        listener.close()
