"""Clients that come in too great a number, say too little, or go without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.connections import connected
from longshore.routers.base import Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.envoy import A, B, Events, envoy_router, needs_envoy, pool
from support.flood import Flood
from support.load import Client, Load, ask
from support.manager import until

pytestmark = needs_envoy

#: of all ports together; one has three quarters
MOST = 400


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longshore.routers.envoy.limits.MAX_CONNECTIONS", MOST)
    monkeypatch.setattr("longshore.routers.envoy.keeper.ROUND_S", 0.2)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def router(tmp_path: Path, events: Events) -> AsyncIterator[EnvoyRouter]:
    async with envoy_router(tmp_path / "envoy", on_event=events) as router:
        await router.restore({})
        yield router


@pytest.fixture
async def v1() -> AsyncIterator[Backend]:
    async with Backend("v1") as backend:
        yield backend


def open_files(router: EnvoyRouter) -> int:
    return len(list(Path(f"/proc/{router._process.pid}/fd").iterdir()))


@pytest.mark.parametrize("first", [b"", b"GET /slow?60 HTTP/1.1\r\nhost: x\r\n\r\n"], ids=["idle", "busy"])
async def test_a_flood_on_one_port_is_refused_beyond_its_share_and_leaves_the_others_theirs(
    router: EnvoyRouter, v1: Backend, events: Events, first: bytes
) -> None:
    flooded, other = free_port(), free_port()
    async with Backend("v2") as v2:
        await router.apply("shop", Traffic(flooded, pool(A, v1)))
        await router.apply("other", Traffic(other, pool(B, v2)))
        before = open_files(router)
        async with Load(other, connections=4, pause_s=0.005) as load:
            async with Flood(flooded, MOST, first=first) as flood:
                await flood.settled(closed=MOST // 4)
                assert flood.answers == []
                await load.until(50)
                await router.apply("other", Traffic(other, pool(A, v2)))
                await until(lambda: events, "the flood is told of")
            await until(lambda: open_files(router) <= before + 2 * load.connections + 2, "Envoy has closed its files")
            assert (await ask(flooded)).status == 200
        assert load.failures == [], load.summary()
    assert events == [("warning", f"{MOST // 4} client connections were closed at once: 300 of shop is the most")]


async def test_floods_on_all_ports_leave_the_manager_its_way_in(
    router: EnvoyRouter, v1: Backend, events: Events
) -> None:
    ports = free_port(), free_port()
    for name, port in zip(("shop", "other"), ports, strict=True):
        await router.apply(name, Traffic(port, pool(A, v1)))
    async with Flood(ports[0], MOST // 2), Flood(ports[1], MOST // 2 + 50) as late:
        await until(lambda: late.closed == 50, "those beyond all are refused")
        async with Backend("v2") as v2:
            wanted = Traffic(ports[0], pool(B, v2))
            await router.apply("shop", wanted)
            assert await router.verify("shop", wanted) is True
        await until(lambda: events, "the flood is told of")
    assert [message.partition(" were")[2] for _, message in events] == [
        f" closed at once: {MOST} of all ports together is the most"
    ]
    assert (await ask(ports[1])).status == 200


async def test_a_client_that_never_finishes_its_header_is_sent_away(
    router: EnvoyRouter, v1: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.resources.HEADER_S", 1)
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    async with Flood(port, 50, first=b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ") as loris:
        await loris.settled(closed=50)
    assert {answer.partition(b"\r\n")[0] for answer in loris.answers} == {b"HTTP/1.1 408 Request Timeout"}
    assert v1.requests == 0


async def test_a_body_that_comes_slowly_is_no_slow_header(
    router: EnvoyRouter, v1: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.resources.HEADER_S", 1)
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 15\r\n\r\n")
    for _ in range(15):
        writer.write(b"x")
        await asyncio.sleep(0.1)
    assert b" 200 " in await reader.readline()
    writer.close()


async def test_an_idle_client_is_kept(router: EnvoyRouter, v1: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("longshore.routers.envoy.resources.HEADER_S", 1)
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    client = Client(port)
    assert (await client.request()).status == 200
    await asyncio.sleep(1.5)
    assert (await client.request()).status == 200
    client.close()


async def test_a_client_that_closes_its_half_leaves_nothing_at_the_instance(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n")
    await reader.readuntil(b"data: 1")
    assert connected([v1.target])
    writer.write_eof()
    await until(lambda: not connected([v1.target]), "the instance is rid of it")
    writer.close()
