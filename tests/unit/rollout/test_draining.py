"""Waiting for requests to end, where the connections are known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longshore.hosts.base import Here, HostUnreachable
from longshore.rollout.draining import Drained, drained
from longshore.routers.base import Target
from support.shop import Shop


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    await shop.deployed("1.0")
    yield shop
    await shop.close()


def ids(shop: Shop) -> tuple[str, ...]:
    return shop.deployment().instances


async def drain(shop: Shop, bound_s: float = 30.0) -> Drained:
    return await drained(shop.lab.world, "shop", "default", ids(shop), bound_s)


def own_balancer(shop: Shop) -> None:
    shop.router.capabilities = lambda: frozenset({"weights"})  # type: ignore[method-assign]


def far_away(shop: Shop, id: str) -> None:
    """That instance runs on another host."""
    instance = shop.lab.store.instance(id)
    assert instance is not None
    shop.lab.store.delete_instance(instance)  # an instance never moves
    shop.lab.store.save_instance(replace(instance, host="far"))
    places = {"": Here(), "far": Here("far", "10.0.0.5")}
    shop.lab.world.fleet._hosts_of = lambda environment: places


async def test_connections_to_this_machine_are_the_routers_to_count(shop: Shop) -> None:
    shop.driver_world.connections = dict.fromkeys(ids(shop), 3)
    assert (await drain(shop)).left == frozenset()


async def test_who_is_busy_by_the_routers_count_is_left(shop: Shop) -> None:
    port = shop.lab.store.instance(ids(shop)[0]).port  # type: ignore[union-attr]
    shop.router.busy = {Target("127.0.0.1", port or 0)}
    assert await drain(shop) == Drained(2, frozenset({ids(shop)[0]}))


async def test_connections_of_a_balancer_of_the_users_own_are_the_drivers_to_count(shop: Shop) -> None:
    own_balancer(shop)
    shop.driver_world.connections = {ids(shop)[1]: 3}
    began = shop.clock.monotonic()
    assert await drain(shop, 12.0) == Drained(2, frozenset({ids(shop)[1]}))
    assert shop.clock.monotonic() - began >= 12.0


async def test_connections_that_end_end_the_waiting(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    own_balancer(shop)
    shop.driver_world.connections = {ids(shop)[1]: 3}
    began, sleep = shop.clock.monotonic(), shop.clock.sleep

    async def ends(seconds: float) -> None:
        await sleep(seconds)
        if shop.clock.monotonic() >= began + 3:
            shop.driver_world.connections = {}

    monkeypatch.setattr(shop.clock, "sleep", ends)
    assert (await drain(shop)).left == frozenset()
    assert 3.0 <= shop.clock.monotonic() - began < 5.0


async def test_an_instance_on_another_host_is_asked_for_there(shop: Shop) -> None:
    far_away(shop, ids(shop)[1])
    shop.driver_world.connections = dict.fromkeys(ids(shop), 3)
    assert (await drain(shop, 1.0)).left == {ids(shop)[1]}


async def test_a_host_that_cannot_be_asked_counts_as_drained_and_is_told_of(shop: Shop) -> None:
    far_away(shop, ids(shop)[1])
    shop.driver_world.connections = {ids(shop)[1]: HostUnreachable("far", "far does not answer")}
    found = await drain(shop)
    assert found.left == frozenset()
    assert found.warnings == (
        f"{ids(shop)[1]} is taken to have no connections left, as nobody can tell: far does not answer",
    )


async def test_what_a_driver_cannot_tell_counts_as_drained(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody_knows(*_: Any) -> None:
        return None

    own_balancer(shop)
    monkeypatch.setattr(type(shop.lab.world.driver_of("default")._inner), "connections", nobody_knows)  # type: ignore[attr-defined]
    assert await drain(shop) == Drained(2)


async def test_what_drains_is_probed_no_more(shop: Shop) -> None:
    await drain(shop)
    assert shop.lab.world.board.muted >= set(ids(shop))


async def test_instances_without_an_address_have_nothing_to_drain(shop: Shop) -> None:
    assert await drained(shop.lab.world, "shop", "default", ("gone-1-0",), 30.0) == Drained()


async def test_a_rollout_says_whom_it_could_not_ask(shop: Shop) -> None:
    own_balancer(shop)
    shop.driver_world.connections = {ids(shop)[0]: HostUnreachable("far", "far does not answer")}
    await shop.deployed("2.0", strategy="blue-green", blue_green={"keep_old": 0.0})
    said = [message.message for message in shop.lab.store.progress(shop.last().id, 0)]
    assert [text for text in said if "far does not answer" in text], said
