"""What a deployment's state is said to be, from the store and the board alone."""

from __future__ import annotations

import pytest

from longshore.errors import DeploymentNotFound, NotFound, SpecInvalid
from longshore.model import Health, State
from longshore.rollout.reports import Replicas
from longshore.rollout.terms import Once, Terms
from support.shop import Shop, until


async def test_what_serves_well_is_healthy_with_all_its_replicas(shop: Shop) -> None:
    await shop.deployed("1.0", replicas=3)
    status = shop.lab.service.status("shop")
    assert (status.version, status.state, status.health) == ("1.0", State.healthy, Health.healthy)
    assert status.replicas == Replicas(desired=3, available=3, ready=3, updated=3)
    assert status.events[0].message == "Deployed shop 1.0"


@pytest.mark.parametrize(
    ("down", "state", "health"),
    [(1, State.healthy, Health.degraded), (2, State.unhealthy, Health.unhealthy)],
)
async def test_health_counts_the_committed_instances_that_are_ready(
    shop: Shop, down: int, state: State, health: Health
) -> None:
    await shop.deployed("1.0")
    for slot in range(down):
        shop.lab.world.board.mark(f"shop-1-{slot}", "shop", ready=False, message="it ended")
    status = shop.lab.service.status("shop")
    assert (status.state, status.health, status.replicas.ready) == (state, health, 2 - down)


async def test_right_after_a_restart_nothing_is_known(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.restart()
    status = shop.lab.service.status("shop")
    assert (status.state, status.health) == (State.unknown, Health.unknown)


async def test_available_is_what_was_ready_for_long_enough(shop: Shop) -> None:
    await shop.deployed("1.0", health_check={"min_ready": 30.0})
    assert shop.lab.service.status("shop").replicas.available == 2, "a rollout ends with instances that are available"
    for instance in shop.lab.store.instances("shop"):
        shop.lab.world.board.mark(instance.id, "shop", ready=False, message="sick")
        shop.lab.world.board.mark(instance.id, "shop", ready=True, message="well again")
    assert shop.lab.service.status("shop").replicas.available == 0
    shop.clock.time += 30
    assert shop.lab.service.status("shop").replicas.available == 2


async def test_while_it_deploys_the_new_ones_count_as_updated(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="blue-green")
    shop.script("2.0", start_block="after")
    rollout = await shop.begin("2.0", strategy="blue-green")
    await until(lambda: shop.driver_world.blocked("2.0") == 2, "the new ones run")
    status = shop.lab.service.status("shop")
    assert (status.state, status.version) == (State.deploying, "1.0")
    assert (status.replicas.updated, status.replicas.ready) == (2, 2)
    assert status.open_rollout is not None
    shop.driver_world.unblock("2.0")
    await shop.outcome(rollout)


async def test_a_warm_set_is_not_counted(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    assert shop.lab.service.status("shop").replicas == Replicas(desired=2, available=2, ready=2, updated=2)


async def test_a_rollback_is_rolling_back(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="rolling")
    shop.script("1.0", start_block="before")
    rollout = await shop.lab.service.rollback("shop", None, terms=Terms("ana"))
    await until(lambda: shop.driver_world.blocked("1.0"), "it starts")
    assert shop.lab.service.status("shop").state is State.rolling_back
    shop.driver_world.unblock("1.0")
    await until(lambda: shop.driver_world.blocked("1.0") or not shop.last().status.is_open, "it goes on")
    shop.script("1.0")
    shop.driver_world.unblock("1.0")
    await shop.outcome(rollout)


async def test_a_failure_that_was_undone_shows_in_the_events_and_not_in_the_state(shop: Shop) -> None:
    await shop.deployed("1.0")
    shop.script("2.0", never_ready=True)
    await shop.deploy("2.0")
    status = shop.lab.service.status("shop")
    assert (status.state, status.version) == (State.healthy, "1.0")
    assert status.events[0].type == "error"


async def test_files_alone_are_healthy_as_they_stand(shop: Shop) -> None:
    await shop.deployed("1.0", command="", health_check_url=None)
    status = shop.lab.service.status("shop")
    assert (status.state, status.health) == (State.healthy, Health.healthy)
    assert status.replicas.desired == 0


async def test_the_list_is_filtered_sorted_and_cut_and_counts_all_that_match(shop: Shop) -> None:
    for port, name in enumerate(("web", "api", "shop"), start=8001):
        url = f"http://localhost:{port}/health"
        await shop.deploy("1.0", name=name, health_check_url=url, command="", replicas=1)
    service = shop.lab.service
    found, total = service.list(environment=None, state=None, limit=2, offset=1)
    assert ([s.name for s in found], total) == (["shop", "web"], 3)
    states = {s.name: s.state for s in service.list(environment=None, state=None, limit=9, offset=0)[0]}
    assert states == {name: service.status(name).state for name in states}
    some = states["web"]
    matching, count = service.list(environment="default", state=some, limit=9, offset=0)
    assert count == len(matching) == sum(state is some for state in states.values())
    assert service.list(environment="live", state=None, limit=9, offset=0) == ([], 0)


async def test_what_is_not_there_is_said_so(shop: Shop) -> None:
    with pytest.raises(DeploymentNotFound):
        shop.lab.service.status("shop")
    await shop.deployed("1.0")
    with pytest.raises(NotFound, match="has no rollout 'x'"):
        shop.lab.service.rollout("shop", "x")


async def test_a_watcher_gets_the_history_of_the_last_rollout(shop: Shop) -> None:
    await shop.deployed("1.0")
    watcher = shop.lab.service.watch("shop", None, 0)
    assert watcher.history == shop.lab.store.progress(shop.last().id)
    assert shop.lab.service.watch("shop", shop.last().id, 3).history == watcher.history[3:]
    assert shop.lab.service.watch("api", shop.last().id, 0).history == []


async def test_an_idempotency_key_stands_for_one_body_and_one_day(shop: Shop) -> None:
    service, anas, bens = shop.lab.service, Once("ana", "k"), Once("ben", "k")
    assert service.idempotency_begin(anas, "body") is None
    rollout = await service.deploy(shop.request("1.0"), terms=Terms("ana", anas))
    assert service.idempotency_begin(anas, "body") == rollout.id
    with pytest.raises(SpecInvalid, match="used with another body"):
        service.idempotency_begin(anas, "other")
    assert service.idempotency_begin(bens, "other") is None
    await shop.outcome(rollout)
    shop.clock.time += 24 * 3600 + 1
    assert service.idempotency_begin(anas, "other") is None


async def test_an_idempotency_key_is_bound_in_the_transaction_that_opens_its_rollout(shop: Shop) -> None:
    once, opened = Once("ana", "k"), []

    def look(point: str) -> None:
        if point == "committed" and (rollout := shop.lab.store.open_rollout_of("shop")) is not None:
            opened.append((rollout.id, shop.lab.store.idempotency("ana", "k")))

    assert shop.lab.service.idempotency_begin(once, "body") is None
    shop.lab.store.db._on_write = look
    rollout = await shop.lab.service.deploy(shop.request("1.0"), terms=Terms("ana", once))
    assert opened[0] == (rollout.id, ("body", rollout.id))
    await shop.outcome(rollout)
