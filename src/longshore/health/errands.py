"""What the monitor does beside its loop, as tasks whose failures are told and put off, never lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from longshore.drivers.base import DriverError
from longshore.errors import LeaseLost
from longshore.rollout.world import World
from longshore.routers.base import RouterError

log = logging.getLogger("longshore.monitor")

#: seconds until what could not be done is tried again
RETRY_S = 10.0


class Errands:
    """wake: has the loop look again, for what ran for a deployment is done."""

    def __init__(self, world: World, wake: Callable[[], None]) -> None:
        self._world, self._wake = world, wake
        self._tasks: set[asyncio.Task[None]] = set()
        #: deployments that something is being done for
        self._acting: set[str] = set()
        #: deployments that something could not be done for → monotonic time before which it is not tried again
        self._later: dict[str, float] = {}

    @property
    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """All that are under way."""
        return tuple(self._tasks)

    def is_busy(self, name: str) -> bool:
        """Whether something is being done for that deployment."""
        return name in self._acting

    def put_off_s(self, name: str, now: float) -> float:
        """Seconds until something may be tried for it again; 0 or less: it may be now."""
        return self._later.get(name, 0.0) - now

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it beside the loop; with a name, holding that deployment's lock and as its only errand."""

        async def locked() -> None:
            try:
                async with self._world.lock(name):
                    await work
            finally:
                self._acting.discard(name)
                self._wake()

        async def guarded() -> None:
            try:
                await (locked() if name else work)
            except LeaseLost:
                self._put_off(name)
                log.error("another manager has taken over this data directory")
            except (DriverError, RouterError) as error:
                self._put_off(name)
                message = f"something could not be mended, and is tried again in {RETRY_S:g} s: {error}"
                self._world.event(name, "error", message, source="monitor")
            except Exception:
                self._put_off(name)
                log.exception("the monitor could not act on %s", name or "an instance")

        if name:
            self._acting.add(name)
        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _put_off(self, name: str) -> None:
        now = self._world.clock.monotonic()
        self._later = {name: until for name, until in self._later.items() if until > now} | {name: now + RETRY_S}
