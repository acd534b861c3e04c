"""Simulated time: nothing waits, and nothing is left to chance.

When all tasks wait, time goes to the next one that wakes, and where none ever would, the simulation says so instead of
hanging. Threads are run on the spot.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

#: turns of the event loop in which no time passes: what is woken by what has been, some dozens deep at most
TURNS = 10_000


class Clock:
    """Simulated seconds; `sleep` returns when the simulation gets there."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        #: what the wall clock is ahead of it: it may be set, a monotonic one may not
        self.ahead = 0.0
        #: called whenever time has passed
        self.passed: Callable[[], None] = lambda: None
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self.time + self.ahead

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        waker = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + max(0.0, seconds), next(self._numbers), waker))
        await waker

    def advance(self) -> None:
        """To the next sleeper that is still asleep."""
        while self._sleepers:
            when, _, waker = heapq.heappop(self._sleepers)
            if not waker.done():
                if when > self.time:
                    self.time = when
                    self.passed()
                waker.set_result(None)
                return
        raise AssertionError("everything waits, and nothing will ever wake it")


class _Idle(selectors.DefaultSelector):
    """Asked to wait, it lets simulated time pass instead."""

    clock: Clock
    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        self.turns += 1
        if not found and timeout != 0:
            self.clock.advance()
            self.turns = 0
        assert self.turns < TURNS, "tasks wake each other on and on, and no time passes"
        return found


class _OnTheSpot(ThreadPoolExecutor):
    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


def simulation(clock: Clock) -> asyncio.AbstractEventLoop:
    """An event loop that lives in the time of `clock`."""
    idle = _Idle()
    idle.clock = clock
    loop = asyncio.SelectorEventLoop(idle)
    loop.set_default_executor(_OnTheSpot(max_workers=1))
    loop.set_exception_handler(lambda *_: None)  # tasks of the killed, which nobody asks how they ended
    return loop
