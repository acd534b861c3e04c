"""The Envoy router under load: nothing is lost on any way from one traffic to another."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from longshore.routers.base import Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.envoy import A, B, C, envoy_router, needs_envoy, pool
from support.load import Client, Load, ask

pytestmark = needs_envoy


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[EnvoyRouter]:
    async with envoy_router(tmp_path / "envoy") as router:
        await router.restore({})
        yield router


@pytest.fixture
async def v1() -> AsyncIterator[Backend]:
    async with Backend("v1") as backend:
        yield backend


@pytest.fixture
async def v2() -> AsyncIterator[Backend]:
    async with Backend("v2") as backend:
        yield backend


async def test_fifty_flips_lose_no_request(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    async with Load(port) as load:
        for _ in range(25):
            await router.apply("shop", Traffic(port, pool(B, v2)))
            await load.until_answered_by("v2")
            await router.apply("shop", Traffic(port, pool(A, v1)))
            await load.until_answered_by("v1")
    assert load.failures == [], load.summary()


async def test_after_a_flip_only_the_new_version_answers(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    async with Load(port) as load:
        await load.until(100)
        await router.apply("shop", Traffic(port, pool(B, v2)))
        # Requests that began before the flip may still end by the old one: one for each connection.
        before = v1.requests
        await load.until(300)
    assert v1.requests - before <= load.connections
    assert load.failures == []


@pytest.mark.parametrize("weight", [5, 25, 50])
async def test_a_canary_gets_its_share(router: EnvoyRouter, v1: Backend, v2: Backend, weight: int) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), weight))
    async with Load(port) as load:
        await load.until(4000)
    share = 100 * load.by_version["v2"] / load.requests
    # Four standard deviations of a binomial with n = 4000 at 50 % are 3.2 points.
    assert share == pytest.approx(weight, abs=3.2)
    assert load.failures == []


async def test_a_warm_candidate_gets_no_request_but_the_asked_for(
    router: EnvoyRouter, v1: Backend, v2: Backend
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), 0))
    async with Load(port) as load:
        await load.until(200)
    assert set(load.by_version) == {"v1"}
    asked = await ask(port, x_canary="1")
    assert asked.headers["x-version"] == "v2"


async def test_rolling_over_abruptly_dying_instances_loses_no_request(router: EnvoyRouter) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        old = [await stack.enter_async_context(Backend("v1")) for _ in range(4)]
        new = [await stack.enter_async_context(Backend("v2")) for _ in range(4)]
        await router.apply("shop", Traffic(port, pool(A, *old)))
        async with Load(port) as load:
            await load.until(200)
            for turn in range(4):
                leaving, staying, arrived = old[turn], old[turn + 1 :], new[: turn + 1]
                weight = 100 * len(arrived) // (len(arrived) + len(staying))
                shifted = Traffic(port, pool(A, *staying), pool(B, *arrived), weight)
                await router.apply("shop", shifted)
                assert await router.verify("shop", shifted)
                assert await router.drained("shop", (leaving.target,), 5.0) == frozenset()
                await leaving.die()
                await load.until(100)
            await router.apply("shop", Traffic(port, pool(B, *new)))
            await load.until(200)
        assert load.failures == [], load.summary()
        assert load.by_version["v2"] >= 200


async def test_rolling_within_one_pool_loses_no_request(router: EnvoyRouter) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(Backend("v1")) for _ in range(2)]
        await router.apply("shop", Traffic(port, pool(A, *running)))
        async with Load(port) as load:
            for _ in range(4):
                await load.until(100)
                running.append(await stack.enter_async_context(Backend("v2")))
                leaving = running.pop(0)
                await router.apply("shop", Traffic(port, pool(A, *running)))
                assert await router.drained("shop", (leaving.target,), 5.0) == frozenset()
                await leaving.die()
        assert load.failures == [], load.summary()


async def test_held_requests_are_answered_by_the_instances_that_come(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    async with Load(port) as load:
        await load.until(100)
        await router.apply("shop", Traffic(port, pool(B), hold=30.0))
        assert await router.drained("shop", (v1.target,), 5.0) == frozenset()
        await v1.die()
        await load.until_waiting()
        async with Backend("v2") as v2:
            released = Traffic(port, pool(B, v2))
            await router.apply("shop", released)
            assert await router.verify("shop", released)
            await load.until_answered_by("v2")
            await load.until(100)
            await load.stop()
    assert load.failures == [], load.summary()


async def test_held_requests_are_answered_by_the_old_pool_when_the_new_one_never_came(
    router: EnvoyRouter, v1: Backend
) -> None:
    port = free_port()
    old = Traffic(port, pool(A, v1))
    await router.apply("shop", old)
    async with Load(port) as load:
        await router.apply("shop", Traffic(port, pool(B), hold=30.0))
        await load.until_waiting()
        await router.apply("shop", old)
        assert await router.verify("shop", old)
        await load.until(100)
    assert load.failures == [], load.summary()
    assert max(load.latencies) < 5.0


async def test_holds_in_quick_succession_lose_no_request(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    async with Load(port) as load:
        for id in (B, C, A, B):
            await router.apply("shop", Traffic(port, pool(id), hold=30.0))
            await router.apply("shop", Traffic(port, pool(id, v1)))
        await router.apply("shop", Traffic(port, pool(A), hold=30.0))
        await router.apply("shop", Traffic(port, pool(C), hold=30.0))
        await load.until_waiting()
        await router.apply("shop", Traffic(port, pool(C, v1)))
        await load.until(100)
    assert load.failures == [], load.summary()


async def test_a_request_in_flight_outlives_the_hold(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    slow = asyncio.create_task(ask(port, "/slow?1.0"))
    await until(lambda: v1.requests == 1, "the slow request to arrive")
    await router.apply("shop", Traffic(port, pool(B), hold=30.0))
    assert await router.drained("shop", (v1.target,), 0.2) == {v1.target}
    await router.apply("shop", Traffic(port, pool(B, v2)))
    assert (await slow).headers["x-version"] == "v1"


async def test_a_hold_of_0_answers_503_with_retry_after(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    await router.apply("shop", Traffic(port, pool(B), hold=0))
    answer = await ask(port)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_a_hold_ends_with_503_at_its_bound(router: EnvoyRouter) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(B), hold=1.0))
    answer = await asyncio.wait_for(ask(port), 10.0)
    assert answer.status == 503


async def test_a_large_body_is_held(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(B), hold=30.0))
    body = b"x" * 3_000_000
    held = asyncio.create_task(ask(port, method="POST", body=body))
    await until_held(router, B)
    await router.apply("shop", Traffic(port, pool(B, v1)))
    assert (await held).body == body


async def test_a_sticky_client_stays_where_it_began(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), 50, sticky=True))
    seen = set()
    for _ in range(20):
        client = Client(port)
        first = await client.request()
        cookie = first.headers["set-cookie"].split(";")[0]
        again = {(await client.request(headers={"cookie": cookie})).headers["x-version"] for _ in range(5)}
        assert again == {first.headers["x-version"]}
        seen |= again
        client.close()
    assert seen == {"v1", "v2"}


async def test_the_canary_header_beats_the_cookie(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), 5, sticky=True))
    answer = await ask(port, cookie=f"longshore_shop={A}", x_canary="1")
    assert answer.headers["x-version"] == "v2"


async def test_a_client_cannot_choose_another_deployment(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    # These two share a route file: CRC-32 of both names is 2 modulo 16, or another pair would prove nothing.
    first, second = "shop", "n19"
    assert router._stages.shard(first) is router._stages.shard(second)
    ports = free_port(), free_port()
    await router.apply(first, Traffic(ports[0], pool(A, v1)))
    await router.apply(second, Traffic(ports[1], pool(B, v2)))
    answer = await ask(ports[0], "/headers", x_longshore_app=second)
    assert answer.headers["x-version"] == "v1"
    assert b"x-longshore-app" not in answer.body


async def test_the_application_sees_the_client_and_keeps_its_server_header(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    answer = await ask(port, "/headers")
    assert b"x-forwarded-for: " in answer.body
    assert answer.headers["server"] == "backend"


async def test_a_websocket_lives_through_a_flip(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5.0)
    assert b" 101 " in head
    await router.apply("shop", Traffic(port, pool(B, v2)))
    assert await router.drained("shop", (v1.target,), 0.2) == {v1.target}
    writer.write(b"still here")
    assert await asyncio.wait_for(reader.readexactly(10), 5.0) == b"still here"
    writer.close()
    await writer.wait_closed()
    assert await router.drained("shop", (v1.target,), 5.0) == frozenset()


async def test_an_event_stream_lives_through_a_flip(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /events HTTP/1.1\r\nhost: test\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"data: 0\n\n"), 5.0)
    await router.apply("shop", Traffic(port, pool(B, v2)))
    # Each event reaches the client when it is sent: nothing on the way collects them.
    await asyncio.wait_for(reader.readuntil(b"data: 20\n\n"), 10.0)
    writer.close()
    await writer.wait_closed()
    assert await router.drained("shop", (v1.target,), 5.0) == frozenset()


async def test_a_held_websocket_handshake_is_released(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A), hold=30.0))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    await until_held(router, A)
    await router.apply("shop", Traffic(port, pool(A, v1)))
    assert b" 101 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5.0)
    writer.close()
    await writer.wait_closed()


async def test_an_application_that_closes_idle_connections_loses_no_post(router: EnvoyRouter) -> None:
    port = free_port()
    async with Backend("v1", idle_close_s=2.0) as backend:
        await router.apply("shop", Traffic(port, pool(A, backend)))
        # Each client asks at about the moment its connection would be closed by the application.
        async with Load(port, connections=64, post_every=1, pause_s=1.995) as load:
            await load.until(64 * 3)
    assert load.failures == [], load.summary()


async def test_prior_knowledge_http2_is_answered(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    # Connection preface and an empty SETTINGS frame (RFC 9113, 3.4); the server's own SETTINGS has type 4.
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
    frame = await asyncio.wait_for(reader.readexactly(9), 5.0)
    writer.close()
    await writer.wait_closed()
    assert frame[3] == 4


async def test_figures_of_a_window_are_those_of_its_requests(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), 50))
    async with Load(port) as load:
        await load.until(200)
    before = await router.figures("shop", A), await router.figures("shop", B)
    async with Load(port) as load:
        await load.until(500)
    async with Load(port, connections=2, path="/status?500") as failing:
        await failing.until(50)
    after = await router.figures("shop", A), await router.figures("shop", B)
    requests = errors = latencies = 0
    for first, last in zip(before, after, strict=True):
        assert first is not None
        assert last is not None
        assert first.epoch == last.epoch
        requests += last.requests - first.requests
        errors += last.errors_5xx - first.errors_5xx
        latencies += sum(last.latency_ms.values()) - sum(first.latency_ms.values())
    assert math.inf in (after[0].latency_ms if after[0] is not None else {})
    assert requests == latencies == load.requests + failing.requests
    assert errors == failing.requests


async def test_a_changed_pool_begins_a_new_epoch(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1)))
    first = await router.figures("shop", A)
    await router.apply("shop", Traffic(port, pool(A, v1, v2)))
    second = await router.figures("shop", A)
    assert first is not None
    assert second is not None
    assert first.epoch != second.epoch


async def test_a_crashing_instance_costs_no_get(router: EnvoyRouter) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(Backend("v1")) for _ in range(4)]
        await router.apply("shop", Traffic(port, pool(A, *running)))
        async with Load(port) as load:
            await load.until(200)
            await running[0].die()
            await load.until(500)
    assert [each for each in load.failures if each.method == "GET"] == []


async def until(reached: object, what: str, bound_s: float = 5.0) -> None:
    assert callable(reached)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + bound_s
    while not reached():
        assert loop.time() < deadline, f"waited {bound_s:g} s for {what}"
        await asyncio.sleep(0.005)


async def until_held(router: EnvoyRouter, id: str) -> None:
    """Until some request was sent to the placeholder, and so is held."""
    for _ in range(500):
        figures = await router.figures("shop", id)
        if figures is not None and figures.connect_failures:
            return
    raise AssertionError("no request was held")
