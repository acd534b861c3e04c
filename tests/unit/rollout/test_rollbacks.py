"""Which release a rollback goes to, and what it leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from longshore.errors import BackupNotFound, DeploymentNotFound, SpecInvalid
from longshore.files import Unpacked
from longshore.model import ReleaseState, RolloutKind, RolloutStatus
from longshore.rollout.strategies import STRATEGIES
from support.engine import Directory
from support.shop import Shop, until


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_without_a_version_it_goes_to_what_served_before(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", "2.0", strategy=strategy)
    rollout = await shop.rollback()
    assert (rollout.status, rollout.version, rollout.kind) == (RolloutStatus.succeeded, "1.0", RolloutKind.rollback)
    assert shop.lab.assert_settled(replicas=2) == "1.0"
    assert rollout.message == "Rolled back shop 1.0"


async def test_again_and_again_it_goes_on_into_the_past_and_never_forth(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="rolling")
    assert (await shop.rollback()).version == "2.0"
    assert (await shop.rollback()).version == "1.0"
    with pytest.raises(BackupNotFound, match=r"no earlier release"):
        await shop.rollback()
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_what_never_was_healthy_is_passed_over(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="rolling")
    shop.script("3.0", never_ready=True)
    assert (await shop.deploy("3.0", strategy="rolling")).status is RolloutStatus.unwound
    assert (await shop.rollback()).version == "1.0"


async def test_a_version_is_gone_back_to_by_name_with_the_spec_it_had(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling", replicas=3, configuration={"COLOUR": "blue"})
    await shop.deployed("2.0", strategy="rolling", replicas=2, configuration={"COLOUR": "green"})
    await shop.deployed("3.0", strategy="rolling", replicas=2)
    rollout = await shop.rollback("1.0")
    assert rollout.version == "1.0"
    assert rollout.spec.configuration == {"COLOUR": "blue"}
    assert shop.lab.assert_settled(replicas=3) == "1.0"


async def test_after_a_rollback_by_name_the_next_goes_to_what_is_older_than_that(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", "4.0", strategy="rolling")
    assert (await shop.rollback("2.0")).version == "2.0"
    assert (await shop.rollback()).version == "1.0"


@pytest.mark.parametrize(
    ("version", "reason"), [("9.9", "was never deployed"), ("1.0", "has been pruned"), ("2.0", "never was healthy")]
)
async def test_what_cannot_be_gone_back_to_says_why(shop: Shop, version: str, reason: str) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="rolling")
    store = shop.lab.store
    store.set_release_state("shop", "1.0", ReleaseState.pruned)
    second = store.release("shop", "2.0")
    assert second is not None
    store.save_release(replace(second, healthy_at=None))
    with pytest.raises(BackupNotFound, match=reason):
        await shop.rollback(version)


async def test_going_back_to_what_serves_is_refused(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0")
    with pytest.raises(SpecInvalid, match=r"serves 2\.0 already"):
        await shop.rollback("2.0")


async def test_what_is_not_there_cannot_be_rolled_back(shop: Shop) -> None:
    with pytest.raises(DeploymentNotFound):
        await shop.rollback()
    await shop.deployed("1.0")
    with pytest.raises(BackupNotFound):
        await shop.rollback()


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_rollback_that_fails_leaves_what_serves(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", "2.0", strategy=strategy, blue_green={"keep_old": 0.0})
    shop.script("1.0", never_ready=True)
    rollout = await shop.rollback()
    assert rollout.status is RolloutStatus.unwound
    assert rollout.failure is not None
    assert rollout.failure.code == "ROLLBACK_FAILED"
    assert rollout.failure.cause.startswith("HEALTH_CHECK_FAILED: ")
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_a_rollback_is_undone_even_where_failures_are_held(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="rolling", rollback_on_failure=False)
    shop.script("1.0", never_ready=True)
    assert (await shop.rollback()).status is RolloutStatus.unwound


@pytest.mark.parametrize("version", [None, "", "2.0"])
async def test_one_asked_for_while_a_deploy_runs_aborts_it_and_keeps_what_serves(
    shop: Shop, version: str | None
) -> None:
    await shop.deployed("1.0", "2.0", strategy="rolling")
    shop.script("3.0", start_block="before")
    running = await shop.begin("3.0", strategy="rolling")
    await until(lambda: shop.driver_world.blocked("3.0"), "the new one starts")
    rollout = await shop.rollback(version)
    aborted = shop.lab.store.rollout(running.id)
    assert aborted is not None
    assert aborted.failure is not None
    assert (aborted.status, aborted.failure.code) == (RolloutStatus.unwound, "DEPLOYMENT_ABORTED")
    assert (rollout.status, rollout.version) == (RolloutStatus.succeeded, "2.0")
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_one_to_an_older_version_while_a_deploy_runs_goes_there(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="rolling")
    shop.script("3.0", start_block="before")
    await shop.begin("3.0", strategy="rolling")
    await until(lambda: shop.driver_world.blocked("3.0"), "the new one starts")
    assert (await shop.rollback("1.0")).version == "1.0"
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_right_after_a_blue_green_switch_nothing_is_started_to_go_back(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    starts = shop.driver_world.starts
    assert (await shop.rollback()).status is RolloutStatus.succeeded
    assert shop.driver_world.starts == starts
    assert shop.serving() == "1.0"
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_warm_set_with_a_dead_instance_is_not_gone_back_to(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    shop.driver_world.kill("shop-1-0")
    shop.lab.world.board.mark("shop-1-0", "shop", ready=False, message="it was killed by signal 9")
    assert (await shop.rollback()).status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_releases_beyond_those_kept_are_pruned_but_never_one_to_go_back_to(shop: Shop) -> None:
    await shop.deployed(*(f"{n}.0" for n in range(1, 9)), strategy="recreate")
    states = {r.version: r.state for r in shop.lab.store.releases("shop")}
    assert [v for v, state in sorted(states.items()) if state is ReleaseState.kept] == [
        "4.0",
        "5.0",
        "6.0",
        "7.0",
        "8.0",
    ]
    await shop.rollback("4.0")
    await shop.deployed("9.0", "9.1", strategy="recreate")
    kept = {r.version for r in shop.lab.store.releases("shop") if r.state is ReleaseState.kept}
    assert {"9.0", "9.1"} <= kept


async def test_what_a_killed_manager_had_pruned_in_its_store_alone_is_removed_by_the_next_rollout(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", strategy="recreate")
    shop.lab.store.set_release_state("shop", "1.0", ReleaseState.pruned)
    await shop.deployed("4.0", strategy="recreate")
    (releases,) = shop.machine.disk.releases.values()
    assert set(releases) == {"2.0", "3.0", "4.0"}


async def test_what_was_there_before_longshore_is_gone_back_to_like_any_other(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_over(self: Directory, version: str) -> Unpacked:
        return self.unpack_release(self.path, version, "sha")

    def is_foreign(self: Directory) -> bool:
        shop.clock.time += 1
        return self.current() is None

    monkeypatch.setattr(Directory, "take_over", take_over, raising=False)
    monkeypatch.setattr(Directory, "is_foreign", is_foreign)
    await shop.deployed("1.0", "2.0", strategy="rolling")
    assert [r.version for r in shop.lab.store.releases("shop")] == ["2.0", "1.0", "pre-longshore"]
    assert (await shop.rollback()).version == "1.0"
    rollout = await shop.rollback()
    assert (rollout.version, rollout.status) == ("pre-longshore", RolloutStatus.succeeded)
    assert shop.driver_world.running() == 0
    assert shop.router.applied == {}
