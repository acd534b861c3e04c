"""How the monitor learns what became of each instance: it probes those that run, and notices their end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from longshore.drivers.base import Driver
from longshore.health.errands import RETRY_S, Errands
from longshore.health.inventory import Inventory
from longshore.health.probes import Check
from longshore.model import Deployment, Instance, InstanceState, Spec
from longshore.rollout.world import World

log = logging.getLogger("longshore.monitor")

#: probes under way at once: at 1 ms of CPU each this is what one core does in some 30 ms
PROBES_AT_ONCE = 32


@dataclass
class Watched:
    """What the monitor remembers of one instance."""

    next_probe: float
    exited: asyncio.Task[None] | None = None
    handle: Mapping[str, object] | None = None
    probing: bool = False
    #: how it ended, such as "exited with code 3"; "" while it runs
    ended: str = ""
    #: monotonic time before which it is not started again
    not_before: float = 0.0


class Watching:
    """wake: has the loop look again, for an instance has ended."""

    def __init__(
        self,
        world: World,
        driver_of: Callable[[str], Driver],
        inventory: Inventory,
        errands: Errands,
        wake: Callable[[], None],
    ) -> None:
        self._world, self._driver_of, self._inventory = world, driver_of, inventory
        self._errands, self._wake = errands, wake
        #: instance's id, or url:DEPLOYMENT →
        self._watched: dict[str, Watched] = {}
        self._probes = asyncio.Semaphore(PROBES_AT_ONCE)

    @property
    def tasks(self) -> Iterable[asyncio.Task[None]]:
        """All that wait for an end."""
        return tuple(watched.exited for watched in self._watched.values() if watched.exited is not None)

    def of(self, id: str, now: float) -> Watched:
        return self._watched.setdefault(id, Watched(next_probe=now))

    def forget_the_gone(self) -> None:
        """Watch no more what the inventory does not have any more."""
        known = self._inventory.ids() | {f"url:{deployment.name}" for deployment in self._inventory.deployments}
        for gone in self._watched.keys() - known:
            watched = self._watched.pop(gone)
            if watched.exited is not None:
                watched.exited.cancel()

    def is_up(self, instance: Instance) -> bool:
        watched = self._watched.get(instance.id)
        if instance.state is not InstanceState.running:
            return False
        return watched is None or watched.handle != instance.handle or not watched.ended

    def look(self, instance: Instance, now: float) -> float:
        """Watch its end, and probe it when that is due. Seconds until the next probe."""
        if instance.state is not InstanceState.running or instance.handle is None:
            return 60.0
        watched = self.of(instance.id, now)
        if watched.handle != instance.handle:
            if watched.exited is not None:
                watched.exited.cancel()
            watched.handle, watched.ended = instance.handle, ""
            watched.exited = asyncio.create_task(self._watch_end(instance, watched))
        if instance.id in self._world.board.muted or watched.probing or watched.ended:
            return 1.0
        # Read from the store only when it is due: decoding a spec costs some 20 µs, in each round for each instance.
        if now >= watched.next_probe and (spec := self._inventory.spec(instance)) is not None:
            watched.next_probe = now + spec.health_check.interval
            watched.probing = True
            self._errands.start("", self._probe(instance, watched, spec))
        return watched.next_probe - now

    def look_elsewhere(self, deployment: Deployment, now: float) -> float:
        """Probe a health URL that is polled as it stands, when that is due. Seconds until the next probe."""
        spec = self._inventory.committed(deployment)
        if spec is None or deployment.stopped:
            return 60.0
        url = spec.external_check or (spec.health_check_url if not deployment.instances else "")
        if not url:
            return 60.0
        watched = self.of(f"url:{deployment.name}", now)
        if now >= watched.next_probe and not watched.probing:
            watched.next_probe = now + spec.health_check.interval
            watched.probing = True
            check = Check(kind="url", url=url, timeout_s=spec.health_check.timeout)
            self._errands.start("", self._probe_url(deployment.name, watched, check, spec))
        return watched.next_probe - now

    # ------------------------------------------------------------------------------------------------ private

    async def _probe(self, probed: Instance, watched: Watched, spec: Spec) -> None:
        id = probed.id
        try:
            async with self._probes:
                if id in self._world.board.muted:
                    return
                result = await self._world.readiness.probe_instance(probed, spec)
            instance = self._world.store.instance(id)
            muted = id in self._world.board.muted
            if instance is None or instance.handle != watched.handle or muted or watched.ended:
                return  # what answered, or did not, is not this instance any more
            self._world.board.record(
                id,
                instance.deployment,
                spec.health_check,
                ok=result.ok,
                message=result.message,
                duration_s=result.duration_s,
            )
        finally:
            watched.probing = False

    async def _probe_url(self, name: str, watched: Watched, check: Check, spec: Spec) -> None:
        try:
            async with self._probes:
                result = await self._world.readiness.probe(check)
            self._world.board.record(
                f"url:{name}",
                name,
                spec.health_check,
                ok=result.ok,
                message=result.message,
                duration_s=result.duration_s,
            )
        finally:
            watched.probing = False

    async def _watch_end(self, instance: Instance, watched: Watched) -> None:
        """Until that is known: what keeps it from being told, too few open files say, does not end the instance."""
        assert instance.handle is not None
        while True:
            try:
                spec = self._inventory.spec(instance)
                if spec is None:
                    return
                ended = await self._driver_of(spec.environment).exited(instance.handle)
                current = self._world.store.instance(instance.id)
                break
            except Exception:
                log.exception("the end of %s cannot be waited for; trying again in %g s", instance.id, RETRY_S)
            await self._world.clock.sleep(RETRY_S)
        if current is not None and current.handle == instance.handle:
            watched.ended = str(ended)
            self._world.board.mark(instance.id, instance.deployment, ready=False, message=f"it {ended}")
            self._wake()
