"""Waiting for something on a host, for as long as the host is there."""

from __future__ import annotations

import asyncio
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
    await host.run(":", timeout_s=ANSWER_S)


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
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await changed.wait()
            except TimeoutError:
                return
    finally:
        stop()
