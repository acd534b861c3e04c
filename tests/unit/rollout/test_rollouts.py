"""Whole rollouts on the manager in memory: what goes wrong, what is asked meanwhile, and what is left."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from longshore.errors import DeploymentInProgress, SpecInvalid
from longshore.model import CanaryStep, Rollout, RolloutStatus
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.terms import Terms
from longshore.routers.base import Figures
from support.shop import Shop, until


def manual(*weights: int) -> dict[str, Any]:
    return {"strategy": "canary", "canary": {"steps": tuple(CanaryStep(w, "manual") for w in weights)}}


def assert_old_serves(shop: Shop, rollout: Rollout, code: str) -> None:
    assert rollout.status is RolloutStatus.unwound
    assert rollout.failure is not None
    assert rollout.failure.code == code
    assert shop.lab.assert_settled(replicas=2) == "1.0"
    assert shop.serving() == "1.0"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_an_upgrade_ends_with_exactly_the_new_version(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", "2.0", strategy=strategy)
    assert shop.lab.assert_settled(replicas=2) == "2.0"
    assert shop.serving() == "2.0"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_version_that_is_never_ready_leaves_the_old_one_serving(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy)
    shop.script("2.0", never_ready=True)
    rollout = await shop.deploy("2.0", strategy=strategy)
    assert_old_serves(shop, rollout, "HEALTH_CHECK_FAILED")
    assert "was not ready within" in rollout.message


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_version_that_cannot_be_started_leaves_the_old_one_serving(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy)
    shop.script("2.0", start_error="no such file: ./run")
    rollout = await shop.deploy("2.0", strategy=strategy)
    assert_old_serves(shop, rollout, "DEPLOYMENT_FAILED")
    assert rollout.failure is not None
    assert rollout.failure.cause == "no such file: ./run"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_version_that_ends_at_once_leaves_the_old_one_serving_and_shows_its_log(
    shop: Shop, strategy: str
) -> None:
    await shop.deployed("1.0", strategy=strategy)
    shop.script("2.0", lies="start")
    assert_old_serves(shop, await shop.deploy("2.0", strategy=strategy), "HEALTH_CHECK_FAILED")


@pytest.mark.parametrize("answer", [False, None])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_router_that_does_not_say_it_serves_the_new_version_is_not_believed(
    shop: Shop, strategy: str, answer: bool | None
) -> None:
    await shop.deployed("1.0", strategy=strategy)
    shop.router.lie["shop"] = answer
    rollout = await shop.deploy("2.0", strategy=strategy)
    del shop.router.lie["shop"]
    assert_old_serves(shop, rollout, "DEPLOYMENT_FAILED")


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_router_that_refuses_leaves_it_stuck_and_the_next_deploy_cleans_up(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy)
    shop.router.refuse["shop"] = "its disk is full"
    stuck = await shop.deploy("2.0", strategy=strategy)
    assert stuck.status is RolloutStatus.stuck
    assert "its disk is full" in stuck.message
    assert shop.lab.service.status("shop").state == "failed"

    again = await shop.deploy("3.0", strategy=strategy)
    assert again.status is RolloutStatus.stuck
    assert again.failure is not None
    assert "Rollout 2 left something that cannot be undone" in again.failure.message
    assert shop.lab.service.status("shop").state == "failed"

    shop.router.refuse.clear()
    await shop.deployed("4.0", strategy=strategy)
    statuses = [r.status for r in reversed(shop.lab.store.rollouts("shop", limit=9, offset=0)[0])]
    assert statuses == ["succeeded", "unwound", "unwound", "succeeded"]
    assert shop.lab.assert_settled(replicas=2) == "4.0"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_what_is_held_keeps_the_old_version_serving_until_the_next_deploy_cleans_up(
    shop: Shop, strategy: str
) -> None:
    await shop.deployed("1.0", strategy=strategy)
    shop.router.lie["shop"] = False
    held = await shop.deploy("2.0", strategy=strategy, rollback_on_failure=False)
    assert held.status is RolloutStatus.held
    shop.router.lie.clear()
    assert shop.lab.service.status("shop").state == "failed"
    await shop.deployed("3.0", strategy=strategy)
    assert shop.lab.assert_settled(replicas=2) == "3.0"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_rollback_of_what_is_held_goes_back_to_what_served(shop: Shop, strategy: str) -> None:
    await shop.deployed("0.9", "1.0", strategy=strategy)
    shop.script("2.0", never_ready=True)
    assert (await shop.deploy("2.0", strategy=strategy, rollback_on_failure=False)).status is RolloutStatus.held
    rollout = await shop.rollback()
    assert (rollout.status, rollout.version) == (RolloutStatus.succeeded, "1.0")
    await until(lambda: not shop.lab.store.open_rollouts(), "all is over")
    deployment = shop.lab.store.deployment("shop")
    assert deployment is not None
    assert {i.version for i in shop.lab.store.instances("shop") if i.id in deployment.instances} == {"1.0"}
    assert shop.serving() == "1.0"


async def test_a_first_deploy_that_fails_leaves_nothing_behind(shop: Shop) -> None:
    shop.script("1.0", never_ready=True)
    rollout = await shop.deploy("1.0", strategy="rolling")
    assert rollout.status is RolloutStatus.unwound
    assert rollout.message.endswith("Everything was undone; nothing serves.")
    assert shop.lab.store.instances() == []
    assert shop.driver_world.running() == 0
    assert "shop" not in shop.router.applied
    assert shop.lab.store.releases("shop") == []
    assert not shop.machine.disk.claims
    assert shop.lab.service.status("shop").state == "failed"


async def test_after_a_first_deploy_that_failed_another_may_name_another_port(shop: Shop) -> None:
    shop.script("1.0", never_ready=True)
    await shop.deploy("1.0")
    rollout = await shop.deploy("1.1", health_check_url="http://localhost:9090/health")
    assert rollout.status is not RolloutStatus.succeeded or rollout.spec.public_port == 9090


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_second_deploy_is_refused_while_the_first_runs(shop: Shop, strategy: str) -> None:
    shop.script("1.0", start_block="before")
    first = await shop.begin("1.0", strategy=strategy)
    with pytest.raises(DeploymentInProgress) as refused:
        await shop.begin("2.0", strategy=strategy)
    assert refused.value.details["rollout_id"] == first.id
    await until(lambda: shop.driver_world.blocked("1.0") == 2, "both are about to start")
    shop.driver_world.unblock("1.0")
    assert (await shop.outcome(first)).status is RolloutStatus.succeeded


async def test_of_sixteen_deploys_at_once_one_is_taken(shop: Shop) -> None:
    outcomes = await asyncio.gather(*(shop.begin(f"1.{n}") for n in range(16)), return_exceptions=True)
    taken = [o for o in outcomes if isinstance(o, Rollout)]
    refused = [o for o in outcomes if isinstance(o, (DeploymentInProgress, SpecInvalid))]
    assert (len(taken), len(refused)) == (1, 15)
    assert (await shop.outcome(taken[0])).status is RolloutStatus.succeeded


async def test_a_redeploy_of_the_same_version_is_a_restart_through_the_strategy(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    before = {i.id for i in shop.lab.store.instances("shop")}
    await shop.deployed("1.0", strategy="rolling")
    assert not before & {i.id for i in shop.lab.store.instances("shop")}
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_scaling_up_and_down_is_a_redeploy_with_other_replicas(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    await shop.deployed("1.0", strategy="rolling", replicas=5)
    assert shop.lab.assert_settled(replicas=5) == "1.0"
    await shop.deployed("1.0", strategy="rolling", replicas=1)
    assert shop.lab.assert_settled(replicas=1) == "1.0"


# ------------------------------------------------------------------------------------------------- steering


async def test_a_canary_waits_for_a_person_and_resume_goes_one_step_on(shop: Shop) -> None:
    await shop.deployed("1.0", **manual(100))
    rollout = await shop.begin("2.0", **manual(10, 50, 100))
    service = shop.lab.service
    for weight in (10, 50, 100):
        await until(lambda w=weight: shop.step_running(f"watch_canary_{w}"), f"it is watched at {weight} %")  # type: ignore[misc]
        await service.resume("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded


async def test_promote_skips_every_pause_that_is_left(shop: Shop) -> None:
    await shop.deployed("1.0", **manual(100))
    rollout = await shop.begin("2.0", **manual(10, 50, 100))
    await until(lambda: shop.step_running("watch_canary_10"), "it is watched at 10 %")
    await shop.lab.service.promote("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    assert "info: ana promoted the candidate" in shop.events()


@pytest.mark.parametrize("weight", [10, 50, 100])
async def test_a_canary_aborted_at_any_weight_gives_all_traffic_back(shop: Shop, weight: int) -> None:
    await shop.deployed("1.0", **manual(100))
    rollout = await shop.begin("2.0", **manual(*[w for w in (10, 50, 100) if w >= weight]))
    await until(lambda: shop.step_running(f"watch_canary_{weight}"), "it is watched")
    ended = await shop.lab.service.abort("shop", rollout.id, terms=Terms("ana"), reason="wrong build")
    assert_old_serves(shop, ended, "DEPLOYMENT_ABORTED")
    assert ended.abort_requested == "wrong build"


async def test_a_candidate_that_answers_worse_is_taken_back(shop: Shop) -> None:
    await shop.deployed("1.0", **manual(100))
    rollout = await shop.begin("2.0", **manual(50, 100))
    await until(lambda: shop.step_running("watch_canary_50"), "it is watched")
    began = shop.clock.time
    await until(lambda: shop.clock.time > began, "the figures were read once")
    traffic = shop.router.applied["shop"]
    assert traffic.stable is not None
    assert traffic.candidate is not None
    shop.router.figure["shop", traffic.stable.id] = Figures("0", 1000, 0, 0, 0, 0, {10.0: 1000})
    shop.router.figure["shop", traffic.candidate.id] = Figures("0", 1000, 300, 0, 0, 0, {10.0: 1000})
    ended = await shop.outcome(rollout)
    assert_old_serves(shop, ended, "HEALTH_CHECK_FAILED")
    assert ended.failure is not None
    assert "judged worse at 50 %" in ended.failure.message


async def test_pause_is_told_and_resume_too(shop: Shop) -> None:
    shop.script("1.0", start_block="before")
    rollout = await shop.begin("1.0")
    await until(lambda: shop.driver_world.blocked("1.0") == 2, "both are about to start")
    await shop.lab.service.pause("shop", rollout.id, terms=Terms("ben"))
    shop.driver_world.unblock("1.0")
    await until(lambda: shop.last().status is RolloutStatus.paused, "it is paused")
    assert shop.lab.service.status("shop").state == "deploying"
    await shop.lab.service.resume("shop", rollout.id, terms=Terms("ben"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    assert "info: ben paused the rollout" in shop.events()
    assert "info: ben resumed the rollout" in shop.events()


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort"])
async def test_what_is_over_cannot_be_steered_any_more(shop: Shop, verb: str) -> None:
    await shop.deployed("1.0")
    with pytest.raises(SpecInvalid, match=f"succeeded: there is nothing left to {verb}. Roll back instead."):
        await getattr(shop.lab.service, verb)("shop", shop.last().id, terms=Terms("ana"))


async def test_who_stops_waiting_changes_nothing(shop: Shop) -> None:
    shop.script("1.0", start_block="before")
    rollout = await shop.begin("1.0")
    waiting = asyncio.ensure_future(shop.lab.service.outcome(rollout.id))
    await until(lambda: shop.driver_world.blocked("1.0") == 2, "both are about to start")
    waiting.cancel()
    await asyncio.wait({waiting})
    shop.driver_world.unblock("1.0")
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded


async def test_a_rollout_waits_until_new_instances_have_been_ready_for_min_ready(shop: Shop) -> None:
    before = shop.clock.now()
    await shop.deployed("1.0", health_check={"min_ready": 30.0})
    assert shop.clock.now() - before >= 30.0


async def test_an_instance_that_ends_within_min_ready_fails_the_rollout(shop: Shop) -> None:
    await shop.deployed("1.0")
    shop.script("2.0", exit_after=20.0)
    rollout = await shop.deploy("2.0", health_check={"min_ready": 30.0})
    assert rollout.status is RolloutStatus.unwound
    assert rollout.failure is not None
    assert "not for 30s (min_ready)" in rollout.failure.message
    assert shop.serving() == "1.0"
