"""Past the commit: what may still get requests goes on, and what could not be finished is finished by the monitor."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from longshore.errors import InternalError
from longshore.health.monitor import Monitor
from longshore.model import RolloutStatus
from longshore.rollout.engine import Engine
from longshore.rollout.plan import Context
from longshore.rollout.steps.instances import KeepWarm
from longshore.rollout.terms import Terms
from longshore.routers.base import Traffic
from longshore.routers.mock import MockRouter
from longshore.store.sqlite import StoreUnavailable
from support.shop import Shop, until


@asynccontextmanager
async def watched(shop: Shop) -> AsyncIterator[None]:
    running = asyncio.create_task(Monitor(shop.lab.world, lambda _: shop.lab.driver, 1000).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def refuse_past_the_commit(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The router refuses what a committed rollout asks for, as long as the list holds something."""
    real, refusing = MockRouter.apply, [1]

    async def apply(self: MockRouter, name: str, traffic: Traffic, *, ill_too: bool = False) -> None:
        last = shop.last()
        self.refuse.clear()
        if refusing and last.number > 1 and last.status in (RolloutStatus.committed, RolloutStatus.succeeded):
            self.refuse["shop"] = "Envoy is away"
        await real(self, name, traffic)

    monkeypatch.setattr(MockRouter, "apply", apply)
    return refusing


@pytest.mark.parametrize("strategy", ["canary", "blue-green"])
async def test_nothing_is_stopped_behind_a_shift_that_failed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    await shop.deployed("1.0", strategy=strategy)
    refusing = refuse_past_the_commit(shop, monkeypatch)
    ended = await shop.deploy("2.0", strategy=strategy)
    assert ended.status is RolloutStatus.succeeded
    assert shop.driver_world.running("1.0") == 2
    assert "warning: The rest is left to the monitor, until the router has the new routing." in shop.events()
    async with watched(shop):
        told = "error: something could not be mended, and is tried again in 10 s: Envoy is away"
        await until(lambda: shop.events().count(told) >= 3, "the monitor has tried thrice")
        assert shop.driver_world.running("1.0") == 2
        refusing.clear()
        await until(lambda: shop.driver_world.running("1.0") == 0, "the old set is gone")
        await until(lambda: len(shop.lab.store.instances("shop")) == 2, "its rows are gone")
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_a_shift_past_the_commit_is_tried_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.deployed("1.0", strategy="canary")
    refusing = refuse_past_the_commit(shop, monkeypatch)
    real = Engine._bounded

    async def bounded(self: Engine, step: Any, *args: Any, **kwargs: Any) -> str:
        try:
            return await real(self, step, *args, **kwargs)
        finally:
            if step.name == "promote":
                refusing.clear()

    monkeypatch.setattr(Engine, "_bounded", bounded)
    await shop.deployed("2.0", strategy="canary")
    assert shop.lab.assert_settled(replicas=2) == "2.0"


@pytest.mark.parametrize("change", ["scale", "rollback"])
async def test_a_warm_set_is_not_stopped_while_it_stands_in_the_routing(shop: Shop, change: str) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    if change == "scale":
        await shop.outcome(await shop.lab.service.scale("shop", 3, terms=Terms("ana")))
    else:
        shop.script("3.0", never_ready=True)
        held = await shop.deploy("3.0", strategy="blue-green", rollback_on_failure=False)
        assert held.status is RolloutStatus.held
        assert (await shop.rollback()).status is RolloutStatus.succeeded
    deployment = shop.lab.store.deployment("shop")
    assert deployment is not None
    assert deployment.routing is not None
    known = {instance.id for instance in shop.lab.store.instances("shop")}
    assert {id for pool in deployment.routing.pools for id in pool.instances} <= known
    shop.clock.advance(100)
    async with watched(shop):
        await until(lambda: shop.driver_world.running("1.0") == 0, "the warm set is gone")
        replicas = 3 if change == "scale" else 2
        await until(lambda: len(shop.lab.store.instances("shop")) == replicas, "its rows are gone")
    assert shop.lab.assert_settled(replicas=replicas) == "2.0"


async def test_what_is_held_outlives_a_warm_set(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    shop.script("3.0", never_ready=True)
    held = await shop.deploy("3.0", strategy="blue-green", rollback_on_failure=False)
    assert held.status is RolloutStatus.held
    shop.clock.advance(100)
    async with watched(shop):
        await until(lambda: shop.driver_world.running("1.0") == 0, "the warm set is gone")
        await until(lambda: shop.lab.store.instance("shop-1-0") is None, "it is forgotten")
    assert len([i for i in shop.lab.store.instances("shop") if i.version == "3.0"]) == 2


async def test_a_rollout_whose_end_could_not_be_written_is_brought_to_an_end_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0")
    full = []

    def look(point: str) -> None:
        if point == "begin" and full:
            raise sqlite3.OperationalError("database or disk is full")

    shop.script("2.0", start_block="after")
    rollout = await shop.begin("2.0")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    shop.lab.store.db._on_write = look
    full.append(True)
    shop.driver_world.unblock("2.0")
    await until(lambda: rollout.id not in shop.lab.runner._running, "the task of the rollout is gone")
    assert shop.last().status is RolloutStatus.running
    full.clear()
    async with watched(shop):
        await until(lambda: shop.last().status is RolloutStatus.unwound, "it was taken up again")
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_warm_set_that_could_not_be_written_down_is_kept_warm_as_soon_as_it_can(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0", strategy="blue-green")
    real = KeepWarm.run

    def refuse() -> None:
        raise StoreUnavailable("The database cannot be written: its disk is full.")

    async def run(self: KeepWarm, context: Context) -> str:
        shop.lab.at_write[shop.lab.writes + 1] = refuse
        return await real(self, context)

    rollout = await shop.begin("2.0", strategy="blue-green")
    with monkeypatch.context() as patched:
        patched.setattr(KeepWarm, "run", run)
        with pytest.raises(InternalError) as interrupted:
            await shop.outcome(rollout)
    assert shop.last().status is RolloutStatus.committed
    assert "is stopping" not in interrupted.value.message
    assert f"GET /api/v1/deployments/shop/rollouts/{rollout.id}" in interrupted.value.message
    shop.lab.runner.pick_up()
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    warm = [instance for instance in shop.lab.store.instances("shop") if instance.retire_at is not None]
    assert [instance.version for instance in warm] == ["1.0", "1.0"]
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_who_waits_while_the_manager_stops_is_told_so(shop: Shop) -> None:
    await shop.deployed("1.0")
    shop.script("2.0", start_block="after")
    rollout = await shop.begin("2.0")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    await shop.lab.runner.close()
    with pytest.raises(InternalError, match="is stopping"):
        await shop.outcome(rollout)
