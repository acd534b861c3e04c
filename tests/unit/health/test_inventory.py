"""What the monitor takes to be there: as the store says, also after the store could not be read."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from longshore.health.inventory import Inventory
from longshore.store import Store
from support.shop import Shop


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.deployed("1.0")
    yield shop
    await shop.close()


async def test_it_is_read_anew_only_when_something_has_changed(shop: Shop) -> None:
    inventory = Inventory(shop.lab.store)
    assert inventory.refresh()
    assert not inventory.refresh()
    shop.lab.store.touch("shop")
    assert inventory.refresh()


@pytest.mark.parametrize("unreadable", ["deployments", "instances"])
async def test_what_could_not_be_read_is_read_the_next_time(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, unreadable: str
) -> None:
    def fail(_: Store) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    inventory = Inventory(shop.lab.store)
    with monkeypatch.context() as broken:
        broken.setattr(Store, unreadable, fail)
        with pytest.raises(sqlite3.OperationalError):
            inventory.refresh()
    assert inventory.refresh()
    assert [deployment.name for deployment in inventory.deployments] == ["shop"]
    assert inventory.ids() == {"shop-1-0", "shop-1-1"}
