"""Stop and start: nothing runs in between, whoever comes, and whatever comes after it starts the whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from longshore.errors import SpecInvalid
from longshore.model import Health, RolloutStatus, State
from longshore.rollout.committed import serve_committed
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.terms import Terms
from support.shop import Shop

BROKEN = {"never_ready": True}


def assert_stopped(shop: Shop, version: str = "1.0") -> None:
    """Nothing runs, clients are refused at once, and the release is still the committed one."""
    deployment, traffic = shop.deployment(), shop.router.applied["shop"]
    assert (deployment.stopped, deployment.current_version, deployment.instances) == (True, version, ())
    assert shop.lab.store.instances("shop") == []
    assert shop.driver_world.running() == 0
    assert deployment.routing is not None
    assert traffic == shop.lab.world.fleet.traffic(deployment.routing)
    assert (traffic.hold, traffic.candidate) == (0.0, None)
    assert traffic.stable is not None
    assert traffic.stable.targets == ()
    assert shop.lab.store.open_rollouts() == []


def assert_no_request_meets_nobody(shop: Shop) -> None:
    """Whatever the router was ever told: a pool with a share of the requests has instances, or they are held."""
    for name, traffic in shop.router.history:
        if name == "shop" and traffic is not None and traffic.hold is None:
            shares = ((traffic.stable, 100 - traffic.weight), (traffic.candidate, traffic.weight))
            assert all(pool is None or pool.targets for pool, share in shares if share), traffic


async def test_stopping_refuses_requests_first_then_drains_and_ends_every_instance(shop: Shop) -> None:
    await shop.deployed("1.0")
    rollout = await shop.do("stop")
    assert (rollout.status, rollout.message) == (RolloutStatus.succeeded, "Stopped shop 1.0")
    assert shop.steps(rollout) == ["stop_traffic", "verify_traffic", "drain", "stop_instances", "commit", "retire"]
    assert_stopped(shop)


async def test_what_is_stopped_is_unhealthy_wants_no_instances_and_says_why(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    status = shop.lab.service.status("shop")
    assert (status.state, status.health, status.deployment.stopped) == (State.unhealthy, Health.unhealthy, True)
    assert (status.replicas.desired, status.replicas.ready, status.replicas.available) == (0, 0, 0)
    report = await shop.lab.service.health("shop")
    assert report.overall is Health.unhealthy
    assert report.message.startswith("shop is stopped")
    assert {key: found.status for key, found in report.components.items()} == {
        "service": "unhealthy",
        "endpoint": "unhealthy",
        "deployment_files": "healthy",
    }


async def test_starting_brings_back_the_release_with_as_many_instances(shop: Shop) -> None:
    await shop.deployed("1.0", replicas=3, strategy="canary")
    await shop.do("stop")
    rollout = await shop.do("start")
    assert rollout.status is RolloutStatus.succeeded
    assert not [step for step in shop.steps(rollout) if step.startswith("watch_canary")]
    assert not shop.deployment().stopped
    assert shop.lab.assert_settled(replicas=3) == "1.0"
    assert_no_request_meets_nobody(shop)


async def test_a_start_that_fails_leaves_it_stopped(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    shop.script("1.0", **BROKEN)
    assert (await shop.do("start")).status is RolloutStatus.unwound
    assert_stopped(shop)


async def test_a_stop_that_the_router_does_not_carry_out_is_undone(shop: Shop) -> None:
    await shop.deployed("1.0")
    shop.router.lie["shop"] = False
    rollout = await shop.do("stop")
    shop.router.lie.clear()
    assert rollout.status is RolloutStatus.unwound
    assert not shop.deployment().stopped
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_stop_takes_a_warm_set_with_it(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    assert shop.driver_world.running() == 4
    await shop.do("stop")
    assert_stopped(shop, "2.0")


async def test_a_stop_that_is_undone_leaves_the_warm_set_warm(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    before = shop.deployment().routing
    shop.router.lie["shop"] = False
    await shop.do("stop")
    shop.router.lie.clear()
    assert shop.deployment().routing == before
    assert shop.driver_world.running() == 4


async def test_what_has_no_port_is_stopped_and_started_alike(shop: Shop) -> None:
    await shop.deployed("1.0", health_check_url=None)
    await shop.do("stop")
    assert (shop.deployment().stopped, shop.driver_world.running()) == (True, 0)
    await shop.do("start")
    assert (shop.deployment().stopped, shop.driver_world.running()) == (False, 2)


@pytest.mark.parametrize(
    ("verb", "given", "reason"),
    [
        ("stop", (), "is stopped, so there is nothing to stop."),
        ("restart", (), "start it first"),
        ("scale", (3,), "start it first"),
    ],
)
async def test_what_is_stopped_is_started_before_anything_else(
    shop: Shop, verb: str, given: tuple[int, ...], reason: str
) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    revision = shop.deployment().revision
    with pytest.raises(SpecInvalid, match=reason):
        await shop.do(verb, *given)
    assert shop.deployment().revision == revision
    assert_stopped(shop)


async def test_what_runs_is_not_started_and_what_never_served_is_not_stopped(shop: Shop) -> None:
    shop.script("1.0", **BROKEN)
    await shop.deploy("1.0")
    with pytest.raises(SpecInvalid, match="never served"):
        await shop.do("stop")
    shop.script("1.0")
    await shop.deployed("1.0")
    with pytest.raises(SpecInvalid, match="is not stopped"):
        await shop.do("start")


async def test_files_alone_are_not_stopped(shop: Shop) -> None:
    (shop.root / "artifacts" / "1.0").mkdir(parents=True)
    (shop.root / "artifacts" / "1.0" / "index.html").write_text("hello")
    await shop.deployed("1.0", command=None, health_check_url=None)
    with pytest.raises(SpecInvalid, match="has nothing that runs"):
        await shop.do("stop")


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_deploy_starts_what_is_stopped(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy)
    await shop.do("stop")
    rollout = await shop.deploy("2.0", strategy=strategy, replicas=3)
    assert rollout.status is RolloutStatus.succeeded
    assert not [step for step in shop.steps(rollout) if step.startswith("watch_canary")]
    assert not shop.deployment().stopped
    assert shop.lab.assert_settled(replicas=3) == "2.0"
    assert_no_request_meets_nobody(shop)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_deploy_that_fails_leaves_it_stopped(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", strategy=strategy)
    await shop.do("stop")
    shop.script("2.0", **BROKEN)
    assert (await shop.deploy("2.0", strategy=strategy)).status is RolloutStatus.unwound
    assert_stopped(shop)
    assert_no_request_meets_nobody(shop)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_rollback_starts_what_is_stopped(shop: Shop, strategy: str) -> None:
    await shop.deployed("1.0", "2.0", strategy=strategy)
    await shop.do("stop")
    assert (await shop.rollback()).version == "1.0"
    assert shop.lab.assert_settled(replicas=2) == "1.0"
    assert_no_request_meets_nobody(shop)


async def test_a_rollback_to_what_is_stopped_says_to_start_it(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    with pytest.raises(SpecInvalid, match="start it instead"):
        await shop.rollback("1.0")


@pytest.mark.parametrize("version", [None, "1.0"])
async def test_a_rollback_while_it_is_started_leaves_it_stopped(shop: Shop, version: str | None) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    begun = await shop.lab.service.start("shop", terms=Terms("ana"))
    await shop.lab.service.pause("shop", begun.id, terms=Terms("ana"))
    rollout = await shop.rollback(version)
    assert (rollout.version, rollout.status) == ("1.0", RolloutStatus.succeeded)
    assert_stopped(shop)


async def test_a_rollback_of_a_stop_that_has_not_committed_leaves_it_running(shop: Shop) -> None:
    await shop.deployed("1.0")
    begun = await shop.lab.service.stop("shop", terms=Terms("ana"))
    await shop.lab.service.pause("shop", begun.id, terms=Terms("ana"))
    await shop.rollback()
    assert not shop.deployment().stopped
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_it_stays_stopped_when_the_manager_is_started_again(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    await shop.restart()
    assert await shop.lab.recover()
    assert_stopped(shop)
    await shop.do("start")
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_who_depends_on_it_is_told_that_it_is_stopped(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    request = shop.request("1.0", name="cart", health_check_url=None, dependencies=("shop",))
    rollout = await shop.lab.service.deploy(request, terms=Terms("ana"))
    failure = (await shop.outcome(rollout)).failure
    assert failure is not None
    assert (failure.code, failure.cause) == ("DEPENDENCY_FAILED", "shop is stopped")
    assert "Start it first" in failure.message


async def test_it_goes_on_refusing_requests_where_a_plan_cannot_be_read(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    assert await serve_committed(shop.lab.world, replace(shop.last())) == "1.0"
    assert_stopped(shop)
