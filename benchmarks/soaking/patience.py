"""How the soak's users wait: for a manager that is just being started again, and for a rollout to come somewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from longshore.client import ConnectionLost, InternalError, ManagerUnreachable
from longshore.client.results import Rollout
from soaking.roles import App
from soaking.stand import Stand

T = TypeVar("T")

#: nothing that is done here takes that long, recoveries included
BOUND_S = 120.0
PAUSE_S = 0.1


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The call, again and again while no manager answers, or it says that it is stopping. For what may be asked for
    twice; raises what it ends in."""
    deadline = time.monotonic() + BOUND_S
    while True:
        try:
            return await call()
        except (ConnectionLost, ManagerUnreachable, InternalError) as error:
            if isinstance(error, InternalError) and not error.message.startswith("The manager is stopping"):
                raise
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(PAUSE_S)


async def until_status(stand: Stand, app: App, rollout: str, statuses: Collection[str]) -> Rollout:
    """The rollout, once it has one of these statuses or is over. Raises TimeoutError."""
    deadline = time.monotonic() + BOUND_S
    while True:
        now = await patiently(lambda: stand.client.rollout(app.name, rollout))
        if now.is_over or now.status in statuses:
            return now
        if time.monotonic() > deadline:
            raise TimeoutError(f"rollout {rollout} of {app.name} is {now.status} after {BOUND_S:g} s")
        await asyncio.sleep(PAUSE_S)
