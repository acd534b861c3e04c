"""The revision: who changes what somebody else has changed meanwhile is told, and changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from longshore.errors import DeploymentInProgress, PreconditionFailed
from longshore.model import RolloutStatus
from longshore.rollout.request import Request
from longshore.rollout.terms import Terms
from support.shop import Shop


def revision(shop: Shop) -> int:
    return shop.deployment().revision


async def test_it_grows_when_a_rollout_is_opened_committed_and_over(shop: Shop) -> None:
    await shop.deployed("1.0")
    assert revision(shop) == 3
    shop.script("2.0", never_ready=True)
    await shop.deploy("2.0")
    assert revision(shop) == 5
    assert shop.deployment().changed_by == "ana"


async def test_it_does_not_grow_by_itself(shop: Shop) -> None:
    await shop.deployed("1.0")
    before = revision(shop)
    shop.driver_world.kill("shop-1-0")
    await shop.lab.world.fleet.start_again("shop-1-0")
    shop.lab.world.event("shop", "warning", "a crash", source="monitor")
    shop.lab.store.set_routing("shop", shop.deployment().routing)
    await shop.restart()
    await shop.lab.recover()
    assert revision(shop) == before


#: verb → what it is given
CHANGES: dict[str, tuple[Any, ...]] = {
    "restart": (), "scale": (3,), "stop": (), "change": (Request({"replicas": 3}),), "rollback": ("1.0",),
}  # fmt: skip


@pytest.mark.parametrize("verb", CHANGES)
async def test_another_one_is_refused_and_changes_nothing(shop: Shop, verb: str) -> None:
    await shop.deployed("1.0", "2.0")
    now = revision(shop)
    for asked in (now - 1, now + 1, 0):
        with pytest.raises(PreconditionFailed) as refused:
            await shop.do(verb, *CHANGES[verb], revision=asked)
        assert refused.value.details["revision"] == now
        assert f"is at revision {now}, not {asked}" in refused.value.message
        assert "last by ana" in refused.value.message
    assert revision(shop) == now
    assert (await shop.do(verb, *CHANGES[verb], revision=now)).status is RolloutStatus.succeeded


async def test_who_comes_too_late_is_told_that_and_not_what_would_be_wrong_with_it_now(shop: Shop) -> None:
    await shop.deployed("1.0")
    seen = revision(shop)
    await shop.do("stop", revision=seen)
    for verb, given in {**CHANGES, "scale": (2,)}.items():
        with pytest.raises(PreconditionFailed):
            await shop.do(verb, *given, revision=seen)
    with pytest.raises(PreconditionFailed):
        await shop.lab.service.deploy(shop.request("2.0", artifact_path="/gone"), terms=Terms("ana", revision=seen))


async def test_pins_pruning_and_deleting_are_refused_alike(shop: Shop) -> None:
    await shop.deployed("1.0")
    stale = Terms("ana", revision=1)
    service, now = shop.lab.service, revision(shop)
    with pytest.raises(PreconditionFailed):
        service.pin("shop", "1.0", "", terms=stale)
    with pytest.raises(PreconditionFailed):
        await service.prune("shop", 1, terms=stale)
    with pytest.raises(PreconditionFailed):
        await service.delete("shop", keep_files=False, terms=stale)
    assert (revision(shop), shop.deployment().deleting) == (now, None)
    await service.delete("shop", keep_files=False, terms=Terms("ana", revision=now))
    assert shop.lab.store.deployment("shop") is None


async def test_of_two_that_ask_at_one_revision_exactly_one_is_heard(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0")
    terms = Terms("ana", revision=revision(shop))
    service = shop.lab.service
    asked = [
        service.scale("shop", 3, terms=terms),
        service.restart("shop", terms=terms),
        service.rollback("shop", None, terms=terms),
        service.change("shop", Request({"replicas": 4}), terms=terms),
        service.deploy(shop.request("3.0"), terms=terms),
    ]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    heard = [each for each in answers if not isinstance(each, BaseException)]
    assert len(heard) == 1
    assert all(isinstance(each, PreconditionFailed | DeploymentInProgress) for each in answers if each not in heard)
    await shop.outcome(heard[0])


async def test_a_rollback_that_aborts_first_asks_for_the_revision_before_that(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    begun = await shop.begin("2.0", strategy="rolling")
    await shop.lab.service.pause("shop", begun.id, terms=Terms("bob"))
    with pytest.raises(PreconditionFailed):
        await shop.do("rollback", None, revision=revision(shop) - 1)
    assert shop.last().abort_requested is None
    rollout = await shop.do("rollback", None, revision=revision(shop))
    assert (rollout.version, rollout.status) == ("1.0", RolloutStatus.succeeded)


async def test_a_rollout_is_steered_only_at_the_revision_that_is_asked_for(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    begun = await shop.begin("2.0", strategy="rolling")
    now = revision(shop)
    for verb in ("pause", "resume", "promote", "abort"):
        with pytest.raises(PreconditionFailed):
            await getattr(shop.lab.service, verb)("shop", begun.id, terms=Terms("bob", revision=now - 1))
    await shop.lab.service.abort("shop", begun.id, terms=Terms("bob", revision=now))
    assert shop.last().status is RolloutStatus.unwound


async def test_only_where_there_is_none_yet(shop: Shop) -> None:
    shop.script("1.0", never_ready=True)
    terms = Terms("ana", absent=True)
    failed = await shop.outcome(await shop.lab.service.deploy(shop.request("1.0"), terms=terms))
    assert failed.status is RolloutStatus.unwound
    shop.script("1.0")
    good = await shop.outcome(await shop.lab.service.deploy(shop.request("1.0"), terms=terms))
    assert good.status is RolloutStatus.succeeded
    with pytest.raises(PreconditionFailed, match=r"exists, and serves 1\.0"):
        await shop.lab.service.deploy(shop.request("2.0"), terms=terms)
