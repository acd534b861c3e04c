"""Traffic is shifted while the instances it goes to may end: nobody waits for the router in vain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from longshore.errors import HealthCheckFailed
from longshore.model import Pool, Routing
from longshore.rollout.control import Control
from longshore.rollout.plan import Context
from longshore.rollout.steps.traffic import REVIVAL_PAUSES_S, ShiftTraffic
from support.makers import make_rollout
from support.shop import Shop


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.deployed("1.0", strategy="rolling")
    yield shop
    await shop.close()


def routing_of(shop: Shop) -> Routing:
    deployment = shop.lab.store.deployment("shop")
    assert deployment is not None
    assert deployment.routing is not None
    return deployment.routing


def ids_of(shop: Shop) -> tuple[str, ...]:
    stable = routing_of(shop).stable
    assert stable is not None
    return stable.instances


def context_of(shop: Shop, said: list[str]) -> Context:
    store = shop.lab.store
    current = store.release("shop", "1.0")
    assert current is not None
    rollout = store.open_rollout(make_rollout("r2", "1.0", spec=current.spec))
    return Context(shop.lab.world, rollout, say=said.append, advance=lambda: None, promoted=Control().promotion())


async def waits(router: asyncio.Event, task: asyncio.Task[str]) -> None:
    """Until the step waits for the router."""
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    assert not router.is_set()


async def test_an_instance_that_ends_while_its_traffic_is_given_back_is_started_again_at_once(shop: Shop) -> None:
    before, ids, said = routing_of(shop), ids_of(shop), list[str]()
    step = ShiftTraffic(before, replace(before, stable=Pool("12345678", "1.0", ()), hold=30.0))
    context = context_of(shop, said)
    await step.run(context)
    gate = shop.router.gate = asyncio.Event()
    undoing = asyncio.create_task(step.undo(context))
    await waits(gate, undoing)
    shop.router.gate = None
    shop.driver_world.kill(ids[0])
    # The router would never have answered the first asking.
    await asyncio.wait_for(undoing, 5.0)
    assert shop.driver_world.running_ids() == set(ids)
    assert shop.serving() == "1.0"
    assert len(said) == 1
    assert f"instance {ids[0]} has ended" in said[0]


async def test_one_that_keeps_ending_gets_the_routers_time_in_the_end(shop: Shop) -> None:
    before, ids, said = routing_of(shop), ids_of(shop), list[str]()
    step = ShiftTraffic(before, replace(before, stable=Pool("12345678", "1.0", ()), hold=30.0))
    context = context_of(shop, said)
    await step.run(context)
    gate = shop.router.gate = asyncio.Event()
    undoing = asyncio.create_task(step.undo(context))
    for turn in range(1, len(REVIVAL_PAUSES_S) + 1):
        await waits(gate, undoing)
        shop.driver_world.kill(ids[0])
        for _ in range(200):
            await asyncio.sleep(0)
        assert len(said) == turn
    await waits(gate, undoing)
    shop.driver_world.kill(ids[0])
    await waits(gate, undoing)
    gate.set()
    await asyncio.wait_for(undoing, 5.0)


async def test_a_new_instance_that_ends_while_traffic_is_shifted_to_it_fails_the_step_at_once(shop: Shop) -> None:
    before, ids = routing_of(shop), ids_of(shop)
    new = Pool("12345678", "1.0", ids[:1])
    step = ShiftTraffic(replace(before, stable=Pool("11111111", "1.0", ids[1:])), replace(before, stable=new))
    gate = shop.router.gate = asyncio.Event()
    running = asyncio.create_task(step.run(context_of(shop, [])))
    await waits(gate, running)
    shop.driver_world.kill(ids[0])
    with pytest.raises(HealthCheckFailed, match=f"instance {ids[0]} has ended"):
        await asyncio.wait_for(running, 5.0)


async def test_an_old_instance_that_ends_while_traffic_is_shifted_away_from_it_fails_nothing(shop: Shop) -> None:
    before, ids = routing_of(shop), ids_of(shop)
    step = ShiftTraffic(before, replace(before, stable=Pool("12345678", "1.0", ids)))
    gate = shop.router.gate = asyncio.Event()
    running = asyncio.create_task(step.run(context_of(shop, [])))
    await waits(gate, running)
    shop.driver_world.kill(ids[0])
    await waits(gate, running)
    gate.set()
    await asyncio.wait_for(running, 5.0)
