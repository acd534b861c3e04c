"""Aliases: clusters without a place in any traffic that stay a moment, because requests may wait in them.

A held request tries again within 0.5 s, one whose connection was cut within 0.25 s (the largest back-offs of the
retry policies), in the cluster it came by. Two seconds after that was given targets that serve, nothing waits in it.
What still has its answer to come from an instance that left is cut when that one ends, after a drain that took its
whole time or because it hangs: as long as there is any, the alias stays for its next try.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from longshore.clock import Clock
from longshore.routers.base import RouterError
from longshore.routers.envoy.cluster import Cluster

LINGER_S = 2.0
#: Between two looks whether requests are under way in it; two without any, for one between two tries is not counted.
LOOK_S = 0.5
LOOKS = 2
#: A stream may last for days, and is not tried again.
BUSY_S = 600.0

#: (deployment, alias)
Drop = Callable[[str, str], Awaitable[None]]
#: alias → whether requests are under way in it
Busy = Callable[[str], Awaitable[bool]]


class Aliases:
    def __init__(self, drop: Drop, busy: Busy, clock: Clock) -> None:
        self._drop = drop
        self._busy = busy
        self._clock = clock
        self._of: dict[str, frozenset[str]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def of(self, name: str) -> frozenset[str]:
        """Names of a deployment's aliases."""
        return self._of.get(name, frozenset())

    def set(self, name: str, aliases: Mapping[str, Cluster]) -> None:
        """These are the deployment's aliases. Each goes 2 s after it was first given targets, if it is idle."""
        for alias in self.of(name) - frozenset(aliases):
            self._cancel(alias)
        self._of[name] = frozenset(aliases)
        for alias, cluster in aliases.items():
            if cluster.holding:
                self._cancel(alias)
            elif alias not in self._tasks:
                self._tasks[alias] = asyncio.create_task(self._linger(name, alias), name=f"alias {alias}")

    def dropped(self, name: str, alias: str) -> None:
        self._of[name] = self.of(name) - {alias}

    async def forget(self, name: str) -> None:
        """The deployment has none, and none of them is about to be dropped."""
        tasks = [task for alias in self._of.pop(name, frozenset()) if (task := self._cancel(alias))]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """What lingers now is dropped by the next manager."""
        for name in list(self._of):
            await self.forget(name)

    # --------------------------------------------------------------------------------------------------- private

    def _cancel(self, alias: str) -> asyncio.Task[None] | None:
        task = self._tasks.pop(alias, None)
        if task is not None:
            task.cancel()
        return task

    async def _linger(self, name: str, alias: str) -> None:
        await self._clock.sleep(LINGER_S)
        until, idle = self._clock.monotonic() + BUSY_S, 0
        while idle < LOOKS and self._clock.monotonic() < until:
            idle = 0 if await self._busy(alias) else idle + 1
            await self._clock.sleep(LOOK_S)
        # If Envoy is away, the next change or the next manager drops it.
        with contextlib.suppress(RouterError):
            await self._drop(name, alias)
        if self._tasks.get(alias) is asyncio.current_task():
            del self._tasks[alias]
