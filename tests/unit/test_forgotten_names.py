"""What a manager keeps by a deployment's name goes with the deployment: names may come and go for years."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from longshore.drivers.base import DriverError
from longshore.health.errands import Errands
from longshore.health.inventory import Inventory
from longshore.model import Spec
from longshore.rollout.terms import Terms
from longshore.routers.base import Traffic
from longshore.routers.none import NoneRouter
from support.shop import Shop


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.deployed("1.0")
    yield shop
    await shop.close()


def alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(each, kind) for each in gc.get_objects())


async def test_a_lock_lasts_as_long_as_somebody_holds_it_and_is_the_same_for_all(shop: Shop) -> None:
    world, before = shop.lab.world, alive(asyncio.Lock)
    async with world.lock("other"):
        assert world.lock("other").locked()
    for number in range(100):
        async with world.lock(f"guest-{number}"):
            pass
    assert alive(asyncio.Lock) == before


async def test_the_inventory_forgets_what_a_deleted_deployment_ran_by(shop: Shop) -> None:
    inventory = Inventory(shop.lab.store)
    inventory.refresh()
    assert all(inventory.committed(deployment) for deployment in inventory.deployments)
    before = alive(Spec)
    await shop.lab.service.delete("shop", keep_files=False, terms=Terms("test"))
    inventory.refresh()
    assert alive(Spec) < before


async def test_the_store_forgets_a_deleted_deployment_and_whoever_looked_at_it_before_looks_anew(shop: Shop) -> None:
    store = shop.lab.store
    stamp, untouched = store.stamp("shop"), store.stamp("other")
    await shop.lab.service.delete("shop", keep_files=False, terms=Terms("test"))
    assert not store._stamps
    assert store.stamp("shop") not in (stamp, untouched)
    deleted = store.stamp("shop")
    await shop.deployed("1.0")
    assert store.stamp("shop") not in (stamp, untouched, deleted)


async def test_what_could_not_be_mended_is_remembered_until_it_is_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails() -> None:
        raise DriverError("no")

    monkeypatch.setattr("longshore.health.errands.RETRY_S", 0.0)
    errands = Errands(shop.lab.world, lambda: None)
    for number in range(10):
        await errands.start(f"guest-{number}", fails())
    assert list(errands._later) == ["guest-9"]


async def test_a_router_without_a_proxy_forgets_when_it_told_of_a_deployment_that_is_gone() -> None:
    router = NoneRouter()
    for number in range(10):
        await router.apply(f"guest-{number}", Traffic(port=8000, stable=None))
        await router.remove(f"guest-{number}", 0.0)
    assert list(router._told) == ["guest-9"]
