"""The list of endpoints: what is routed, as addresses; and waiting for it to change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.errors import DeploymentNotFound
from longshore.rollout import revisions
from longshore.rollout.reports import EndpointList
from longshore.rollout.terms import Terms
from support.engine import PORT
from support.shop import Shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    yield shop
    await shop.close()


async def listed(shop: Shop) -> EndpointList:
    return await shop.lab.service.endpoints("shop")


async def test_what_serves_is_listed_with_its_address_and_share(shop: Shop) -> None:
    await shop.deployed("1.0")
    found = await listed(shop)
    assert (found.port, found.serves, found.router, found.environment) == (PORT, True, "mock", "default")
    (pool,) = found.pools
    assert (pool.pool, pool.version, pool.weight, pool.health_path) == ("stable", "1.0", 100, "/health")
    instances = shop.lab.store.instances("shop")
    assert [(t.instance, t.version, t.host, t.address, t.port, t.ready) for t in pool.targets] == [
        (i.id, "1.0", "", "127.0.0.1", i.port, True) for i in instances
    ]


async def test_a_warm_set_is_listed_with_no_share(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.deployed("2.0", strategy="blue-green")
    assert [(p.pool, p.version, p.weight) for p in (await listed(shop)).pools] == [
        ("stable", "2.0", 100),
        ("candidate", "1.0", 0),
    ]


async def test_what_is_not_ready_is_listed_as_such(shop: Shop) -> None:
    await shop.deployed("1.0")
    before = await listed(shop)
    instance = before.pools[0].targets[0].instance
    shop.lab.world.board.mark(instance, "shop", ready=False, message="ill")
    after = await listed(shop)
    assert [t.ready for t in after.pools[0].targets] == [False, True]
    assert after.revision != before.revision


async def test_nobody_serves_once_it_is_stopped(shop: Shop) -> None:
    await shop.deployed("1.0")
    await shop.do("stop")
    found = await listed(shop)
    assert (found.serves, [len(pool.targets) for pool in found.pools]) == (False, [0])


async def test_what_has_no_port_has_no_endpoints(shop: Shop) -> None:
    await shop.deployed("1.0", health_check_url=None)
    found = await listed(shop)
    assert (found.port, found.serves, found.pools) == (None, False, ())


async def test_the_revision_stays_while_nothing_else_changes_and_after_a_restart_of_the_manager(shop: Shop) -> None:
    await shop.deployed("1.0")
    before = await listed(shop)
    shop.lab.store.add_event("shop", "info", "something else", source="test")
    assert (await listed(shop)).revision == before.revision
    await shop.restart()
    for target in before.pools[0].targets:
        shop.lab.world.board.mark(target.instance, "shop", ready=True, message="")
    assert (await listed(shop)).revision == before.revision


async def test_who_waits_is_answered_with_the_change(shop: Shop) -> None:
    await shop.deployed("1.0")
    before = await listed(shop)
    waiting = asyncio.ensure_future(shop.lab.service.endpoints("shop", before.revision))
    shop.lab.store.add_event("shop", "info", "something else", source="test")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    await shop.deployed("2.0")
    found = await asyncio.wait_for(waiting, 5)
    assert found.revision != before.revision


async def test_who_is_behind_is_answered_at_once(shop: Shop) -> None:
    await shop.deployed("1.0")
    found = await asyncio.wait_for(shop.lab.service.endpoints("shop", "0" * 16), 1)
    assert found == await listed(shop)


async def test_waiting_has_a_bound(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.deployed("1.0")
    before = await listed(shop)
    monkeypatch.setattr(revisions, "WAIT_S", 0.02)
    assert await shop.lab.service.endpoints("shop", before.revision) == before


async def test_who_waits_for_what_is_deleted_is_told(shop: Shop) -> None:
    await shop.deployed("1.0")
    before = await listed(shop)
    waiting = asyncio.ensure_future(shop.lab.service.endpoints("shop", before.revision))
    await asyncio.sleep(0)
    await shop.lab.service.delete("shop", keep_files=False, terms=Terms("ana"))
    with pytest.raises(DeploymentNotFound):
        await asyncio.wait_for(_to_the_end(shop, waiting), 5)


async def _to_the_end(shop: Shop, waiting: asyncio.Future[EndpointList]) -> None:
    """Traffic is taken away first, which is a change of its own."""
    while True:
        waiting = asyncio.ensure_future(shop.lab.service.endpoints("shop", (await waiting).revision))


async def test_nobody_is_left_waiting_when_the_wait_ends(shop: Shop) -> None:
    waiting = asyncio.ensure_future(shop.lab.store.moved("shop", shop.lab.store.stamp("shop")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert not shop.lab.store._waiting
