"""What is written down when a rollout goes on: with it, or not at all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from longshore.errors import NotFound
from longshore.model import DeliveryState
from longshore.rollout.terms import Terms
from longshore.store import Store
from longshore.webhooks.desk import Desk
from longshore.webhooks.outbox import Outbox
from longshore.webhooks.receiver import Webhook
from support.engine import Clock
from support.makers import make_rollout
from support.shop import Shop, until

ALL = Webhook(name="all", url="http://127.0.0.1:9/x", events=("*",))
USUAL = Webhook(name="usual", url="http://127.0.0.1:9/y", environments=("default",))
ELSEWHERE = Webhook(name="elsewhere", url="http://127.0.0.1:9/z", environments=("production",))


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    lab = shop.lab
    lab.world.tell = Outbox(lab.store, shop.clock, (ALL, USUAL, ELSEWHERE)).tell
    await shop.deployed("1.0")
    yield shop
    await shop.close()


def told(shop: Shop, webhook: str = "all") -> list[str]:
    found, _ = shop.lab.store.deliveries(webhook, state=None, limit=100, offset=0)
    return [delivery.event.removeprefix("rollout.") for delivery in reversed(found)]


async def test_the_beginning_and_the_end_are_told_to_who_asked_for_them(shop: Shop) -> None:
    assert told(shop) == told(shop, "usual") == ["started", "succeeded"]
    assert told(shop, "elsewhere") == []


async def test_a_failure_and_a_rollback_are_told(shop: Shop) -> None:
    shop.script("2.0", never_ready=True)
    await shop.deploy("2.0")
    assert told(shop)[2:] == ["started", "failed"]
    await shop.deployed("3.0")
    await shop.rollback("1.0")
    assert told(shop)[6:] == ["started", "rolled_back"]


async def test_a_pause_and_its_end_are_told_to_who_asked_for_everything(shop: Shop) -> None:
    shop.script("2.0", start_block="before")
    service = shop.lab.service
    rollout = await service.deploy(shop.request("2.0"), terms=Terms("ana"))
    await until(lambda: shop.driver_world.blocked("2.0") == 2, "it is about to start")
    await service.pause("shop", rollout.id, terms=Terms("ana"))
    shop.driver_world.unblock("2.0")
    await until(lambda: "paused" in told(shop), "it is paused")
    await service.resume("shop", rollout.id, terms=Terms("ana"))
    await shop.outcome(rollout)
    assert told(shop)[2:] == ["started", "paused", "resumed", "succeeded"]
    assert told(shop, "usual")[2:] == ["started", "succeeded"]


async def test_what_waits_and_what_is_cancelled_is_told(shop: Shop) -> None:
    shop.script("2.0", start_block="before")
    service = shop.lab.service
    rollout = await service.deploy(shop.request("2.0"), terms=Terms("ana"))
    waiting = await service.deploy(shop.request("3.0"), terms=Terms("ben", on_conflict="queue"))
    await service.abort("shop", waiting.id, terms=Terms("ben"))
    await until(lambda: shop.driver_world.blocked("2.0") == 2, "it is about to start")
    shop.driver_world.unblock("2.0")
    await shop.outcome(rollout)
    assert told(shop)[2:] == ["started", "waiting", "cancelled", "succeeded"]


Stored = tuple[Store, Outbox, list[str]]


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    """A store, an outbox of it for two, and the names that it woke."""
    store = Store(tmp_path / "longshore.db", Clock())
    store.take_over()
    outbox, woken = Outbox(store, Clock(), (ALL, USUAL)), list[str]()
    outbox.wake = woken.append
    yield store, outbox, woken
    store.close()


def test_what_is_rolled_back_with_the_status_is_told_to_nobody(stored: Stored) -> None:
    store, outbox, woken = stored

    def broken_off() -> None:
        with store.transaction():
            outbox.tell(make_rollout(), None)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert (store.deliveries("all", state=None, limit=9, offset=0), woken) == (([], 0), [])
    with store.transaction():
        outbox.tell(make_rollout(), None)
        assert woken == []
    assert woken == ["all", "usual"]


def test_what_was_told_can_be_looked_at_and_sent_again(stored: Stored) -> None:
    store, outbox, woken = stored
    desk = Desk(store, outbox._clock, outbox, (ALL, USUAL))
    outbox.tell(make_rollout(), None)
    (delivery,), total = desk.deliveries("all", state=None, limit=9, offset=0)
    store.give_up_deliveries((), "gone")
    assert (total, [(r.webhook.name, r.pending, r.dead) for r in desk.list()]) == (1, [("all", 0, 1), ("usual", 0, 1)])
    assert desk.deliveries("all", state=DeliveryState.dead, limit=9, offset=0)[1] == 1
    woken.clear()
    again = desk.redeliver("all", delivery.id)
    assert (again.state, again.attempts, again.body, woken) == ("pending", 0, delivery.body, ["all"])
    assert desk.delivery("all", delivery.id) == again


def test_what_is_not_known_is_not_found(stored: Stored) -> None:
    store, outbox, _ = stored
    desk = Desk(store, outbox._clock, outbox, (ALL, USUAL))
    outbox.tell(make_rollout(), None)
    (delivery,), _ = desk.deliveries("all", state=None, limit=9, offset=0)
    with pytest.raises(NotFound, match="There is no webhook 'nope': known are all, usual"):
        desk.test("nope", "ana")
    with pytest.raises(NotFound, match="usual has no delivery"):
        desk.redeliver("usual", delivery.id)
    with pytest.raises(NotFound, match="the configuration has none"):
        Desk(store, outbox._clock, outbox, ()).deliveries("all", state=None, limit=9, offset=0)


def test_only_the_newest_that_are_over_are_kept(stored: Stored) -> None:
    store, outbox, _ = stored
    for number in range(5):
        outbox.tell(make_rollout(f"r{number}"), None)
    store.give_up_deliveries(("usual",), "gone")
    store.trim_deliveries(2)
    kept, _ = store.deliveries("all", state=None, limit=9, offset=0)
    assert [json.loads(delivery.body)["data"]["rollout_id"] for delivery in kept] == ["r4", "r3"]
    assert store.count_deliveries() == {("all", "dead"): 2, ("usual", "pending"): 5}
