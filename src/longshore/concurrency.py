"""Doing several things at once, so that nothing goes on behind the back of who asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def all_of(*work: Awaitable[T]) -> list[T]:
    """The results of all of it, in order. Raises what the first that failed raised, but only once all have ended.

    asyncio.gather() would raise at once and leave the others running: an undo would then act on instances that are
    still being started or stopped.
    """
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    results: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results


async def to_its_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run it in a thread. Cancelled, it waits until the thread has ended before CancelledError goes on.

    For what changes the disk: nothing stops a thread, and one that nobody waits for changes what is being undone.
    """
    thread = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        while not thread.done():
            try:
                await asyncio.wait({thread})
            except asyncio.CancelledError:
                continue
        if not thread.cancelled():
            thread.exception()  # retrieved: how it ended is of no interest any more
        raise


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run it meanwhile; at the end of the block it is cancelled, and has ended. How it ends is its own affair."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
