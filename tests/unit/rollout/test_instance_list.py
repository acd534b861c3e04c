"""What runs, instance by instance: the states a watcher sees."""

from __future__ import annotations

import asyncio

from longshore.rollout.reports import InstanceList
from support.shop import Shop


async def now(shop: Shop) -> InstanceList:
    return await shop.lab.service.running_now("shop")


def states(found: InstanceList) -> dict[str, str]:
    return {each.id: each.state for each in found.instances}


async def test_what_serves_is_healthy_and_gets_all_requests(shop: Shop) -> None:
    await shop.deployed("1.0", replicas=2)
    found = await now(shop)
    assert states(found) == {"shop-1-0": "healthy", "shop-1-1": "healthy"}
    assert [(each.pool, each.version, each.weight) for each in found.traffic] == [("stable", "1.0", 100)]
    assert found.rollout_id is None


async def test_one_that_drains_and_one_that_is_unwell_are_told_apart(shop: Shop) -> None:
    await shop.deployed("1.0", replicas=2)
    world = shop.lab.world
    world.fleet.mute(("shop-1-0",))
    world.board.mark("shop-1-1", "shop", ready=False, message="503")
    assert states(await now(shop)) == {"shop-1-0": "draining", "shop-1-1": "unhealthy"}


async def test_what_was_stopped_runs_no_more(shop: Shop) -> None:
    await shop.deployed("1.0", replicas=1)
    await shop.lab.world.fleet.stop("shop-1-0", 1.0)
    assert states(await now(shop)) == {"shop-1-0": "stopped"}


async def test_whoever_waits_is_told_of_a_change_at_once(shop: Shop) -> None:
    await shop.deployed("1.0", replicas=1)
    before = await now(shop)
    waiting = asyncio.ensure_future(shop.lab.service.running_now("shop", before.revision))
    await asyncio.sleep(0)
    assert not waiting.done()
    shop.lab.world.fleet.mute(("shop-1-0",))
    assert states(await asyncio.wait_for(waiting, 1)) == {"shop-1-0": "draining"}
