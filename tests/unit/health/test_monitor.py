"""The one loop, on the manager in memory: what it mends between rollouts, and that it keeps out of them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from longshore.drivers.base import Exit, Handle
from longshore.drivers.mock import MockDriver
from longshore.files import FilesError
from longshore.health.inventory import Inventory
from longshore.health.mending import BACKOFF_S, CRASH_LOOP
from longshore.health.monitor import Monitor
from longshore.model import CanaryStep, InstanceState, RolloutStatus
from longshore.rollout.terms import Terms
from support.engine import Ports
from support.shop import Shop, until


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    await shop.close()


def monitor_of(shop: Shop, keep_events: int = 1000) -> Monitor:
    return Monitor(shop.lab.world, lambda environment: shop.lab.driver, keep_events)


@asynccontextmanager
async def watched(shop: Shop, keep_events: int = 1000) -> AsyncIterator[Monitor]:
    monitor = monitor_of(shop, keep_events)
    running = asyncio.create_task(monitor.run())
    try:
        yield monitor
        assert not running.done(), running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def for_a_while(shop: Shop, seconds: float) -> None:
    """Let so much time pass on the shop's clock, which the loop itself moves on."""
    ends = shop.clock.time + seconds
    await until(lambda: shop.clock.time >= ends, f"{seconds} s have passed")


def restarts(shop: Shop) -> list[str]:
    return [e for e in shop.events() if "starting it again" in e]


