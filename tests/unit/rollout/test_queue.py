"""What waits for its turn, and what becomes of it."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace

import pytest

from longshore.errors import DeploymentInProgress, PreconditionFailed, SpecInvalid
from longshore.model import RolloutStatus, State
from longshore.rollout.queue import MOST
from longshore.rollout.request import Request
from longshore.rollout.terms import Once, Terms
from longshore.store.sqlite import StoreUnavailable
from support.queueing import ANA, BEN, ask, busy, late, let_go, look, queue
from support.shop import Shop, until

OTHER = Terms("carl")


@pytest.fixture(autouse=True)
async def first(shop: Shop) -> None:
    await shop.deployed("1.0")


async def test_nothing_waits_where_nothing_is_in_progress(shop: Shop) -> None:
    rollout = await ask(shop, "2.0")
    assert rollout.status is RolloutStatus.running
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded


async def test_what_waits_begins_under_its_own_id_when_the_one_before_is_over(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0", BEN)
    assert (second.status, second.message) == (
        RolloutStatus.queued, "Waits for its turn behind the deploy of 2.0 of ana, at most 1h0m0s.",
    )  # fmt: skip
    assert queue(shop) == [("3.0", "turn")]
    let_go(shop)
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded
    over = await shop.outcome(second)
    assert (over.id, over.status, over.requested_by) == (second.id, RolloutStatus.succeeded, "ben")
    assert (queue(shop), shop.serving()) == ([], "3.0")


async def test_first_come_is_first_served(shop: Shop) -> None:
    await busy(shop)
    waiting = [await ask(shop, version) for version in ("3.0", "4.0", "5.0")]
    assert waiting[-1].message.startswith("Waits for its turn behind the deploy of 4.0 of ana")
    let_go(shop)
    ended = [await shop.outcome(each) for each in waiting]
    assert [(each.version, each.number) for each in ended] == [("3.0", 3), ("4.0", 4), ("5.0", 5)]


async def test_nobody_slips_in_between_two_rollouts(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    let_go(shop)
    await shop.outcome(first)
    with pytest.raises(
        DeploymentInProgress, match=r"1 request waits for a turn at shop already, first the deploy of 3"
    ):
        await shop.lab.service.restart("shop", terms=OTHER)
    third = await ask(shop, "4.0", BEN)
    assert third.status is RolloutStatus.queued
    assert [(await shop.outcome(each)).number for each in (second, third)] == [3, 4]


async def test_it_begins_after_one_that_failed_as_well(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    await shop.lab.service.abort("shop", first.id, terms=Terms("ana"))
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded


async def test_it_begins_after_one_that_is_held_and_undoes_that_as_any_other_would(shop: Shop) -> None:
    first = await busy(shop, rollback_on_failure=False)
    shop.router.lie["shop"] = False
    second = await ask(shop, "3.0")
    let_go(shop)
    assert (await shop.outcome(first)).status is RolloutStatus.held
    shop.router.lie.clear()
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "3.0"


async def test_what_it_inherits_is_looked_up_when_it_begins(shop: Shop) -> None:
    shop.script("2.0", start_block="before")
    await ask(shop, "2.0", replicas=3)
    await until(lambda: shop.driver_world.blocked("2.0") == 3, "three are about to start")
    second = await ask(shop, "3.0", replicas=None, stop_timeout=3.0)
    let_go(shop)
    over = await shop.outcome(second)
    assert (over.spec.replicas, over.spec.stop_timeout) == (3, 3.0)


async def test_a_change_that_waited_changes_what_serves_by_then(shop: Shop) -> None:
    await busy(shop)
    given = Request({"configuration": {"COLOUR": "blue"}, "canary": {"steps": ()}}, dropped=frozenset({"stop_timeout"}))
    second = await shop.lab.service.change("shop", given, terms=ANA)
    assert second.version == "1.0+c1"
    let_go(shop)
    over = await shop.outcome(second)
    assert (over.status, over.version, over.spec.configuration) == ("succeeded", "2.0+c1", {"COLOUR": "blue"})


async def test_what_is_impossible_by_then_is_cancelled_with_the_reason(shop: Shop) -> None:
    await busy(shop)
    second = await shop.lab.service.stop("shop", terms=ANA)
    third = await shop.lab.service.stop("shop", terms=ANA)
    let_go(shop)
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded
    over = await shop.outcome(third)
    assert (over.status, over.message) == (
        RolloutStatus.cancelled, "It could not begin: shop is stopped, so there is nothing to stop.",
    )  # fmt: skip


async def test_an_artifact_that_is_gone_by_then_cancels_it_and_the_next_begins(shop: Shop) -> None:
    await busy(shop)
    second, third = await ask(shop, "3.0"), await ask(shop, "4.0")
    shutil.rmtree(shop.root / "artifacts" / "3.0")
    let_go(shop)
    over = await shop.outcome(second)
    assert over.status is RolloutStatus.cancelled
    assert over.message.startswith("It could not begin:")
    assert str(shop.root / "artifacts" / "3.0") in over.message
    assert (await shop.outcome(third)).status is RolloutStatus.succeeded


async def test_what_would_be_refused_is_refused_at_once(shop: Shop) -> None:
    await busy(shop)
    with pytest.raises(SpecInvalid, match="artifact_path"):
        await shop.lab.service.deploy(Request({"name": "shop", "version": "3.0", "artifact_path": "x"}), terms=ANA)
    with pytest.raises(PreconditionFailed):
        await ask(shop, "3.0", replace(ANA, revision=1))
    assert queue(shop) == []


async def test_a_loop_in_a_pipeline_does_not_fill_the_store(shop: Shop) -> None:
    await busy(shop)
    for number in range(MOST):
        await ask(shop, f"3.{number}")
    with pytest.raises(DeploymentInProgress, match="10 requests wait for shop already"):
        await ask(shop, "4.0")


async def test_who_waits_too_long_is_cancelled(shop: Shop) -> None:
    await busy(shop)
    second = await ask(shop, "3.0", late(ANA, 60))
    shop.clock.advance(61)
    look(shop)
    over = await shop.outcome(second)
    assert (over.status, over.message) == (RolloutStatus.cancelled, "It waited too long for its turn.")


async def test_what_waits_can_be_aborted_and_never_begins(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    before = shop.lab.service.deployment("shop").revision
    aborted = await shop.lab.service.abort("shop", second.id, terms=Terms("ben"), reason="not that one")
    assert (aborted.status, aborted.message) == (RolloutStatus.cancelled, "Aborted: not that one")
    deployment = shop.lab.service.deployment("shop")
    assert (deployment.revision, deployment.changed_by) == (before + 1, "ben")
    let_go(shop)
    await shop.outcome(first)
    assert shop.last().version == "2.0"
    with pytest.raises(SpecInvalid, match="cancelled: there is nothing left to abort"):
        await shop.lab.service.abort("shop", second.id, terms=Terms("ben"))


async def test_what_is_aborted_while_it_begins_does_not_and_the_next_does(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await busy(shop)
    second, third = await ask(shop, "3.0"), await ask(shop, "4.0")
    begins, gate, of = asyncio.Event(), asyncio.Event(), shop.lab.service._preparation.of

    async def slow(asked: object) -> object:
        begins.set()
        await gate.wait()
        return await of(asked)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.lab.service._preparation, "of", slow)
    let_go(shop)
    await shop.outcome(first)
    await begins.wait()
    assert (await shop.lab.service.abort("shop", second.id, terms=OTHER)).status is RolloutStatus.cancelled
    gate.set()
    assert (await shop.outcome(third)).status is RolloutStatus.succeeded
    assert shop.serving() == "4.0"


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "approve"])
async def test_what_waits_for_its_turn_cannot_be_steered(shop: Shop, verb: str) -> None:
    await busy(shop)
    second = await ask(shop, "3.0")
    with pytest.raises(SpecInvalid, match=f"queued: there is nothing left to {verb}"):
        await getattr(shop.lab.service, verb)("shop", second.id, terms=Terms("ben"))


async def test_what_waits_is_no_failure_of_the_deployment(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    await shop.lab.service.abort("shop", second.id, terms=Terms("ana"))
    let_go(shop)
    await shop.outcome(first)
    assert shop.lab.service.status("shop").state is not State.failed


async def test_a_rollback_cancels_what_waits_also_what_is_asked_for_meanwhile(shop: Shop) -> None:
    await shop.deployed("2.0")
    shop.script("3.0", start_block="before", ignores_term=True)
    await ask(shop, "3.0")
    await until(lambda: shop.driver_world.blocked("3.0") == 2, "both are about to start")
    waiting = await ask(shop, "4.0")
    shop.router.gate = asyncio.Event()
    rollback = asyncio.ensure_future(shop.rollback("1.0"))
    await until(lambda: shop.last().status is RolloutStatus.unwinding, "it is being undone")
    meanwhile = await shop.lab.service.restart("shop", terms=BEN)
    assert meanwhile.status is RolloutStatus.queued
    shop.router.gate.set()
    assert (await rollback).status is RolloutStatus.succeeded
    assert (await shop.outcome(waiting)).message == "ana asked for a rollback."
    assert (await shop.outcome(meanwhile)).status in (RolloutStatus.cancelled, RolloutStatus.unwound)
    assert shop.serving() == "1.0"


# ------------------------------------------------------------------------------------------------- managers


async def test_another_manager_goes_on_with_what_waits(shop: Shop) -> None:
    await busy(shop)
    second, third = await ask(shop, "3.0"), await ask(shop, "4.0", late(ANA, 60))
    let_go(shop)
    await shop.restart()
    shop.clock.advance(61)
    assert shop.lab.service.rollout("shop", second.id).status is RolloutStatus.queued
    await shop.lab.recover()
    look(shop)
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded
    assert (await shop.outcome(third)).status is RolloutStatus.cancelled


async def test_a_manager_that_stops_begins_nothing_more(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    await shop.lab.service.close()
    let_go(shop)
    await shop.outcome(first)
    look(shop)
    assert shop.lab.store.open_rollouts() == []
    assert shop.lab.service.rollout("shop", second.id).status is RolloutStatus.queued


async def test_a_store_that_cannot_be_written_lets_it_wait_on(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    problems, opens = [StoreUnavailable("the disk is full")], shop.lab.runner.open

    def open(*args: object, **kwargs: object) -> object:
        if problems:
            raise problems.pop()
        return opens(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.lab.runner, "open", open)
    let_go(shop)
    await shop.outcome(first)
    await until(lambda: not problems, "it has been tried")
    assert queue(shop) == [("3.0", "turn")]
    await until(lambda: not shop.lab.service._queue._tasks, "that is over")
    look(shop)
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded


async def test_an_error_inside_the_manager_cancels_it_and_the_next_begins(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await busy(shop)
    second, third = await ask(shop, "3.0"), await ask(shop, "4.0")
    errors, opens = [ZeroDivisionError()], shop.lab.runner.open

    def open(*args: object, **kwargs: object) -> object:
        if errors:
            raise errors.pop()
        return opens(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(shop.lab.runner, "open", open)
    let_go(shop)
    await shop.outcome(first)
    over = await shop.outcome(second)
    assert over.message == "It could not begin: an error inside the manager; its log says more."
    assert (await shop.outcome(third)).status is RolloutStatus.succeeded


async def test_what_another_version_wrote_is_shown_and_then_cancelled(shop: Shop) -> None:
    first = await busy(shop)
    second = await ask(shop, "3.0")
    shop.lab.store.db.write("""UPDATE waiting SET asked = '{"fields": {"colour": 1}, "dropped": []}'""", {})
    assert queue(shop) == [("3.0", "turn")]
    let_go(shop)
    await shop.outcome(first)
    assert "written down by another version" in (await shop.outcome(second)).message


async def test_an_idempotency_key_finds_what_waits_and_what_was_cancelled(shop: Shop) -> None:
    await busy(shop)
    once = Once("ana", "key")
    assert shop.lab.service.idempotency_begin(once, "f") is None
    second, third = await ask(shop, "3.0", replace(ANA, once=once)), await ask(shop, "4.0")
    assert shop.lab.service.idempotency_begin(once, "f") == second.id
    for each in (second, third):
        await shop.lab.service.abort("shop", each.id, terms=OTHER)
    shop.lab.store.trim_waiting("shop", 0)
    assert shop.lab.service.idempotency_begin(once, "f") == second.id
    assert (await shop.outcome(second)).status is RolloutStatus.cancelled
    assert shop.lab.store.waiting(third.id) is None


# ------------------------------------------------------------------------------------------------- who watches


async def test_a_watcher_is_told_what_it_waits_for_and_then_all_of_its_rollout(shop: Shop) -> None:
    await busy(shop)
    second = await ask(shop, "3.0")
    watched = shop.lab.service.watch("shop", second.id, 0)
    assert [(m.seq, m.step, m.last) for m in watched.history] == [(0, "queue", False)]
    let_go(shop)
    await shop.outcome(second)
    mine = [message.seq for message in watched._queue if message.rollout_id == second.id]
    assert mine == list(range(1, len(mine) + 1))


async def test_a_watcher_is_told_that_it_was_cancelled(shop: Shop) -> None:
    await busy(shop)
    second = await ask(shop, "3.0")
    watched = shop.lab.service.watch("shop", second.id, 0)
    await shop.lab.service.abort("shop", second.id, terms=OTHER)
    told = await watched.get()
    assert (told.status, told.progress_pct, told.last) == ("failed", 100, True)
    assert shop.lab.service.watch("shop", second.id, 5).history == [told]
