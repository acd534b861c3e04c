"""Reading artifacts in a thread that can be told to stop: nothing else ends a thread, and its process waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from longshore.artifacts.base import Limits

T = TypeVar("T")


async def in_thread(work: Callable[[Limits], T], limits: Limits) -> T:
    """`work(limits)` in a thread, where `work` scans or unpacks with the limits it is given.

    Cancelled, it tells the thread to stop (Limits.stop) and waits for that before CancelledError goes on: whoever then
    removes what was unpacked is alone with it.
    """
    told = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(work, replace(limits, stop=told.is_set)))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        told.set()
        await asyncio.wait({thread})
        if not thread.cancelled():
            thread.exception()  # retrieved: how it ended is of no interest any more
        raise
