"""What a manager keeps by a deployment's name goes with the deployment: names may come and go for years."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from longshore.health.inventory import Inventory
from longshore.model import Spec
from longshore.rollout.terms import Terms
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
