"""Locks: whose they are, when they end, what they keep out and what never; freeze windows, and overrides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from longshore.access.locks import Locks
from longshore.errors import (
    DeploymentInProgress,
    DeploymentLocked,
    DeploymentNotFound,
    DeploymentsFrozen,
    Forbidden,
    LongshoreError,
    NotFound,
    PreconditionFailed,
)
from longshore.freezes import Freeze
from longshore.model import Role, Rollout, RolloutStatus
from longshore.rollout.request import Request
from longshore.rollout.terms import Terms
from longshore.settings import Environment, Settings
from support.shop import Shop, until

ANA, BEN = Terms("ana"), Terms("ben")
WHY = Terms("ana", override="the site is down")


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.deployed("1.0", "2.0")
    yield shop
    await shop.close()


def locks(shop: Shop) -> Locks:
    return Locks(shop.lab.world, shop.lab.service._settings)


def lock(shop: Shop, message: str = "migration", lifetime: float | None = None, terms: Terms = BEN) -> None:
    locks(shop).put("deployment", "shop", message, lifetime, terms=terms)


def configure(shop: Shop, **environment: Any) -> None:
    service = shop.lab.service
    settings = Settings(data_dir=service._settings.data_dir, environments={"default": Environment(**environment)})
    service._settings = service._preparation._settings = service._closures._settings = settings


async def deploy(shop: Shop, version: str = "3.0", terms: Terms = ANA) -> Rollout:
    return await shop.lab.service.deploy(shop.request(version), terms=terms)


CHANGES = {
    "deploy": lambda shop, terms: deploy(shop, terms=terms),
    "change": lambda shop, terms: shop.lab.service.change("shop", Request({"replicas": 3}), terms=terms),
    "restart": lambda shop, terms: shop.lab.service.restart("shop", terms=terms),
    "scale": lambda shop, terms: shop.lab.service.scale("shop", 3, terms=terms),
    "stop": lambda shop, terms: shop.lab.service.stop("shop", terms=terms),
    "prune": lambda shop, terms: shop.lab.service.prune("shop", 1, terms=terms),
    "delete": lambda shop, terms: shop.lab.service.delete("shop", keep_files=False, terms=terms),
}


# ------------------------------------------------------------------------------------------------- what it keeps out


@pytest.mark.parametrize("change", CHANGES)
async def test_a_lock_refuses_every_change_and_says_whose_it_is_and_how_to_pass(shop: Shop, change: str) -> None:
    lock(shop)
    before = (shop.deployment().revision, shop.events())
    with pytest.raises(DeploymentLocked) as refused:
        await CHANGES[change](shop, ANA)
    assert (shop.deployment().revision, shop.events()) == before
    assert "ben" in refused.value.message
    assert "migration" in refused.value.message
    assert "override" in refused.value.message
    assert (refused.value.details["holder"], refused.value.details["reason"]) == ("ben", "migration")


@pytest.mark.parametrize("change", CHANGES)
async def test_an_override_passes_a_lock_and_stands_in_the_history(shop: Shop, change: str) -> None:
    lock(shop)
    said: list[str] = []
    event = shop.lab.world.event
    shop.lab.world.event = lambda *given, **more: (said.append(given[2]), event(*given, **more))[1]  # type: ignore[method-assign]
    done = await CHANGES[change](shop, WHY)
    assert any(line.startswith("ana passed over this") and "the site is down" in line for line in said)
    if isinstance(done, Rollout):
        assert (await shop.outcome(done)).override == "the site is down"


async def test_what_is_locked_is_not_looked_at_any_further(shop: Shop) -> None:
    lock(shop)
    with pytest.raises(DeploymentLocked):
        await shop.lab.service.deploy(Request({"name": "shop", "version": "3", "artifact_path": "/nope"}), terms=ANA)


async def test_a_lock_refuses_its_holder_as_well(shop: Shop) -> None:
    lock(shop)
    with pytest.raises(DeploymentLocked):
        await deploy(shop, terms=BEN)


async def test_what_is_locked_can_be_rolled_back(shop: Shop) -> None:
    lock(shop)
    assert (await shop.rollback()).status is RolloutStatus.succeeded
    assert shop.serving() == "1.0"


async def test_what_is_under_way_when_it_is_locked_can_be_paused_resumed_and_aborted(shop: Shop) -> None:
    shop.script("3.0", start_block="before")
    rollout = await deploy(shop)
    await until(lambda: shop.driver_world.blocked("3.0") == 2, "both are about to start")
    lock(shop)
    service = shop.lab.service
    await service.pause("shop", rollout.id, terms=ANA)
    await service.resume("shop", rollout.id, terms=ANA)
    assert (await service.abort("shop", rollout.id, terms=ANA)).status is RolloutStatus.unwound
    assert shop.serving() == "2.0"


async def test_a_refused_override_leaves_no_trace(shop: Shop) -> None:
    shop.script("3.0", start_block="before")
    rollout = await deploy(shop)
    await until(lambda: shop.driver_world.blocked("3.0") == 2, "both are about to start")
    lock(shop)
    before = shop.events()
    with pytest.raises(DeploymentInProgress):
        await deploy(shop, "4.0", WHY)
    assert shop.events() == before
    await shop.lab.service.abort("shop", rollout.id, terms=ANA)


async def test_a_lock_that_comes_while_a_deploy_is_being_looked_at_stops_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    preparation = shop.lab.service._preparation
    of = preparation.of

    async def slow(*given: Any) -> Any:
        prepared = await of(*given)
        lock(shop)
        return prepared

    monkeypatch.setattr(preparation, "of", slow)
    with pytest.raises(DeploymentLocked):
        await deploy(shop)
    monkeypatch.undo()
    assert shop.lab.store.open_rollout_of("shop") is None


# ------------------------------------------------------------------------------------------------- whose it is


async def test_a_lock_is_shown_in_the_status_and_moves_the_revision(shop: Shop) -> None:
    before = shop.deployment().revision
    lock(shop)
    shown = shop.lab.service.status("shop")
    assert shown.lock is not None
    assert (shown.lock.holder, shop.deployment().revision) == ("ben", before + 1)
    assert any("ben locked shop: migration" in line for line in shop.events())


async def test_the_holder_may_say_something_else_and_keeps_since(shop: Shop) -> None:
    lock(shop)
    since = locks(shop).get("deployment", "shop").since
    shop.clock.time += 60
    lock(shop, "still at it", 60.0)
    held = locks(shop).get("deployment", "shop")
    assert (held.message, held.since, held.expires_at) == ("still at it", since, shop.clock.time + 60)


async def test_nobody_locks_or_unlocks_over_somebody_else_but_by_force(shop: Shop) -> None:
    lock(shop)
    with pytest.raises(DeploymentLocked, match="ben already: migration"):
        lock(shop, terms=ANA)
    with pytest.raises(DeploymentLocked, match="Ask them"):
        locks(shop).remove("deployment", "shop", force=False, terms=ANA)
    locks(shop).remove("deployment", "shop", force=True, terms=ANA)
    assert locks(shop).all() == []
    assert any("ana unlocked shop, which ben had locked" in line for line in shop.events())


async def test_a_lock_ends_by_the_clock(shop: Shop) -> None:
    lock(shop, lifetime=60.0)
    with pytest.raises(DeploymentLocked, match="until"):
        await deploy(shop)
    shop.clock.time += 60
    assert locks(shop).all() == []
    with pytest.raises(NotFound):
        locks(shop).remove("deployment", "shop", force=False, terms=BEN)
    lock(shop, terms=ANA)  # somebody else's, that is over, is nobody's


async def test_a_lock_is_for_the_revision_that_was_looked_at(shop: Shop) -> None:
    with pytest.raises(PreconditionFailed):
        lock(shop, terms=Terms("ben", revision=1))
    assert locks(shop).all() == []


async def test_a_lock_goes_with_its_deployment(shop: Shop) -> None:
    lock(shop)
    await shop.lab.service.delete("shop", keep_files=False, terms=WHY)
    assert locks(shop).all() == []
    await shop.deployed("1.0")


async def test_a_lock_survives_a_restart_of_the_manager(shop: Shop) -> None:
    lock(shop)
    await shop.restart()
    with pytest.raises(DeploymentLocked):
        await deploy(shop)


@pytest.mark.parametrize(
    ("scope", "name", "error"), [("deployment", "nope", DeploymentNotFound), ("environment", "prodution", NotFound)]
)
async def test_what_there_is_not_cannot_be_locked(
    shop: Shop, scope: Any, name: str, error: type[LongshoreError]
) -> None:
    with pytest.raises(error):
        locks(shop).put(scope, name, "", None, terms=ANA)
    assert locks(shop).all() == []


# ------------------------------------------------------------------------------------------------- environments


async def test_an_environments_lock_is_that_of_all_its_deployments(shop: Shop) -> None:
    before = shop.lab.store.stamp("shop")
    locks(shop).put("environment", "default", "stock-taking", None, terms=BEN)
    with pytest.raises(DeploymentLocked, match="the environment default is locked by ben"):
        await deploy(shop)
    assert shop.lab.service.status("shop").lock is not None
    assert shop.lab.store.stamp("shop") > before
    assert any("ben locked the environment default: stock-taking" in line for line in shop.events())


async def test_what_waits_when_an_environment_is_locked_begins_when_it_is_unlocked(shop: Shop) -> None:
    shop.script("3.0", start_block="before")
    first = await deploy(shop)
    await until(lambda: shop.driver_world.blocked("3.0") == 2, "both are about to start")
    second = await deploy(shop, "4.0", Terms("ana", on_conflict="queue"))
    locks(shop).put("environment", "default", "", None, terms=BEN)
    shop.driver_world.unblock("3.0")
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded
    await until(lambda: not shop.lab.service._queue._tasks, "the queue has been looked at")
    assert [w.id for w in shop.lab.service.status("shop").queue] == [second.id]
    locks(shop).remove("environment", "default", force=False, terms=BEN)
    assert (await shop.outcome(second)).status is RolloutStatus.succeeded
    assert shop.serving() == "4.0"


# ------------------------------------------------------------------------------------------------- whose environment

STRANGER = Terms("ci", environments=("staging",), role=Role.deploy)
STEERED = ("pause", "resume", "promote", "abort")


@pytest.mark.parametrize("change", CHANGES)
async def test_a_token_for_another_environment_changes_nothing(shop: Shop, change: str) -> None:
    before = shop.deployment().revision
    with pytest.raises(Forbidden, match="ci may change staging, and this is in default"):
        await CHANGES[change](shop, STRANGER)
    assert shop.deployment().revision == before


@pytest.mark.parametrize("verb", STEERED)
async def test_a_token_for_another_environment_steers_nothing(shop: Shop, verb: str) -> None:
    shop.script("3.0", start_block="before")
    rollout = await deploy(shop)
    await until(lambda: shop.driver_world.blocked("3.0") == 2, "both are about to start")
    with pytest.raises(Forbidden):
        await getattr(shop.lab.service, verb)("shop", rollout.id, terms=STRANGER)
    await shop.lab.service.abort("shop", rollout.id, terms=ANA)


async def test_a_token_for_another_environment_neither_rolls_back_nor_pins_nor_starts_nor_approves(shop: Shop) -> None:
    service = shop.lab.service
    with pytest.raises(Forbidden):
        await service.rollback("shop", None, terms=STRANGER)
    with pytest.raises(Forbidden):
        service.pin("shop", "2.0", "", terms=STRANGER)
    configure(shop, approval=True)
    waiting = await deploy(shop)
    with pytest.raises(Forbidden):
        await service.approve("shop", waiting.id, terms=STRANGER)
    await service.abort("shop", waiting.id, terms=ANA)


async def test_a_token_for_another_environment_locks_and_unlocks_nothing(shop: Shop) -> None:
    with pytest.raises(Forbidden):
        lock(shop, terms=STRANGER)
    with pytest.raises(Forbidden):
        locks(shop).put("environment", "default", "", None, terms=STRANGER)
    lock(shop)
    with pytest.raises(Forbidden):
        locks(shop).remove("deployment", "shop", force=True, terms=STRANGER)


async def test_a_token_changes_what_is_new_in_its_environment_and_in_no_other(shop: Shop) -> None:
    service = shop.lab.service
    request = shop.request("1.0", name="new", health_check_url=None)
    with pytest.raises(Forbidden):
        await service.deploy(request, terms=STRANGER)
    assert shop.lab.store.deployment("new") is None
    rollout = await service.deploy(Request({**request.fields, "environment": "staging"}), terms=STRANGER)
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded


# ------------------------------------------------------------------------------------------------- freeze windows

ALWAYS = Freeze(cron="* * * * *", duration="1h", message="the end of the year.")


@pytest.mark.parametrize("change", CHANGES)
async def test_a_freeze_window_refuses_every_change_and_says_when_it_ends(shop: Shop, change: str) -> None:
    configure(shop, freeze=(ALWAYS,))
    with pytest.raises(DeploymentsFrozen, match=r"until 1970-\S+Z: the end of the year\. Wait") as refused:
        await CHANGES[change](shop, ANA)
    assert refused.value.details["until"].startswith("1970-")
    assert "* * * * *" in refused.value.cause


async def test_an_override_passes_a_freeze_window_and_a_rollback_needs_none(shop: Shop) -> None:
    configure(shop, freeze=(ALWAYS,))
    over = await shop.outcome(await deploy(shop, terms=WHY))
    assert (over.status, over.override) == (RolloutStatus.succeeded, "the site is down")
    assert any("warning: ana passed over this: Nothing of default is changed until" in line for line in shop.events())
    assert (await shop.rollback()).status is RolloutStatus.succeeded


# ------------------------------------------------------------------------------------------------- approvals


async def test_where_changes_wait_for_approval_only_an_admin_deletes_and_with_a_reason(shop: Shop) -> None:
    configure(shop, approval=True)
    for terms in (ANA, Terms("ci", role=Role.deploy, override="I may")):
        with pytest.raises(DeploymentLocked, match="an admin may delete shop"):
            await shop.lab.service.delete("shop", keep_files=False, terms=terms)
    assert shop.deployment().deleting is None
    await shop.lab.service.delete("shop", keep_files=False, terms=WHY)
    assert shop.lab.store.deployment("shop") is None
