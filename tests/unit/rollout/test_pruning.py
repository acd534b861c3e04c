"""Which releases are kept: pins, and pruning because somebody asked for it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from longshore.errors import BackupNotFound, DeploymentInProgress, DeploymentNotFound, InternalError
from longshore.files import FilesError
from longshore.model import ReleaseState, RolloutStatus
from longshore.rollout.terms import Terms
from support.engine import Directory
from support.shop import Shop

ANA = Terms("ana")


async def pruned(shop: Shop, keep: int | None = None) -> list[str]:
    return [release.version for release in await shop.lab.service.prune("shop", keep, terms=ANA)]


def on_disk(shop: Shop) -> set[str]:
    (releases,) = shop.machine.disk.releases.values()
    return set(releases)


async def test_pruning_removes_what_is_beyond_the_newest_and_says_so(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", "4.0", strategy="recreate")
    assert await pruned(shop, 3) == ["1.0"]
    assert await pruned(shop, 1) == ["2.0"]  # 3.0 is what a rollback goes to
    assert on_disk(shop) == {"3.0", "4.0"}
    assert [event for event in shop.events() if "pruned" in event] == ["info: ana pruned 1.0", "info: ana pruned 2.0"]
    assert await pruned(shop, 1) == []
    assert (await shop.rollback()).version == "3.0"


async def test_without_a_number_as_many_are_kept_as_the_manager_keeps(shop: Shop) -> None:
    shop.lab.world.keep_releases = 9
    await shop.deployed("1.0", "2.0", "3.0", strategy="recreate")
    assert await pruned(shop) == []
    shop.lab.world.keep_releases = 2
    assert await pruned(shop) == ["1.0"]


async def test_a_pinned_release_survives_everything_and_takes_no_other_ones_place(shop: Shop) -> None:
    shop.lab.world.keep_releases = 2
    await shop.deployed("1.0", strategy="recreate")
    assert shop.lab.service.pin("shop", "1.0", "old schema", terms=ANA).pinned == "old schema"
    await shop.deployed("2.0", "3.0", "4.0", strategy="recreate")
    assert on_disk(shop) == {"1.0", "3.0", "4.0"}
    assert await pruned(shop, 1) == []
    assert (await shop.rollback("1.0")).status is RolloutStatus.succeeded
    await shop.deployed("5.0", strategy="recreate")
    found = shop.lab.store.release("shop", "1.0")
    assert found is not None
    assert found.pinned == "old schema"  # a rollback to it writes its row anew
    assert shop.lab.service.pin("shop", "1.0", None, terms=ANA).pinned is None


async def test_what_was_unpinned_goes_with_the_next_pruning(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="recreate")
    shop.lab.service.pin("shop", "1.0", "", terms=ANA)
    assert await pruned(shop, 1) == []
    shop.lab.service.pin("shop", "1.0", None, terms=ANA)
    assert await pruned(shop, 1) == ["1.0"]


async def test_pins_are_told_and_counted_once(shop: Shop) -> None:
    await shop.deployed("1.0")
    before = shop.deployment().revision
    for reason in ("why", "why", None, None):
        shop.lab.service.pin("shop", "1.0", reason, terms=ANA)
    assert shop.deployment().revision == before + 2
    assert [event for event in shop.events() if "pinned" in event] == [
        "info: ana pinned 1.0: why", "info: ana unpinned 1.0",
    ]  # fmt: skip


async def test_only_what_is_kept_can_be_pinned(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="recreate")
    await pruned(shop, 1)
    for version in ("1.0", "9.9", "../3.0"):
        with pytest.raises(BackupNotFound, match="keeps no release"):
            shop.lab.service.pin("shop", version, "", terms=ANA)
    with pytest.raises(DeploymentNotFound):
        shop.lab.service.pin("nope", "1.0", "", terms=ANA)


async def test_what_a_killed_manager_had_only_written_down_is_removed_and_told(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="recreate")
    shop.lab.store.set_release_state("shop", "1.0", ReleaseState.pruned)
    assert on_disk(shop) == {"1.0", "2.0", "3.0"}
    assert await pruned(shop) == ["1.0"]
    assert on_disk(shop) == {"2.0", "3.0"}


async def test_while_a_rollout_runs_nothing_is_pruned(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="recreate")
    begun = await shop.begin("4.0", strategy="recreate")
    with pytest.raises(DeploymentInProgress) as refused:
        await pruned(shop, 1)
    assert refused.value.details["rollout_id"] == begun.id
    await shop.outcome(begun)


async def test_a_rollout_that_is_opened_meanwhile_keeps_its_release(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", "4.0", strategy="recreate")
    async with shop.lab.world.lock("shop"):
        pruning = asyncio.create_task(shop.lab.service.prune("shop", 1, terms=ANA))
        await asyncio.sleep(0)
        begun = await shop.lab.service.rollback("shop", "1.0", terms=ANA)
    assert [release.version for release in await pruning] == ["2.0"]
    assert (await shop.outcome(begun)).status is RolloutStatus.succeeded


async def test_what_is_held_for_inspection_is_kept(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="recreate")
    shop.script("4.0", never_ready=True)
    held = await shop.deploy("4.0", strategy="rolling", rollback_on_failure=False)
    assert held.status is RolloutStatus.held
    assert await pruned(shop, 1) == ["1.0"]
    assert on_disk(shop) == {"2.0", "3.0", "4.0"}


async def test_what_is_being_deleted_is_neither_pinned_nor_pruned(shop: Shop) -> None:
    await shop.deployed("1.0")
    shop.lab.store.save_deployment(replace(shop.deployment(), deleting="all"))
    with pytest.raises(DeploymentInProgress, match="being deleted"):
        await pruned(shop)
    with pytest.raises(DeploymentInProgress, match="being deleted"):
        shop.lab.service.pin("shop", "1.0", "", terms=ANA)


async def test_what_was_deleted_while_it_waited_is_not_found(shop: Shop) -> None:
    await shop.deployed("1.0")
    async with shop.lab.world.lock("shop"):
        pruning = asyncio.create_task(shop.lab.service.prune("shop", 1, terms=ANA))
        await asyncio.sleep(0)
        shop.lab.store.delete_deployment("shop")
    with pytest.raises(DeploymentNotFound):
        await pruning


async def test_a_disk_that_refuses_is_told_and_the_next_pruning_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="recreate")
    remove = Directory.remove_release

    def refuse(self: Directory, version: str) -> None:
        raise FilesError("'/srv/shop': the file system is read-only")

    monkeypatch.setattr(Directory, "remove_release", refuse)
    with pytest.raises(InternalError, match="only pruned in part: '/srv/shop': the file system is read-only"):
        await pruned(shop, 1)
    monkeypatch.setattr(Directory, "remove_release", remove)
    assert await pruned(shop, 1) == ["1.0"]
