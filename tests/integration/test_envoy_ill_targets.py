"""Targets that fail Envoy's checks, and are what there is to go back to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.routers.base import Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.envoy import A, B, envoy_router, needs_envoy, pool
from support.load import ask

pytestmark = needs_envoy


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[EnvoyRouter]:
    async with envoy_router(tmp_path / "envoy") as router:
        yield router


async def test_an_ill_target_gets_its_traffic_back_after_a_hold(router: EnvoyRouter) -> None:
    port = free_port()
    async with Backend("v1") as old:
        await router.apply("shop", Traffic(port, pool(A, old)))
        old.health = 503
        await router.apply("shop", Traffic(port, pool(B), hold=30.0))
        await router.apply("shop", Traffic(port, pool(A, old)), ill_too=True)
        assert (await ask(port)).headers["x-version"] == "v1"


async def test_of_several_the_ill_one_gets_none(router: EnvoyRouter) -> None:
    port = free_port()
    async with Backend("ill") as ill, Backend("well") as well:
        ill.health = 503
        await router.apply("shop", Traffic(port, pool(A, ill, well)), ill_too=True)
        assert {(await ask(port)).headers["x-version"] for _ in range(20)} == {"well"}
