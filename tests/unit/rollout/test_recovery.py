"""A manager that was stopped, in each status a rollout can be in, and what the next one makes of it."""

from __future__ import annotations

import asyncio

import pytest

from longshore.errors import InternalError
from longshore.model import RolloutKind, RolloutStatus
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.terms import Terms
from support.shop import Shop, until


async def recovered(shop: Shop) -> None:
    await shop.restart()
    assert await shop.lab.recover()


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_one_that_ran_is_undone(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy)
    shop.script("2.0", start_block="after")
    await shop.begin("2.0", strategy=strategy)
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    await recovered(shop)
    ended = shop.last()
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert (ended.failure.operation, ended.failure.cause) == ("start_instances", "the manager process ended")
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_one_without_a_plan_is_over(shop: Shop) -> None:
    await shop.deployed("1.0")
    spec = shop.last().spec
    shop.lab.runner.open(spec, RolloutKind.deploy, Terms("ana"))
    await recovered(shop)
    assert shop.last().status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_one_that_was_paused_is_paused_still_and_goes_on_where_it_was(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    shop.script("2.0", start_block="before")
    rollout = await shop.begin("2.0", strategy="rolling")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    await shop.lab.service.pause("shop", rollout.id, terms=Terms("ana"))
    shop.script("2.0")
    shop.driver_world.unblock("2.0")
    await until(lambda: shop.last().status is RolloutStatus.paused, "it is paused")
    done = shop.steps(rollout)
    await shop.restart()
    await shop.lab.runner.recover()
    await until(lambda: "info: The manager was restarted: the rollout is still paused." in shop.events(), "it is told")
    for _ in range(50):
        await asyncio.sleep(0)
    assert shop.last().status is RolloutStatus.paused
    assert shop.steps(rollout) == done
    await shop.lab.service.resume("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_one_that_was_paused_can_be_aborted_after_the_restart(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    shop.script("2.0", start_block="before")
    rollout = await shop.begin("2.0", strategy="rolling")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    await shop.lab.service.pause("shop", rollout.id, terms=Terms("ana"))
    shop.driver_world.unblock("2.0")
    await until(lambda: shop.last().status is RolloutStatus.paused, "it is paused")
    await shop.restart()
    await shop.lab.runner.recover()
    ended = await shop.lab.service.abort("shop", rollout.id, terms=Terms("ana"))
    assert ended.status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_an_abort_that_was_asked_for_before_the_restart_is_carried_out(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    shop.script("2.0", start_block="before")
    rollout = await shop.begin("2.0", strategy="rolling")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    await shop.lab.service.pause("shop", rollout.id, terms=Terms("ana"))
    shop.driver_world.unblock("2.0")
    await until(lambda: shop.last().status is RolloutStatus.paused, "it is paused")
    shop.lab.store.request_abort(rollout, "wrong build")
    await recovered(shop)
    assert shop.last().status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"


@pytest.mark.parametrize("strategy", ["blue-green", "canary"])
async def test_one_past_its_commit_is_finished(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy)
    rollout = await shop.begin("2.0", strategy=strategy)

    def gate() -> bool:
        """Close the router's gate in the moment of the commit."""
        if shop.last().status is RolloutStatus.committed and shop.router.gate is None:
            shop.router.gate = asyncio.Event()
        return shop.step_running("promote") and shop.router.gate is not None

    await until(gate, "it is committed and promotes")
    await shop.lab.runner.close()
    shop.router.gate = None
    assert shop.last().status is RolloutStatus.committed
    await recovered(shop)
    ended = shop.lab.store.rollout(rollout.id)
    assert ended is not None
    assert ended.status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_one_that_was_being_undone_is_undone_to_the_end(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="blue-green")
    shop.router.lie["shop"] = False
    rollout = await shop.begin("2.0", strategy="blue-green")
    await until(lambda: shop.step_running("verify_traffic") or shop.last().status != "running", "it is verified")
    shop.router.gate = asyncio.Event()
    await until(lambda: shop.last().status is RolloutStatus.unwinding, "it is being undone")
    await shop.lab.runner.close()
    assert shop.last().status is RolloutStatus.unwinding
    shop.router.gate = None
    await recovered(shop)
    ended = shop.lab.store.rollout(rollout.id)
    assert ended is not None
    assert ended.status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_what_is_over_is_left_alone(shop: Shop) -> None:
    await shop.deployed("1.0")
    journal, events = shop.steps(shop.last()), shop.events()
    await recovered(shop)
    assert (shop.steps(shop.last()), shop.events()) == (journal, events)


async def test_a_wait_for_a_rollout_that_the_stopping_manager_leaves_says_so(shop: Shop) -> None:
    shop.script("1.0", start_block="before")
    rollout = await shop.begin("1.0")
    waiting = asyncio.ensure_future(shop.lab.service.outcome(rollout.id))
    await until(lambda: shop.driver_world.blocked("1.0"), "it starts")
    await shop.lab.runner.close()
    with pytest.raises((InternalError, asyncio.CancelledError)):
        await waiting
