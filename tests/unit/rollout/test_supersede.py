"""Something newer takes the place of what is in progress and of what waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from longshore.errors import PreconditionFailed, SpecInvalid
from longshore.model import RolloutStatus
from longshore.rollout.queue import MOST
from longshore.rollout.terms import Terms
from support.queueing import ANA, IMPATIENT, ask, busy, let_go, look, queue
from support.shop import Shop, until


@pytest.fixture(autouse=True)
async def first(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="blue-green")


async def test_something_newer_ends_what_is_in_progress_and_what_waits(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    third = await ask(shop, "4.0", IMPATIENT)
    assert third.status is RolloutStatus.queued
    assert (await shop.outcome(first)).status is RolloutStatus.unwound
    assert (await shop.outcome(second)).message == "ben asked for a deploy of 4.0 instead."
    assert (await shop.outcome(third)).status is RolloutStatus.succeeded
    assert shop.serving() == "4.0"


async def test_it_begins_at_once_where_nothing_is_in_its_way(shop: Shop) -> None:
    assert (await ask(shop, "2.0", IMPATIENT)).status is RolloutStatus.running


async def test_of_two_that_supersede_the_last_wins(shop: Shop) -> None:
    first = await busy(shop)
    second, third = await ask(shop, "3.0", IMPATIENT), await ask(shop, "4.0", replace(IMPATIENT, caller="carl"))
    failure = (await shop.outcome(first)).failure
    assert failure is not None
    assert failure.message == "Aborted: ben asked for a deploy of 3.0 instead"
    assert (await shop.outcome(second)).message == "carl asked for a deploy of 4.0 instead."
    assert (await shop.outcome(third)).status is RolloutStatus.succeeded


async def test_a_full_queue_makes_way_too(shop: Shop) -> None:
    await busy(shop)
    for number in range(MOST):
        await ask(shop, f"3.{number}")
    assert (await shop.outcome(await ask(shop, "4.0", IMPATIENT))).status is RolloutStatus.succeeded


async def test_past_its_commit_one_comes_to_its_end_first(shop: Shop) -> None:
    await shop.deployed("2.0", strategy="blue-green")
    first = await ask(shop, "3.0", strategy="blue-green")

    def committed() -> bool:
        if shop.last().status is RolloutStatus.committed and shop.router.gate is None:
            shop.router.gate = asyncio.Event()
        return shop.step_running("promote") and shop.router.gate is not None

    await until(committed, "it is committed and promotes")
    second = await ask(shop, "4.0", IMPATIENT)
    assert second.status is RolloutStatus.queued
    assert shop.router.gate is not None
    shop.router.gate.set()
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded
    assert shop.serving() == "4.0"


async def test_a_rollback_is_not_superseded_but_waited_for(shop: Shop) -> None:
    await shop.deployed("2.0")
    shop.router.gate = asyncio.Event()
    rollback = await shop.lab.service.rollback("shop", "1.0", terms=Terms("ana"))
    second = await ask(shop, "3.0", IMPATIENT)
    shop.router.gate.set()
    assert (await shop.outcome(rollback)).status is RolloutStatus.succeeded
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded


async def test_what_is_wrong_ends_nothing(shop: Shop) -> None:
    first = await busy(shop)
    waiting = await ask(shop, "3.0")
    with pytest.raises(SpecInvalid):
        await ask(shop, "4.0", IMPATIENT, replicas=0, port=1)
    with pytest.raises(PreconditionFailed):
        await ask(shop, "4.0", replace(IMPATIENT, revision=1))
    assert queue(shop) == [("3.0", "turn")]
    let_go(shop)
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded
    assert (await shop.outcome(waiting)).status is RolloutStatus.succeeded


async def test_at_its_revision_it_passes(shop: Shop) -> None:
    await busy(shop)
    now = shop.lab.service.deployment("shop").revision
    newer = await ask(shop, "4.0", replace(IMPATIENT, revision=now))
    assert (await shop.outcome(newer)).status is RolloutStatus.succeeded
    assert shop.lab.service.deployment("shop").revision > now


async def test_another_manager_ends_what_was_superseded_and_goes_on(shop: Shop) -> None:
    first = await busy(shop)
    newer = await ask(shop, "4.0", IMPATIENT)
    await shop.restart()
    let_go(shop)
    await shop.lab.recover()
    look(shop)
    assert (await shop.outcome(first)).status is RolloutStatus.unwound
    assert (await shop.outcome(newer)).status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "4.0"


async def test_a_stuck_one_is_undone_by_what_comes_next(shop: Shop) -> None:
    first = await busy(shop)
    shop.router.refuse["shop"] = "its disk is full"
    second = await ask(shop, "3.0", ANA)
    let_go(shop)
    assert (await shop.outcome(first)).status is RolloutStatus.stuck
    assert (await shop.outcome(second)).status is RolloutStatus.stuck
    shop.router.refuse.clear()
    assert (await shop.outcome(await ask(shop, "4.0", IMPATIENT))).status is RolloutStatus.succeeded
