"""Instances on other machines: reached, checked and drained by their own addresses."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.demo.stage import APP
from longshore.routers.base import RouterError, Target, Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import free_port
from support.elsewhere import Elsewhere, elsewhere, needs_elsewhere
from support.envoy import A, B, envoy_router, needs_envoy, pool
from support.load import RequestFailed, ask

__all__ = ["elsewhere"]
pytestmark = [needs_envoy, needs_elsewhere]

#: the same one on both: it is the address that tells them apart
PORT = 8000


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[EnvoyRouter]:
    async with envoy_router(tmp_path / "envoy") as router:
        yield router


@pytest.fixture
async def targets(elsewhere: Elsewhere) -> tuple[Target, Target]:
    """An application on each of two machines, which answers with the machine's address as its version."""
    for address in elsewhere.there:
        elsewhere.program(sys.executable, str(APP), HOST=address, PORT=str(PORT), RELEASE_VERSION=address)
    for address in elsewhere.there:
        async with asyncio.timeout(15):
            while True:
                try:
                    _, writer = await asyncio.open_connection(address, PORT)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                await writer.wait_closed()
                break
    first, second = elsewhere.there
    return Target(first, PORT), Target(second, PORT)


async def answers(port: int, count: int = 40) -> Counter[str]:
    return Counter([(await ask(port)).headers["x-version"] for _ in range(count)])


async def test_two_machines_with_the_same_port_both_answer(router: EnvoyRouter, targets: tuple[Target, Target]) -> None:
    traffic = Traffic(free_port(), pool(A, *targets))
    await router.apply("shop", traffic)
    assert await router.verify("shop", traffic) is True
    assert set(await answers(traffic.port)) == {target.host for target in targets}


async def test_traffic_is_shared_out_between_versions_on_two_machines(
    router: EnvoyRouter, targets: tuple[Target, Target]
) -> None:
    old, new = targets
    traffic = Traffic(free_port(), pool(A, old), pool(B, new), weight=25)
    await router.apply("shop", traffic)
    assert (await answers(traffic.port, 400))[new.host] == pytest.approx(100, abs=45)


async def test_an_instance_elsewhere_is_drained_once_its_requests_have_ended(
    router: EnvoyRouter, targets: tuple[Target, Target]
) -> None:
    old, new = targets
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, old)))
    slow = asyncio.ensure_future(ask(port, "/slow?s=2"))
    await asyncio.sleep(0.5)
    await router.apply("shop", Traffic(port, pool(B, new)))
    assert await router.drained("shop", (old,), 0.3) == {old}
    assert await router.drained("shop", (new,), 0.3) == frozenset()
    assert await router.drained("shop", (old,), 10.0) == frozenset()
    assert (slow.done(), (await slow).status) == (True, 200)


async def test_a_machine_that_vanishes_is_left_out(
    router: EnvoyRouter, targets: tuple[Target, Target], elsewhere: Elsewhere
) -> None:
    left, gone = targets  # the kernel deletes the second address with the first
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, *targets)))
    elsewhere.vanish(gone.host)
    async with asyncio.timeout(15):
        while True:
            try:
                found = await asyncio.wait_for(answers(port, 20), 2)
            except (TimeoutError, RequestFailed):
                continue
            if set(found) == {left.host}:
                break


async def test_an_instance_elsewhere_that_does_not_answer_gets_no_traffic(
    router: EnvoyRouter, targets: tuple[Target, Target], elsewhere: Elsewhere
) -> None:
    first, second = targets
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, first)))
    elsewhere.vanish(second.host)
    with pytest.raises(RouterError, match=re.escape(second.host)):
        await router.apply("shop", Traffic(port, pool(B, second)))
    assert set(await answers(port)) == {first.host}


async def test_a_request_that_may_be_repeated_outlives_the_machine_that_had_it(
    router: EnvoyRouter, targets: tuple[Target, Target], elsewhere: Elsewhere
) -> None:
    """Nobody says good-bye when a machine loses its power: the kernel has to be told to ask."""
    left, gone = targets
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, *targets)))
    waiting = [asyncio.ensure_future(ask(port, "/slow?s=2")) for _ in range(8)]
    await asyncio.sleep(0.5)  # they are with both machines by now
    elsewhere.vanish(gone.host)
    async with asyncio.timeout(20):
        answered = await asyncio.gather(*waiting)
    assert {answer.headers["x-version"] for answer in answered} == {left.host}
