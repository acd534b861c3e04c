"""Who hears what, and what a slow one misses."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from longshore.bus import QUEUE_LENGTH, Bus
from longshore.model import Progress

MESSAGE = Progress("r1", "shop", 1, "commit", "running", "", 50, 1000.0)


async def drained(bus: Bus, count: int) -> list[int]:
    """What a watcher gets that was asleep while so many messages were published."""
    watcher = bus.subscribe("shop", [])
    for seq in range(1, count + 1):
        bus.publish(replace(MESSAGE, seq=seq, last=seq == count))
    got = [await watcher.get()]
    while not got[-1].last:
        got.append(await watcher.get())
    return [message.seq for message in got]


async def test_history_is_handed_over_and_then_what_happens() -> None:
    bus = Bus()
    watcher = bus.subscribe("shop", [MESSAGE])
    bus.publish(replace(MESSAGE, seq=2))
    assert [m.seq for m in watcher.history] == [1]
    assert (await watcher.get()).seq == 2


async def test_one_that_waits_is_woken() -> None:
    bus = Bus()
    watcher = bus.subscribe("shop", [])
    waiting = asyncio.ensure_future(watcher.get())
    await asyncio.sleep(0)
    bus.publish(MESSAGE)
    assert await asyncio.wait_for(waiting, 5) == MESSAGE


async def test_a_watcher_hears_its_own_deployment_and_the_one_of_all_hears_every_one() -> None:
    bus = Bus()
    shop, every = bus.subscribe("shop", []), bus.subscribe("", [])
    bus.publish(replace(MESSAGE, deployment="api", seq=1))
    bus.publish(replace(MESSAGE, deployment="shop", seq=2))
    assert (await shop.get()).seq == 2
    assert [(await every.get()).seq, (await every.get()).seq] == [1, 2]


@pytest.mark.parametrize("count", [1, QUEUE_LENGTH - 1, QUEUE_LENGTH])
async def test_nothing_is_lost_up_to_the_length_of_the_queue(count: int) -> None:
    assert await drained(Bus(), count) == list(range(1, count + 1))


@pytest.mark.parametrize("beyond", [1, 100, 10_000])
async def test_a_slow_watcher_misses_what_lies_before_the_newest_and_never_the_last(beyond: int) -> None:
    got = await drained(Bus(), QUEUE_LENGTH + beyond)
    assert got == list(range(beyond + 1, QUEUE_LENGTH + beyond + 1))


async def test_who_has_left_hears_nothing_and_leaving_twice_is_no_error() -> None:
    bus = Bus()
    leaving, staying = bus.subscribe("shop", []), bus.subscribe("shop", [])
    leaving.close()
    leaving.close()
    bus.publish(MESSAGE)
    assert await staying.get() == MESSAGE
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(leaving.get(), 0.01)


async def test_a_watcher_may_leave_while_others_are_told() -> None:
    bus = Bus()
    watchers = [bus.subscribe("shop", []) for _ in range(3)]
    bus.publish(MESSAGE)
    for watcher in watchers:
        watcher.close()
    bus.publish(MESSAGE)
    assert [await watcher.get() for watcher in watchers] == [MESSAGE] * 3
