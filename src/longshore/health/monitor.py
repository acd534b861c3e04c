"""The one loop: it keeps what is committed true between rollouts, and never deploys.

It probes every instance (watching.py), starts again those that have ended, with back-off, ends warm sets when their
time is over and retires what no rollout owns (mending.py), rotates logs and forgets what is old (tidying.py). It never
acts on a deployment whose rollout is in progress: the deployment's lock is what both have to hold (errands.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from longshore.drivers.base import Driver
from longshore.errors import LeaseLost
from longshore.health.errands import Errands
from longshore.health.inventory import Inventory
from longshore.health.mending import Mending
from longshore.health.tidying import Tidying
from longshore.health.watching import Watching
from longshore.rollout.world import World
from longshore.store.backup import Backups

log = logging.getLogger("longshore.monitor")

#: seconds between two rounds, unless something wakes the loop
SHORTEST_NAP_S = 0.25
#: seconds between two rounds of tidying
TIDY_EVERY_S = 30.0


class Monitor:
    """local: as of Tidying."""

    def __init__(
        self,
        world: World,
        driver_of: Callable[[str], Driver],
        keep_events: int,
        backups: Backups | None = None,
        local: Driver | None = None,
    ) -> None:
        self._world = world
        self._wake = asyncio.Event()
        self._inventory = Inventory(world.store)
        self._errands = Errands(world, self._wake.set)
        self._watching = Watching(world, driver_of, self._inventory, self._errands, self._wake.set)
        self._mending = Mending(world, self._inventory, self._watching, self._errands, self._wake.set)
        self._tidying = Tidying(world, driver_of, keep_events, backups, local)
        self._tidied: asyncio.Task[None] | None = None
        self._tidy_at = 0.0
        world.wake_monitor = self._wake.set

    async def run(self) -> None:
        """Until cancelled. A round that fails is logged and the next one runs: the loop itself never ends silently."""
        try:
            while True:
                self._wake.clear()
                try:
                    pause = self._round()
                except LeaseLost:
                    raise
                except Exception:
                    log.exception("a round of the monitor failed")
                    pause = 5.0
                await self._nap(pause)
        finally:
            self._mending.catching_up.close()
            tasks = [*self._errands.tasks, *self._watching.tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep(self) -> None:
        """End processes of this manager that no row knows."""
        await self._tidying.sweep()

    def _round(self) -> float:
        """Start what is due; returns the seconds until the next thing is."""
        now = self._world.clock.monotonic()
        if self._inventory.refresh():
            self._watching.forget_the_gone()
        due = [60.0, self._mending.catching_up.look(self._inventory.deployments, now)]
        for deployment in self._inventory.deployments:
            instances = self._inventory.instances(deployment.name)
            due += [self._watching.look(instance, now) for instance in instances]
            due.append(self._watching.look_elsewhere(deployment, now))
            due.append(self._mending.care(deployment, instances, now))
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY_S
            if self._tidied is None or self._tidied.done():  # a disk that hangs must not hold ever more threads
                self._tidied = self._errands.start("", self._tidying.run())
        due.append(self._tidy_at - now)
        # Probes that are due at nearly the same time go out together: hundreds of instances, four rounds a second.
        return max(SHORTEST_NAP_S, min(due))

    async def _nap(self, seconds: float) -> None:
        nap = asyncio.ensure_future(self._world.clock.sleep(seconds))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({nap, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            woken.cancel()
