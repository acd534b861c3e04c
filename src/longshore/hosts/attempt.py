"""Repeating what may be repeated, for as long as a lost connection may take to come back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from longshore.hosts.base import Host, HostUnreachable

T = TypeVar("T")

#: seconds that a connection may be gone before whoever works on the host is told
BOUND_S = 10.0


async def attempt(host: Host, work: Callable[[], Awaitable[T]], bound_s: float = BOUND_S) -> T:
    """What `work` returns, which is begun again after a connection was lost in it.

    work      does the same however often it is done, and asks rather than guesses what is done already
    bound_s   seconds, counted from the loss, until it is no longer begun; that of a host which is lost already was then
    Raises HostUnreachable: the last one; at once where waiting does not help (a key that is refused).
    """
    deadline: float | None = None
    if host.lost_at is not None:
        deadline = host.lost_at + bound_s
        gone_s = time.monotonic() - host.lost_at
        message = f"host {host.name} has been out of reach for {gone_s:.0f} s"
        await _back(host, deadline, HostUnreachable(host.name, message, passing=True))
    while True:
        try:
            return await work()
        except HostUnreachable as error:
            if not error.passing:
                raise
            lost = error
        except (ConnectionError, EOFError) as error:
            # Told by a socket in between, before the connection itself is known to be lost.
            message = f"the connection to host {host.name} was lost: {error or type(error).__name__}"
            lost = HostUnreachable(host.name, message, passing=True)
        deadline = deadline or (host.lost_at or time.monotonic()) + bound_s
        await _back(host, deadline, lost)


async def _back(host: Host, deadline: float, error: HostUnreachable) -> None:
    """Wait until it is connected again. Raises the last HostUnreachable when it is not in time."""
    while (left := deadline - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(left):
                await host.connect()
            return
        except HostUnreachable as again:
            if not again.passing:
                raise
            error = again
        except TimeoutError:
            break
    raise error
