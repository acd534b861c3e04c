"""What waits: for its turn, or for somebody's approval; and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from longshore.errors import DeploymentInProgress, Forbidden, PreconditionFailed, SpecInvalid
from longshore.model import Rollout, RolloutStatus, State
from longshore.rollout.queue import MOST
from longshore.rollout.request import Request
from longshore.rollout.terms import Once, Terms
from longshore.settings import Environment, Settings
from support.shop import Shop, until

ANA = Terms("ana", on_conflict="queue")
BEN = Terms("ben", on_conflict="queue")


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.deployed("1.0")
    yield shop
    await shop.close()


async def ask(shop: Shop, version: str, terms: Terms = ANA, **fields: Any) -> Rollout:
    shop.clock.time += 10
    return await shop.lab.service.deploy(shop.request(version, **fields), terms=terms)


async def busy(shop: Shop, version: str = "2.0") -> Rollout:
    """A rollout that goes on until its instances may start."""
    shop.script(version, start_block="before")
    rollout = await ask(shop, version)
    await until(lambda: shop.driver_world.blocked(version) == 2, "both are about to start")
    return rollout


def queue(shop: Shop) -> list[tuple[str, str]]:
    return [(w.spec.version, w.waiting_for.value) for w in shop.lab.service.status("shop").queue]


def needs_approval(shop: Shop) -> None:
    settings = shop.lab.service._settings
    approval = Settings(data_dir=settings.data_dir, environments={"default": Environment(approval=True)})
    shop.lab.service._preparation._settings = approval


# ------------------------------------------------------------------------------------------------- its turn


async def test_nothing_waits_where_nothing_is_in_progress(shop: Shop) -> None:
    rollout = await ask(shop, "2.0")
    assert rollout.status is RolloutStatus.running
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded


async def test_what_waits_begins_under_its_own_id_when_the_one_before_is_over(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0", BEN)
    assert (second.status, queue(shop)) == (RolloutStatus.queued, [("3.0", "turn")])
    shop.driver_world.unblock("2.0")
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded
    over = await shop.outcome(second)
    assert (over.id, over.status, over.requested_by) == (second.id, RolloutStatus.succeeded, "ben")
    assert (queue(shop), shop.serving()) == ([], "3.0")


async def test_first_come_is_first_served(shop: Shop) -> None:
    await busy(shop)
    waiting = [await ask(shop, version) for version in ("3.0", "4.0", "5.0")]
    shop.driver_world.unblock("2.0")
    ended = [await shop.outcome(each) for each in waiting]
    assert [(each.version, each.number) for each in ended] == [("3.0", 3), ("4.0", 4), ("5.0", 5)]


async def test_it_begins_after_one_that_failed_as_well(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    await shop.lab.service.abort("shop", first.id, terms=Terms("ana"))
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded


async def test_what_it_inherits_is_looked_up_when_it_begins(shop: Shop) -> None:
    shop.script("2.0", start_block="before")
    await ask(shop, "2.0", replicas=3)
    await until(lambda: shop.driver_world.blocked("2.0") == 3, "three are about to start")
    second = await ask(shop, "3.0", replicas=None, stop_timeout=3.0)
    shop.driver_world.unblock("2.0")
    over = await shop.outcome(second)
    assert (over.spec.replicas, over.spec.stop_timeout) == (3, 3.0)


async def test_what_is_impossible_by_then_is_cancelled_with_the_reason(shop: Shop) -> None:
    await busy(shop)
    second = await shop.lab.service.stop("shop", terms=ANA)
    third = await shop.lab.service.stop("shop", terms=ANA)
    shop.driver_world.unblock("2.0")
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded
    over = await shop.outcome(third)
    assert over.status is RolloutStatus.cancelled
    assert over.message == "It could not begin: shop is stopped, so there is nothing to stop."


async def test_what_would_be_refused_is_refused_at_once(shop: Shop) -> None:
    await busy(shop)
    with pytest.raises(SpecInvalid, match="artifact_path"):
        await shop.lab.service.deploy(Request({"name": "shop", "version": "3.0", "artifact_path": "x"}), terms=ANA)
    assert queue(shop) == []


async def test_a_loop_in_a_pipeline_does_not_fill_the_store(shop: Shop) -> None:
    await busy(shop)
    for number in range(MOST):
        await ask(shop, f"3.{number}")
    with pytest.raises(DeploymentInProgress, match="10 requests wait for shop already"):
        await ask(shop, "4.0")


async def test_who_waits_too_long_is_cancelled(shop: Shop) -> None:
    await busy(shop)
    second = await ask(shop, "3.0", replace(ANA, queue_timeout=60.0))
    shop.clock.advance(61)
    shop.lab.world.look_at_queue(None)
    over = await shop.outcome(second)
    assert (over.status, over.message) == (
        RolloutStatus.cancelled, "It waited too long for its turn.",
    )  # fmt: skip


async def test_what_waits_can_be_aborted_and_never_begins(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    aborted = await shop.lab.service.abort("shop", second.id, terms=Terms("ben"), reason="not that one")
    assert (aborted.status, aborted.message) == (RolloutStatus.cancelled, "Aborted: not that one")
    shop.driver_world.unblock("2.0")
    await shop.outcome(first)
    assert shop.last().version == "2.0"
    with pytest.raises(SpecInvalid, match="cancelled: there is nothing left to abort"):
        await shop.lab.service.abort("shop", second.id, terms=Terms("ben"))


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "approve"])
async def test_what_waits_for_its_turn_cannot_be_steered(shop: Shop, verb: str) -> None:
    await busy(shop)
    second = await ask(shop, "3.0")
    with pytest.raises(SpecInvalid, match=f"queued: there is nothing .*{verb}"):
        await getattr(shop.lab.service, verb)("shop", second.id, terms=Terms("ben"))


async def test_what_waits_is_no_failure_of_the_deployment(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    await shop.lab.service.abort("shop", second.id, terms=Terms("ana"))
    shop.driver_world.unblock("2.0")
    await shop.outcome(first)
    assert shop.lab.service.status("shop").state is not State.failed


async def test_another_manager_goes_on_with_what_waits(shop: Shop) -> None:
    await busy(shop)
    second = await ask(shop, "3.0")
    shop.driver_world.unblock("2.0")
    await shop.restart()
    assert shop.lab.service.rollout("shop", second.id).status is RolloutStatus.queued
    await shop.lab.recover()
    shop.lab.world.look_at_queue(None)
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded


async def test_an_idempotency_key_finds_what_waits(shop: Shop) -> None:
    await busy(shop)
    once = Once("ana", "key")
    assert shop.lab.service.idempotency_begin(once, "f") is None
    second = await ask(shop, "3.0", replace(ANA, once=once))
    assert shop.lab.service.idempotency_begin(once, "f") == second.id


# ------------------------------------------------------------------------------------------------- supersede


async def test_something_newer_ends_what_is_in_progress_and_what_waits(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    third = await ask(shop, "4.0", Terms("ben", on_conflict="supersede"))
    assert (await shop.outcome(first)).status is RolloutStatus.unwound
    assert (await shop.outcome(second)).message == "ben asked for a deploy of 4.0 instead."
    assert (await shop.outcome(third)).status is RolloutStatus.succeeded
    assert shop.serving() == "4.0"


async def test_something_newer_that_is_wrong_ends_nothing(shop: Shop) -> None:
    first = await busy(shop)
    with pytest.raises(SpecInvalid):
        await ask(shop, "4.0", Terms("ben", on_conflict="supersede"), replicas=0, port=1)
    assert shop.last().status is RolloutStatus.running
    shop.driver_world.unblock("2.0")
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded


async def test_something_newer_at_another_revision_ends_nothing(shop: Shop) -> None:
    first = await busy(shop)
    with pytest.raises(PreconditionFailed):
        await ask(shop, "4.0", Terms("ben", on_conflict="supersede", revision=1))
    shop.driver_world.unblock("2.0")
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded


async def test_a_rollback_cancels_what_waits(shop: Shop) -> None:
    await shop.deployed("2.0")
    await busy(shop, "3.0")
    waiting = await ask(shop, "4.0")
    await shop.rollback("1.0")
    assert (await shop.outcome(waiting)).message == "ana asked for a rollback."
    assert shop.serving() == "1.0"


async def test_a_deletion_cancels_what_waits_for_approval(shop: Shop) -> None:
    needs_approval(shop)
    await ask(shop, "2.0")
    await shop.lab.service.delete("shop", keep_files=False, terms=Terms("ana"))
    assert shop.lab.store.deployments() == []


# ------------------------------------------------------------------------------------------------- approval


async def test_what_needs_approval_begins_when_somebody_else_gives_it(shop: Shop) -> None:
    needs_approval(shop)
    asked = await ask(shop, "2.0")
    assert (asked.status, queue(shop)) == (RolloutStatus.queued, [("2.0", "approval")])
    await shop.lab.service.approve("shop", asked.id, terms=Terms("ben"), comment="looks good")
    over = await shop.outcome(asked)
    assert (over.status, over.requested_by, over.approved_by) == (RolloutStatus.succeeded, "ana", "ben")
    assert "info: ben approved the deploy of 2.0 of ana: looks good" in shop.events()


async def test_nobody_approves_what_they_asked_for(shop: Shop) -> None:
    needs_approval(shop)
    asked = await ask(shop, "2.0")
    with pytest.raises(Forbidden, match="somebody else, with another token"):
        await shop.lab.service.approve("shop", asked.id, terms=Terms("ana"))


async def test_a_rollback_needs_no_approval(shop: Shop) -> None:
    await shop.deployed("2.0")
    needs_approval(shop)
    assert (await shop.rollback()).status is RolloutStatus.succeeded


async def test_what_nobody_approves_is_cancelled_in_the_end(shop: Shop) -> None:
    needs_approval(shop)
    asked = await ask(shop, "2.0")
    shop.clock.advance(24 * 3600 + 1)
    shop.lab.world.look_at_queue(None)
    over = await shop.outcome(asked)
    assert over.message == "It waited too long for the approval of somebody else."


async def test_a_first_deploy_that_waits_for_approval_can_be_looked_at(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    needs_approval(shop)
    asked = await ask(shop, "1.0")
    status = shop.lab.service.status("shop")
    assert (status.version, status.state, status.replicas.desired) == ("1.0", State.unknown, 0)
    await shop.lab.service.abort("shop", asked.id, terms=Terms("ana"))
    assert shop.lab.service.status("shop").version == "1.0"
    rows, total = shop.lab.service.list(environment=None, state=None, limit=10, offset=0)
    assert (total, rows[0].version) == (1, "1.0")
    await shop.close()


async def test_who_waits_for_the_outcome_of_what_waits_gets_that_of_its_rollout(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    outcome = asyncio.ensure_future(shop.outcome(second))
    shop.driver_world.unblock("2.0")
    await shop.outcome(first)
    assert (await outcome).version == "3.0"
