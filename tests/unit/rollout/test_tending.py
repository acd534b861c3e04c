"""What serves is kept running while a rollout waits: nobody else may act on its deployment."""

from __future__ import annotations

import asyncio

import pytest

from longshore.drivers.base import DriverError
from longshore.model import CanaryStep, Rollout, RolloutStatus
from longshore.rollout.terms import Terms
from longshore.routers.base import RouterError
from support.shop import Shop, until

MANUAL = {"strategy": "canary", "canary": {"steps": (CanaryStep(50, "manual"), CanaryStep(100, 0.0))}}


async def paused(shop: Shop) -> None:
    await until(lambda: shop.last().status is RolloutStatus.paused, "it is paused")


async def waiting(shop: Shop) -> Rollout:
    """A canary that waits for a person; 1.0 serves beside it."""
    await shop.deployed("1.0", strategy="rolling")
    rollout = await shop.begin("2.0", **MANUAL)
    await paused(shop)
    return rollout


def told(shop: Shop) -> list[str]:
    return [each for each in shop.events() if "starting it again" in each]


async def until_started_again(shop: Shop, id: str, times: int = 1) -> None:
    await until(lambda: len(told(shop)) >= times and shop.driver_world.find(id) is not None, f"{id} is started again")
    await until(lambda: shop.driver_world.ready(id), f"{id} is ready")


@pytest.mark.parametrize("restart", [False, True])
async def test_an_instance_that_serves_beside_a_canary_is_started_again(shop: Shop, restart: bool) -> None:
    rollout = await waiting(shop)
    if restart:
        await shop.restart()
        await shop.lab.runner.recover()
        await until(lambda: shop.step_running("watch_canary_50"), "it is watched again")
    shop.driver_world.kill("shop-1-0")
    await until_started_again(shop, "shop-1-0")
    assert shop.last().status is RolloutStatus.paused
    assert shop.lab.store.instance("shop-1-0").restarts == 1  # type: ignore[union-attr]
    await shop.lab.service.promote("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_each_time_it_ends_it_is_started_again(shop: Shop) -> None:
    rollout = await waiting(shop)
    for times in (1, 2, 3):
        shop.driver_world.kill("shop-1-1")
        await until_started_again(shop, "shop-1-1", times)
    assert "(restart 3)" in told(shop)[-1]
    await shop.lab.service.abort("shop", rollout.id, terms=Terms("ana"))
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_an_instance_that_serves_while_any_rollout_is_paused_is_started_again(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    rollout = await shop.begin("2.0", strategy="blue-green")
    await shop.lab.service.pause("shop", rollout.id, terms=Terms("ana"))
    await paused(shop)
    shop.driver_world.kill("shop-1-0")
    await until_started_again(shop, "shop-1-0")
    await shop.lab.service.resume("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded


async def test_a_candidate_that_ends_is_not_started_again_but_fails_the_rollout(shop: Shop) -> None:
    rollout = await waiting(shop)
    shop.driver_world.kill("shop-2-0")
    shop.lab.world.board.mark("shop-2-0", "shop", ready=False, message="it was killed")  # as the monitor does
    assert (await shop.outcome(rollout)).status is RolloutStatus.unwound
    assert told(shop) == []


async def test_the_router_is_told_the_new_port_where_the_old_one_was_taken(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await waiting(shop)
    before = shop.lab.store.instance("shop-1-0")
    assert before is not None
    monkeypatch.setattr(type(shop.lab.world.ports), "is_free", lambda _, port: port != before.port)
    shop.driver_world.kill("shop-1-0")
    await until_started_again(shop, "shop-1-0")

    def served() -> bool:
        after, traffic = shop.lab.store.instance("shop-1-0"), shop.router.applied["shop"]
        assert after is not None
        assert traffic.stable is not None
        return after.port != before.port and after.port in {each.port for each in traffic.stable.targets}

    await until(served, "the router has the new port")
    assert shop.router.applied["shop"].weight == 50


@pytest.mark.parametrize("error", [DriverError("no memory"), RouterError("not now"), RuntimeError("a fault")])
async def test_a_start_that_fails_is_told_and_tried_again(
    shop: Shop, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    await waiting(shop)
    fleet = shop.lab.world.fleet
    start_again, failures = fleet.start_again, [error]

    async def failing(id: str) -> object:
        if failures:
            raise failures.pop()
        return await start_again(id)

    monkeypatch.setattr(fleet, "start_again", failing)
    shop.driver_world.kill("shop-1-0")
    await until_started_again(shop, "shop-1-0", 2)
    assert shop.last().status is RolloutStatus.paused


async def test_nothing_of_it_goes_on_when_the_rollout_does(shop: Shop) -> None:
    rollout = await waiting(shop)
    await shop.lab.service.promote("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    for _ in range(20):
        await asyncio.sleep(0)
    assert told(shop) == [], "old instances that were retired came back"
    assert shop.driver_world.running("1.0") == 0
