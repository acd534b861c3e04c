"""What is tidied up every half minute: nothing grows without end, and no trouble keeps the rest from being done."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from longshore.drivers.base import DriverError
from longshore.drivers.mock import MockDriver
from longshore.health import tidying
from longshore.health.tidying import Tidying
from longshore.model import Rollout, RolloutStatus
from longshore.rollout.log_files import forget_logs
from longshore.rollout.terms import Once, Terms
from support.shop import Shop, until


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    await shop.close()


def tidying_of(shop: Shop) -> Tidying:
    return Tidying(shop.lab.world, lambda environment: shop.lab.driver, 1000, local=shop.lab.driver)


def numbers(shop: Shop) -> list[int]:
    return [r.number for r in shop.lab.store.rollouts("shop", limit=100, offset=0)[0]]


async def test_old_rollouts_are_forgotten_with_all_they_wrote(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "ROLLOUTS_KEPT", 2)
    await shop.deployed("1.0", "2.0", "3.0", "4.0")
    gone = [r.id for r in shop.lab.store.rollouts("shop", limit=100, offset=0)[0] if r.number < 3]
    await tidying_of(shop).run()
    assert numbers(shop) == [4, 3]
    for id in gone:
        assert shop.lab.store.journal(id) == []
        assert shop.lab.store.progress(id) == []
    await shop.deployed("5.0")
    assert shop.last().number == 5


async def test_what_is_yet_to_be_undone_or_stands_for_a_key_is_not_forgotten(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "ROLLOUTS_KEPT", 1)
    once = Once("ana", "k")
    assert shop.lab.service.idempotency_begin(once, "body") is None
    await shop.outcome(await shop.lab.service.deploy(shop.request("1.0"), terms=Terms("ana", once)))
    await shop.deployed("2.0")
    shop.script("3.0", never_ready=True)
    assert (await shop.deploy("3.0", rollback_on_failure=False)).status is RolloutStatus.held
    await tidying_of(shop).run()
    assert numbers(shop) == [3, 1]


async def test_a_long_history_is_forgotten_bit_by_bit(shop: Shop) -> None:
    await shop.deployed("1.0", "2.0", "3.0", "4.0")
    shop.lab.store.trim_rollouts("shop", 1, at_once=2)
    assert numbers(shop) == [4, 3]


def test_logs_of_old_rollouts_are_deleted_but_for_those_of_what_still_runs(tmp_path: Path) -> None:
    old = ["shop-1-0.log", "shop-2-10.log", "shop-2-10.log.1", "rollout-2-pre_deploy.log"]
    kept = ["shop-1-1.log", "shop-1-1.log.3", "shop-3-0.log", "rollout-3-post_deploy.log", "notes-1-1.txt"]
    for name in old + kept:
        (tmp_path / name).touch()
    forget_logs(tmp_path, 2, {"shop-1-1"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    forget_logs(tmp_path / "none", 2, set())


async def test_a_process_that_cannot_be_ended_keeps_no_manager_from_starting(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0")
    row = shop.lab.store.instance("shop-1-0")
    assert row is not None
    shop.lab.store.save_instance(replace(row, launch_id="another"))

    async def stop(self: MockDriver, *_: Any) -> Any:
        raise DriverError("it runs as another user")

    monkeypatch.setattr(MockDriver, "stop", stop)
    await tidying_of(shop).sweep()


async def test_processes_are_ended_where_the_database_that_was_restored_has_no_deployment_at_all(shop: Shop) -> None:
    await shop.deployed("1.0")
    shop.lab.store.delete_deployment("shop")
    assert (shop.lab.store.instances(), shop.driver_world.running()) == ([], 2)
    await tidying_of(shop).sweep()
    assert shop.driver_world.running() == 0


async def test_a_process_that_belongs_to_nothing_is_ended_while_a_rollout_is_paused(shop: Shop) -> None:
    await shop.deployed("1.0")
    shop.script("2.0", start_block="after")
    rollout = await shop.begin("2.0", strategy="blue-green")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    row = shop.lab.store.instance("shop-1-0")
    assert row is not None
    shop.lab.store.save_instance(replace(row, launch_id="another"))
    await tidying_of(shop).run()
    assert shop.driver_world.running("1.0") == 1
    assert shop.driver_world.running("2.0") > 0
    shop.driver_world.unblock("2.0")
    await shop.outcome(rollout)


async def test_what_a_rollout_starts_while_processes_are_looked_for_is_left_alone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0")
    real = MockDriver.survey
    shop.script("2.0", start_block="after")

    async def survey(self: MockDriver) -> Any:
        rollout.append(await shop.begin("2.0", strategy="blue-green"))
        await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
        return await real(self)

    rollout: list[Rollout] = []  # the one that began meanwhile
    with monkeypatch.context() as patched:
        patched.setattr(MockDriver, "survey", survey)
        await tidying_of(shop).sweep()
    assert shop.driver_world.running("2.0") > 0
    shop.driver_world.unblock("2.0")
    assert (await shop.outcome(rollout[0])).status is RolloutStatus.succeeded


async def test_a_unit_of_the_users_own_is_left_alone_while_its_deployment_is_at_work(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Any] = []

    async def survey(self: MockDriver) -> Any:
        return {"former": {"kind": "existing", "deployment": "shop"}}

    async def stop(self: MockDriver, handle: Any, grace_s: float) -> None:
        stopped.append(handle["deployment"])

    monkeypatch.setattr(MockDriver, "survey", survey)
    monkeypatch.setattr(MockDriver, "stop", stop)
    async with shop.lab.world.lock("shop"):
        await tidying_of(shop).sweep()
        assert stopped == []
    await tidying_of(shop).sweep()
    assert stopped == ["shop"]


async def test_a_log_that_cannot_be_rotated_keeps_nothing_else_from_being_tidied(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rotate(log: Path) -> bool:
        raise OSError("the disk is full")

    monkeypatch.setattr(tidying, "rotate", rotate)
    monkeypatch.setattr(tidying, "ROLLOUTS_KEPT", 1)
    await shop.deployed("1.0", "2.0")
    await tidying_of(shop).run()
    assert numbers(shop) == [2]
