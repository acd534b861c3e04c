"""What the monitor does every half minute: nothing that Longshore makes grows without end, nothing unknown runs on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from longshore.drivers.base import Driver, DriverError, Handle
from longshore.drivers.logs import rotate
from longshore.errors import LeaseLost
from longshore.files import FilesError
from longshore.model import Deployment
from longshore.rollout.log_files import forget_logs
from longshore.rollout.world import World
from longshore.store.backup import Backups

log = logging.getLogger("longshore.monitor")

#: rollouts kept for each deployment, with their steps and progress (some 5 kB each), besides those that are not over
ROLLOUTS_KEPT = 200
#: cancelled requests kept for each deployment, to be looked at
CANCELLED_KEPT = 50
#: the newest rollouts of which the logs of instances that are gone, and of hooks, are kept; up to 40 MB an instance
LOGS_KEPT = 20
#: messages kept for each webhook that arrived, and as many that were given up; some 1.5 kB each
DELIVERIES_KEPT = 1000
#: seconds that a process which belongs to nothing is given to end
GRACE_S = 10.0


class Tidying:
    """local: the driver of this machine's processes, which is asked for them also where no deployment is its."""

    def __init__(
        self,
        world: World,
        driver_of: Callable[[str], Driver],
        keep_events: int,
        backups: Backups | None = None,
        local: Driver | None = None,
    ) -> None:
        self._world, self._driver_of, self._keep_events, self._backups = world, driver_of, keep_events, backups
        self._local = local

    async def run(self) -> None:
        """All of it, once. A part that fails is logged, and keeps nothing else from being done."""
        world, store = self._world, self._world.store
        for instance in store.instances():
            with _going_on(f"rotating the log of {instance.id}"):
                await asyncio.to_thread(rotate, world.instance_log(instance.deployment, instance.id))
        for deployment in store.deployments():
            if not world.lock(deployment.name).locked():
                with _going_on(f"tidying up {deployment.name}"):
                    await self._tidy_up(deployment)
        with _going_on("looking for processes that belong to nothing"):
            await self.sweep()
        world.pick_up()
        world.look_at_queue(None)
        with _going_on("forgetting old deliveries"):
            store.trim_deliveries(DELIVERIES_KEPT)
        if self._backups is not None:
            with _going_on("the daily backup of the database"):
                await asyncio.to_thread(self._backups.keep)

    async def sweep(self) -> None:
        """End processes of this manager that no row knows: of a database that was restored, or left by a start that was
        cut short. One that cannot be ended is logged: neither a start of the manager nor anything else waits for it.

        Rollouts may go on meanwhile: a row is there before its process, so what was found and has none after that is
        nobody's, or was just stopped; stopping it again then does nothing.
        """
        drivers = [self._driver_of(d.environment) for d in self._world.store.deployments()]
        if self._local is not None:
            drivers.append(self._local)
        for driver in {id(each): each for each in drivers}.values():
            found = await driver.survey()
            # Read only now: those of what was started meanwhile are in it.
            known = {instance.launch_id for instance in self._world.store.instances()}
            for launch_id, handle in found.items():
                if launch_id not in known and not self._is_taken_over(handle):
                    log.warning("ending a process that belongs to no instance (launch %s)", launch_id)
                    with _going_on(f"ending launch {launch_id}"):
                        await driver.stop(handle, GRACE_S)

    # --- private

    def _is_taken_over(self, handle: Handle) -> bool:
        """A unit of the user's own is the same for every launch: the one that is begun now would be stopped."""
        return handle.get("kind") == "existing" and self._world.lock(str(handle["deployment"])).locked()

    async def _tidy_up(self, deployment: Deployment) -> None:
        world, store, name = self._world, self._world.store, deployment.name
        store.trim_events(name, self._keep_events)
        store.trim_rollouts(name, ROLLOUTS_KEPT)
        store.trim_waiting(name, CANCELLED_KEPT)
        last = store.last_rollout_of(name)
        if last is not None:
            ids = {instance.id for instance in store.instances(name)}
            await asyncio.to_thread(forget_logs, world.logs / name, last.number - LOGS_KEPT, ids)
        await asyncio.to_thread(world.files_of(deployment).sweep_staging)


@contextmanager
def _going_on(what: str) -> Iterator[None]:
    try:
        yield
    except LeaseLost:
        raise
    except FilesError as error:
        log.debug("%s: %s", what, error)  # a disk that is away says so in the deployment's health
    except DriverError as error:
        log.error("%s: %s", what, error)
    except Exception:
        log.exception("%s failed", what)