async def test_an_instance_that_dies_is_started_again_at_once(shop: Shop) -> None:
    await shop.deployed("1.0")
    async with watched(shop):
        await for_a_while(shop, 5)
        killed_at = shop.clock.time
        shop.driver_world.kill("shop-1-0", -9)
        await until(lambda: shop.driver_world.running() == 2, "both run again")
        assert shop.clock.time - killed_at <= 1.0
        await until(lambda: shop.lab.service.status("shop").health == "healthy", "both are ready")
    (told,) = restarts(shop)
    assert told.startswith("warning: instance shop-1-0 ")
    assert "was killed by signal 9: starting it again" in told
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_an_instance_whose_end_cannot_be_waited_for_is_not_taken_for_ended(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await shop.deployed("1.0", replicas=1)
    real, failing, asked = MockDriver.exited, [True], []

    async def exited(self: MockDriver, handle: Handle) -> Exit:
        asked.append(handle)
        if failing:
            raise OSError(errno.EMFILE, "Too many open files")
        return await real(self, handle)

    monkeypatch.setattr(MockDriver, "exited", exited)
    async with watched(shop):
        await until(lambda: len(asked) >= 3, "it was tried thrice")
        await for_a_while(shop, 5)
        assert not restarts(shop)
        assert shop.driver_world.starts == 1
        assert "the end of shop-1-0 cannot be waited for" in caplog.text
        failing.clear()
        tried = len(asked)
        await until(lambda: len(asked) > tried, "it is watched again")
        shop.driver_world.kill("shop-1-0", -9)
        await until(lambda: restarts(shop), "it is started again")
    assert "was killed by signal 9" in restarts(shop)[0]


async def test_one_that_keeps_dying_is_started_ever_later_and_called_a_crash_loop(shop: Shop) -> None:
    await shop.deployed("1.0", replicas=1)
    shop.script("1.0", exit_after=0.1)
    shop.driver_world.kill("shop-1-0")
    began, starts = shop.clock.time, shop.driver_world.starts
    async with watched(shop):
        await until(lambda: len(restarts(shop)) >= CRASH_LOOP + 1, "it is called a crash loop")
        told = restarts(shop)
    assert all(e.startswith("warning: ") for e in told[: CRASH_LOOP - 1])
    assert "crash loop" in told[CRASH_LOOP - 1]
    assert "in 16 s at the earliest" in told[CRASH_LOOP - 1]
    assert told[CRASH_LOOP - 1].startswith("error: ")
    pauses = sum(BACKOFF_S[: shop.driver_world.starts - starts])
    assert shop.clock.time - began >= pauses


async def test_one_that_cannot_be_started_is_told_and_tried_again(shop: Shop) -> None:
    await shop.deployed("1.0", replicas=1)
    shop.script("1.0", start_error="no such file: ./run")
    shop.driver_world.kill("shop-1-0")
    async with watched(shop):
        failed = "error: instance shop-1-0 could not be started: no such file: ./run"
        await until(lambda: shop.events().count(failed) >= 3, "it was tried thrice")
        shop.script("1.0")
        await until(lambda: shop.driver_world.running() == 1, "it runs again")
    assert shop.lab.assert_settled(replicas=1) == "1.0"


async def test_one_whose_release_cannot_be_brought_to_its_host_is_told_and_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise FilesError("host a: No space left on device")

    await shop.deployed("1.0", replicas=1)
    monkeypatch.setattr(shop.lab.world.fleet, "provide", full)
    shop.driver_world.kill("shop-1-0")
    async with watched(shop):
        failed = "error: instance shop-1-0 could not be started: host a: No space left on device"
        await until(lambda: shop.events().count(failed) >= 3, "it was tried thrice")
        monkeypatch.undo()
        await until(lambda: shop.driver_world.running() == 1, "it runs again")
    assert shop.lab.assert_settled(replicas=1) == "1.0"


async def test_a_port_taken_meanwhile_is_replaced_and_the_router_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0")
    before = shop.lab.store.instance("shop-1-0")
    assert before is not None
    monkeypatch.setattr(Ports, "is_free", lambda _, port: port != before.port)
    monkeypatch.setattr(
        Ports, "free", lambda _, taken: next(p for p in range(20000, 30000) if p not in taken and p != before.port)
    )
    shop.driver_world.kill("shop-1-0")
    async with watched(shop):
        await until(lambda: shop.driver_world.running() == 2, "both run again")
        await until(
            lambda: before.port not in {t.port for t in shop.router.served("shop")[-1]}, "the router has the new port"
        )
    after = shop.lab.store.instance("shop-1-0")
    assert after is not None
    assert after.port != before.port
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_warm_set_is_retired_at_its_time_and_no_sooner(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    switched = shop.clock.time
    async with watched(shop):
        await for_a_while(shop, 40)
        assert shop.driver_world.running("1.0") == 2
        await until(lambda: shop.driver_world.running("1.0") == 0, "the old set is gone")
        assert shop.clock.time - switched >= 60
        await until(lambda: len(shop.lab.store.instances("shop")) == 2, "its rows are gone")
    deployment = shop.lab.store.deployment("shop")
    assert deployment is not None
    assert deployment.routing is not None
    assert deployment.routing.candidate is None
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_a_warm_set_of_which_one_dies_is_retired_at_once(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", strategy="blue-green")
    async with watched(shop):
        await for_a_while(shop, 2)
        shop.driver_world.kill("shop-1-0")
        await until(lambda: len(shop.lab.store.instances("shop")) == 2, "the old set is gone")
    assert not restarts(shop)
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_an_instance_that_belongs_to_nobody_is_retired(shop: Shop) -> None:
    await shop.deployed("1.0")
    committed = shop.lab.store.instance("shop-1-0")
    assert committed is not None
    stray = replace(committed, id="shop-9-0", port=29999, launch_id="stray", handle=None, state=InstanceState.stopped)
    shop.lab.store.save_instance(stray)
    async with watched(shop):
        await until(lambda: shop.lab.store.instance("shop-9-0") is None, "the stray is gone")
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_process_that_no_row_knows_is_ended(shop: Shop) -> None:
    await shop.deployed("1.0")
    row = shop.lab.store.instance("shop-1-0")
    assert row is not None
    shop.lab.store.save_instance(replace(row, launch_id="another"))
    assert shop.driver_world.running() == 2
    await monitor_of(shop).sweep()
    assert shop.driver_world.running() == 1


async def test_what_is_held_for_a_person_is_left_alone(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="blue-green")
    shop.script("2.0", never_ready=True)
    held = await shop.deploy("2.0", strategy="blue-green", rollback_on_failure=False)
    assert held.status is RolloutStatus.held
    async with watched(shop):
        await for_a_while(shop, 300)
    assert shop.driver_world.running("2.0") == 2
    assert shop.serving() == "1.0"


async def test_what_a_held_rollout_has_stopped_is_not_started_beside_the_new_version(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="recreate")
    shop.script("2.0", never_ready=True)
    held = await shop.deploy("2.0", strategy="recreate", rollback_on_failure=False)
    assert held.status is RolloutStatus.held
    since = shop.clock.time
    async with watched(shop):
        await for_a_while(shop, 300)
    assert not shop.driver_world.ran_together(since)
    assert shop.driver_world.running("2.0") == 2
    await shop.rollback()
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_it_never_acts_while_a_rollout_is_open(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    shop.script("2.0", start_block="before")
    rollout = await shop.begin("2.0", strategy="rolling")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    starts = shop.driver_world.starts
    async with watched(shop):
        await for_a_while(shop, 2)
        shop.driver_world.kill("shop-1-1")
        await for_a_while(shop, 300)
        assert shop.driver_world.starts == starts
        assert not restarts(shop)
        shop.script("2.0")
        shop.driver_world.unblock("2.0")
        assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_what_died_during_a_rollout_that_was_undone_is_started_after_it(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    shop.script("2.0", start_block="before")
    rollout = await shop.begin("2.0", strategy="rolling")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    async with watched(shop):
        await for_a_while(shop, 2)
        shop.driver_world.kill("shop-1-1")
        await for_a_while(shop, 2)
        await shop.lab.service.abort("shop", rollout.id, terms=Terms("ana"))
        await until(lambda: shop.driver_world.running("1.0") == 2, "both run again")
        await until(lambda: shop.lab.service.status("shop").health == "healthy", "both are ready")
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_candidate_that_dies_while_it_is_watched_is_taken_back(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="canary")
    steps = (CanaryStep(50, "manual"), CanaryStep(100, "manual"))
    rollout = await shop.begin("2.0", strategy="canary", canary={"steps": steps})
    async with watched(shop):
        await until(lambda: shop.step_running("watch_canary_50"), "it is watched")
        await for_a_while(shop, 3)
        shop.driver_world.kill("shop-2-0")
        ended = await shop.outcome(rollout)
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert "instance shop-2-0 is not healthy any more" in ended.failure.message
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_one_that_stops_answering_makes_the_deployment_degraded_and_is_not_killed_for_it(shop: Shop) -> None:
    await shop.deployed("1.0")
    async with watched(shop):
        await for_a_while(shop, 10)
        assert shop.lab.service.status("shop").health == "healthy"
        found = shop.driver_world.find("shop-1-0")
        assert found is not None
        found.script = replace(found.script, never_ready=True)
        await until(lambda: shop.lab.service.status("shop").health == "degraded", "one is not ready")
        found.script = replace(found.script, never_ready=False)
        await until(lambda: shop.lab.service.status("shop").health == "healthy", "it is ready again")
    assert not restarts(shop)


async def test_events_beyond_what_is_kept_are_forgotten(shop: Shop) -> None:
    await shop.deployed("1.0")
    for number in range(80):
        shop.lab.store.add_event("shop", "info", str(number), source="test")
    async with watched(shop, keep_events=50):
        await until(lambda: len(shop.lab.store.events("shop", limit=1000)) == 50, "the old ones are gone")
    assert shop.events()[-1] == "info: 79"


async def test_a_round_that_fails_is_not_the_last(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.deployed("1.0")
    broken = [True]
    real = Inventory.refresh

    def refresh(self: Inventory) -> bool:
        if broken[0]:
            raise OSError("disk is away")
        return real(self)

    monkeypatch.setattr(Inventory, "refresh", refresh)
    async with watched(shop):
        await for_a_while(shop, 10)
        broken[0] = False
        shop.driver_world.kill("shop-1-0")
        await until(lambda: shop.driver_world.running() == 2, "both run again")


async def test_what_is_stopped_is_neither_started_nor_asked(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    starts = shop.driver_world.starts
    async with watched(shop):
        await for_a_while(shop, 120)
    assert (shop.driver_world.starts, shop.driver_world.running()) == (starts, 0)
    assert shop.lab.world.board.of("url:shop").ready is None
    assert shop.deployment().stopped
