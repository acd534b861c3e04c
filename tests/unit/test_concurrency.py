"""What is done at once ends at once: nothing goes on behind the back of who asked for it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from longshore.concurrency import all_of, to_its_end


async def test_a_failure_is_raised_only_when_everything_else_has_ended() -> None:
    ended: list[str] = []

    async def slow() -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        ended.append("slow")

    async def bad() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await all_of(bad(), slow())
    assert ended == ["slow"]


async def test_results_come_in_the_order_of_what_was_asked() -> None:
    async def each(number: int) -> int:
        for _ in range(5 - number):
            await asyncio.sleep(0)
        return number

    assert await all_of(each(1), each(2), each(3)) == [1, 2, 3]


async def test_a_cancelled_thread_is_waited_for() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        assert go_on.wait(20)
        done.append(True)

    task = asyncio.create_task(to_its_end(work))
    assert await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_what_a_thread_raises_is_raised() -> None:
    def work(number: int) -> None:
        raise OSError(number, "no")

    with pytest.raises(OSError, match="no"):
        await to_its_end(work, 5)
