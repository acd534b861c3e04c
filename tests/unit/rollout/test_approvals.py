"""What waits for the approval of somebody else."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from longshore.errors import BackupNotFound, DeploymentInProgress, Forbidden, NotFound, PreconditionFailed, SpecInvalid
from longshore.model import RolloutStatus, State
from longshore.rollout.terms import Terms
from support.queueing import ANA, IMPATIENT, ask, busy, let_go, look, needs_approval, queue
from support.shop import Shop, until

BEN = Terms("ben")


@pytest.fixture
async def served(shop: Shop) -> Shop:
    await shop.deployed("1.0")
    return shop


async def approve(shop: Shop, id: str, terms: Terms = BEN) -> None:
    await shop.lab.service.approve("shop", id, terms=terms)


async def test_what_needs_approval_begins_when_somebody_else_gives_it(served: Shop) -> None:
    needs_approval(served.lab)
    asked = await ask(served, "2.0", Terms("ana"))
    assert (asked.status, asked.waiting_for) == (RolloutStatus.queued, "approval")
    assert asked.message == "Waits for the approval of somebody else, at most 24h0m0s."
    await served.lab.service.approve("shop", asked.id, terms=BEN, comment="looks good")
    over = await served.outcome(asked)
    assert (over.status, over.requested_by, over.approved_by) == (RolloutStatus.succeeded, "ana", "ben")
    assert "info: ben approved the deploy of 2.0 of ana: looks good" in served.events()


async def test_everything_that_changes_it_needs_approval(served: Shop) -> None:
    needs_approval(served.lab)
    service = served.lab.service
    for begin in (service.restart, service.stop):
        assert (await begin("shop", terms=ANA)).status is RolloutStatus.queued
    assert (await service.scale("shop", 3, terms=ANA)).status is RolloutStatus.queued
    assert served.lab.store.open_rollouts() == []


async def test_nobody_approves_what_they_asked_for(served: Shop) -> None:
    needs_approval(served.lab)
    asked = await ask(served, "2.0")
    with pytest.raises(Forbidden, match="somebody else, with another token"):
        await approve(served, asked.id, ANA)
    assert queue(served) == [("2.0", "approval")]


async def test_an_approval_is_given_once_and_to_what_exists(served: Shop) -> None:
    needs_approval(served.lab)
    asked = await ask(served, "2.0")
    with pytest.raises(PreconditionFailed):
        await approve(served, asked.id, replace(BEN, revision=1))
    before = served.lab.service.deployment("shop").revision
    await approve(served, asked.id, replace(BEN, revision=before))
    assert served.lab.service.deployment("shop").revision > before
    with pytest.raises(SpecInvalid, match="there is nothing left to approve"):
        await approve(served, asked.id)
    with pytest.raises(NotFound):
        await approve(served, "0197")


async def test_what_is_approved_waits_for_its_turn_where_it_came(served: Shop) -> None:
    first = await busy(served)
    needs_approval(served.lab)
    second, third = await ask(served, "3.0"), await ask(served, "4.0")
    await approve(served, third.id)
    await approve(served, second.id)
    assert queue(served) == [("3.0", "turn"), ("4.0", "turn")]
    let_go(served)
    ended = [await served.outcome(each) for each in (first, second, third)]
    assert [each.number for each in ended] == [2, 3, 4]


async def test_what_waits_for_approval_stands_in_nobodys_way(served: Shop) -> None:
    needs_approval(served.lab)
    second, third = await ask(served, "2.0"), await ask(served, "3.0")
    await approve(served, third.id)
    assert (await served.outcome(third)).status is RolloutStatus.succeeded
    assert served.lab.service.rollout("shop", second.id).status is RolloutStatus.queued


async def test_what_is_to_supersede_does_so_with_the_approval(served: Shop) -> None:
    first = await busy(served)
    older = await ask(served, "3.0")
    needs_approval(served.lab)
    pending = await ask(served, "4.0", Terms("ana"))
    newer = await ask(served, "5.0", replace(IMPATIENT, caller="ana"))
    newest = await ask(served, "6.0", Terms("ana"))
    assert served.last().id == first.id
    assert served.last().abort_requested is None
    await approve(served, newer.id)
    assert (await served.outcome(first)).status is RolloutStatus.unwound
    for each in (older, pending):
        assert (await served.outcome(each)).message == "ben approved the deploy of 5.0 that ana asked for instead."
    assert (await served.outcome(newer)).status is RolloutStatus.succeeded
    assert queue(served) == [("6.0", "approval")]
    assert served.lab.service.rollout("shop", newest.id).status is RolloutStatus.queued


async def test_a_rollback_needs_no_approval_and_cancels_what_does(served: Shop) -> None:
    await served.deployed("2.0")
    needs_approval(served.lab)
    asked = await ask(served, "3.0")
    assert (await served.rollback()).status is RolloutStatus.succeeded
    assert (await served.outcome(asked)).message == "ana asked for a rollback."


@pytest.mark.parametrize("version", ["1.0", "9.9", None])
async def test_a_rollback_to_nowhere_cancels_nothing(served: Shop, version: str | None) -> None:
    needs_approval(served.lab)
    await ask(served, "3.0")
    with pytest.raises((SpecInvalid, BackupNotFound)):
        await served.rollback(version)
    assert queue(served) == [("3.0", "approval")]


async def test_what_nobody_approves_is_cancelled_in_the_end(served: Shop) -> None:
    needs_approval(served.lab)
    asked = await ask(served, "2.0")
    served.clock.advance(24 * 3600 + 1)
    look(served)
    assert (await served.outcome(asked)).message == "It waited too long for the approval of somebody else."


async def test_another_manager_still_waits_for_the_approval(served: Shop) -> None:
    needs_approval(served.lab)
    asked = await ask(served, "2.0")
    await served.restart()
    await served.lab.recover()
    look(served)
    assert queue(served) == [("2.0", "approval")]
    await approve(served, asked.id)
    assert (await served.outcome(asked)).status is RolloutStatus.succeeded


async def test_who_waits_for_what_is_deleted_is_told(served: Shop) -> None:
    needs_approval(served.lab)
    asked = await ask(served, "2.0")
    outcome = asyncio.ensure_future(served.outcome(asked))
    await asyncio.sleep(0)
    await served.lab.service.delete("shop", keep_files=False, terms=Terms("ana"))
    assert (await outcome).message == "ana deleted shop."
    assert served.lab.store.deployments() == []


# ------------------------------------------------------------------------------------------------- first deploys


async def test_a_first_deploy_that_waits_for_approval_can_be_looked_at(shop: Shop) -> None:
    needs_approval(shop.lab)
    asked = await ask(shop, "1.0")
    status = shop.lab.service.status("shop")
    assert (status.version, status.state, status.replicas.desired) == ("1.0", State.unknown, 0)
    rows, total = shop.lab.service.list(environment=None, state=None, limit=10, offset=0)
    assert (total, rows[0].version, rows[0].state) == (1, "1.0", State.unknown)
    await shop.lab.service.abort("shop", asked.id, terms=Terms("ana"))
    assert shop.lab.service.status("shop").version == "1.0"


async def test_a_first_deploy_begins_with_its_approval(shop: Shop) -> None:
    needs_approval(shop.lab)
    asked = await ask(shop, "1.0")
    await approve(shop, asked.id)
    assert (await shop.outcome(asked)).status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_first_deploy_that_nobody_approved_can_be_deleted(shop: Shop) -> None:
    needs_approval(shop.lab)
    asked = await ask(shop, "1.0")
    await shop.lab.service.delete("shop", keep_files=False, terms=Terms("ana"))
    assert shop.lab.store.deployments() == []
    with pytest.raises(NotFound):
        await shop.outcome(asked)


async def test_what_waits_does_not_move_a_first_deploy_that_is_in_progress(shop: Shop) -> None:
    first = await busy(shop, "1.0", working_directory="/srv/one")
    second = await ask(shop, "2.0", working_directory="/srv/two")
    assert shop.lab.service.deployment("shop").working_directory == "/srv/one"
    let_go(shop, "1.0")
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded
    over = await shop.outcome(second)
    assert over.status is RolloutStatus.cancelled
    assert "working_directory" in over.message
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_nothing_is_let_wait_for_what_is_being_deleted(served: Shop) -> None:
    needs_approval(served.lab)
    async with served.lab.world.lock("shop"):
        removing = asyncio.ensure_future(served.lab.service.delete("shop", keep_files=False, terms=Terms("ana")))
        await until(lambda: served.lab.service.deployment("shop").deleting, "it is being deleted")
        with pytest.raises(DeploymentInProgress, match="being deleted"):
            await served.lab.service.restart("shop", terms=ANA)
    await removing
