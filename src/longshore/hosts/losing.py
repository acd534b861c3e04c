"""Waiting for something on a host, for as long as the host is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from longshore.hosts.base import Host, HostUnreachable

T = TypeVar("T")

#: seconds that a host may be out of reach before what is waited for on it is given up
PATIENCE_S = 10.0
#: … and may take to answer when it is asked whether it is there
ANSWER_S = 5.0


async def expect_there(host: Host) -> None:
    """Ask it for an answer, now. Raises HostUnreachable where there is none within ANSWER_S."""
    try:
        async with asyncio.timeout(ANSWER_S):
            await host.run(":")
    except TimeoutError:
        message = f"Host {host.name} does not answer within {ANSWER_S:g} s."
        raise HostUnreachable(host.name, message, passing=True) from None


async def unless_lost(host: Host, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work. Raises HostUnreachable, the work cancelled, once the host has been out of reach for
    PATIENCE_S."""
    task = asyncio.ensure_future(work)
    lost = asyncio.ensure_future(_lost(host))
    try:
        await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise HostUnreachable(host.name, f"Host {host.name} has been out of reach for {PATIENCE_S:g} s.")
    finally:
        for each in (task, lost):
            each.cancel()
        await asyncio.wait({task, lost})
        if not task.cancelled():
            task.exception()  # retrieved, whatever is raised instead


async def _lost(host: Host) -> None:
    """Returns once it has been out of reach for PATIENCE_S."""
    changed = asyncio.Event()
    stop = host.watch(lambda _: changed.set())
    try:
        while True:
            changed.clear()
            if host.reachable is not False:
                await changed.wait()
                continue
            gone_s = time.monotonic() - host.lost_at if host.lost_at is not None else 0.0
            try:
                async with asyncio.timeout(PATIENCE_S - gone_s):
                    await changed.wait()
            except TimeoutError:
                return
    finally:
        stop()
