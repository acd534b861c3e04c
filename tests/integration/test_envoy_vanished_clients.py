"""A client that is gone without a word: its machine lost power, or the way there is lost. No FIN comes, and no RST.

A network namespace of the test's own stands for that machine; it loses its address, and so answers nothing any more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.connections import connected
from longshore.routers.base import Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.elsewhere import Elsewhere, elsewhere, needs_elsewhere
from support.envoy import A, B, Events, needs_envoy, pool
from support.manager import until

__all__ = ["elsewhere"]
pytestmark = [needs_envoy, needs_elsewhere]


@pytest.fixture
async def router(tmp_path: Path, elsewhere: Elsewhere) -> AsyncIterator[EnvoyRouter]:
    router = EnvoyRouter(tmp_path / "envoy", listen_host=elsewhere.here, on_event=Events())
    try:
        await router.restore({})
        yield router
    finally:
        await router.shutdown()


async def test_a_quiet_client_that_vanished_is_found_by_keep_alive_and_its_instance_is_rid_of_it(
    router: EnvoyRouter, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.resources._KEEP_ALIVE", ((1, 9, 1), (6, 4, 1), (6, 5, 1), (6, 6, 2)))
    port = free_port()
    async with Backend("v1") as v1, Backend("v2") as v2:
        await router.apply("shop", Traffic(port, pool(A, v1)))
        assert await asyncio.to_thread(elsewhere.client, port, "/ws") == "HTTP/1.1 101"
        await router.apply("shop", Traffic(port, pool(B, v2)))
        assert connected([v1.target])
        elsewhere.vanish()
        await until(lambda: not connected([v1.target]), "the instance is rid of it", 15.0)


async def test_a_client_that_vanished_in_the_middle_of_a_stream_holds_up_a_drain_for_no_longer_than_its_bound(
    router: EnvoyRouter, elsewhere: Elsewhere
) -> None:
    port = free_port()
    async with Backend("v1") as v1, Backend("v2") as v2:
        await router.apply("shop", Traffic(port, pool(A, v1)))
        assert await asyncio.to_thread(elsewhere.client, port, "/events") == "HTTP/1.1 200"
        elsewhere.vanish()
        began = time.monotonic()
        await router.apply("shop", Traffic(port, pool(B, v2)))
        assert await router.drained("shop", (v1.target,), 1.0) == {v1.target}
        assert time.monotonic() - began < 10.0
        await v1.die()
        await until(lambda: not connected([v1.target]), "what was cut is gone")
