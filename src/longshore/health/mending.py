"""What the monitor does for a deployment between rollouts: start again what has ended, retire what is nobody's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from longshore.concurrency import all_of
from longshore.drivers.base import DriverError
from longshore.health.catching_up import CatchingUp
from longshore.health.errands import RETRY_S, Errands
from longshore.health.inventory import Inventory
from longshore.health.watching import Watching
from longshore.hosts.base import HERE
from longshore.model import Deployment, Instance, InstanceState, RolloutStatus
from longshore.rollout.draining import drained
from longshore.rollout.world import World

#: seconds between restarts of an instance that keeps ending: 0, 1, 2, 4 … (Nomad and systemd grow theirs likewise)
BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
#: an instance that stayed up this long has its restarts forgiven
STABLE_S = 300.0
#: restarts without a stable time in between that are called a crash loop
CRASH_LOOP = 5


class Mending:
    def __init__(
        self, world: World, inventory: Inventory, watching: Watching, errands: Errands, wake: Callable[[], None]
    ) -> None:
        self._world, self._inventory, self._watching, self._errands = world, inventory, watching, errands
        #: deployments whose routing the router has yet to be told
        self._untold: set[str] = set()
        self.catching_up = CatchingUp(world, errands, self._untold.add, wake)

    def care(self, deployment: Deployment, instances: list[Instance], now: float) -> float:
        """Start again, retire: whatever one deployment needs, one action at a time. Seconds until something is due."""
        name = deployment.name
        if self._errands.is_busy(name) or self._world.lock(name).locked() or deployment.deleting is not None:
            return 60.0  # whoever holds it wakes the loop when it is done
        if (left := self._errands.put_off_s(name, now)) > 0:
            return left
        due = 60.0
        if name in self._untold:
            return self._act(name, self._tell(name))
        if (host := self.catching_up.next_of(deployment)) is not None:
            return self._act(name, self.catching_up.bring(name, host))
        for instance in instances:
            if not self._is_within_reach(instance, deployment):
                continue  # once its host is there, the loop is woken
            if instance.id in deployment.instances:
                if self._is_down(instance) and not self._is_stopped_on_purpose(instance):
                    wait = self._watching.of(instance.id, now).not_before - now
                    if wait <= 0:
                        return self._act(name, self._start_again(instance.id))
                    due = min(due, wait)
            elif instance.retire_at is not None:
                left = instance.retire_at - self._world.clock.now()
                if left <= 0 or not self._watching.is_up(instance):
                    return self._act(name, self._retire(name))
                due = min(due, left)
            elif self._is_ownerless(name):
                return self._act(name, self._retire(name))
        return due

    # ------------------------------------------------------------------------------------------------ private

    def _act(self, name: str, work: Coroutine[Any, Any, None]) -> float:
        """Do it now, unless a rollout is open that no task is at: until the tidying takes that up, it all stands."""
        if self._world.store.open_rollout_of(name) is not None:
            work.close()
            return RETRY_S
        self._errands.start(name, work)
        return 60.0

    def _is_within_reach(self, instance: Instance, deployment: Deployment) -> bool:
        """Whether anything can be done about it. One whose host was taken out of the configuration can be forgotten."""
        if instance.host == HERE:
            return True
        place = self._world.hosts_of(deployment.environment).get(instance.host)
        return place is None or place.reachable is True

    def _is_down(self, instance: Instance) -> bool:
        return instance.state is not InstanceState.running or not self._watching.is_up(instance)

    def _is_stopped_on_purpose(self, instance: Instance) -> bool:
        """By a rollout that is held: the old version beside the new is what recreate promises never to be."""
        if instance.state is not InstanceState.stopped:
            return False
        last = self._world.store.last_rollout_of(instance.deployment)
        return last is not None and last.status is RolloutStatus.held

    def _is_ownerless(self, name: str) -> bool:
        """Neither committed nor of a rollout that is open or held for a person."""
        last = self._world.store.last_rollout_of(name)
        return last is None or last.status in (RolloutStatus.succeeded, RolloutStatus.unwound)

    async def _start_again(self, id: str) -> None:
        world, store = self._world, self._world.store
        instance = store.instance(id)
        if instance is None:
            return
        deployment = store.deployment(instance.deployment)
        if deployment is None or id not in deployment.instances or store.open_rollout_of(deployment.name) is not None:
            return
        up_for = world.clock.now() - (instance.started_at or 0.0)
        restarts = 1 if up_for > STABLE_S else instance.restarts + 1
        watched = self._watching.of(id, world.clock.monotonic())
        pause = BACKOFF_S[min(restarts, len(BACKOFF_S) - 1)]
        watched.not_before = world.clock.monotonic() + pause
        store.save_instance(replace(instance, restarts=restarts))
        looping = restarts >= CRASH_LOOP
        world.event(
            deployment.name,
            "error" if looping else "warning",
            f"instance {id} {watched.ended or 'was not running'}: starting it again (restart {restarts}, the next in "
            f"{pause:g} s at the earliest){'; it is in a crash loop' if looping else ''}. "
            f"Its log ends: {world.fleet.last_words(instance)}",
            source="monitor",
        )
        try:
            started = await world.fleet.start_again(id)
        except DriverError as error:
            world.event(deployment.name, "error", f"instance {id} could not be started: {error}", source="monitor")
            world.board.mark(id, deployment.name, ready=False, message=f"it could not be started: {error}")
            return
        world.board.mark(id, deployment.name, ready=False, message=f"started again after it {watched.ended or 'ended'}")
        watched.next_probe = world.clock.monotonic()
        if (started.port != instance.port or instance.handle is None) and deployment.routing is not None:
            # Its port had been taken by somebody while it was down, or it was never started: tell the router.
            self._untold.add(deployment.name)
            await self._tell(deployment.name)

    async def _retire(self, name: str) -> None:
        """End the warm set whose time is over, and whatever belongs to nobody."""
        world, store = self._world, self._world.store
        deployment = store.deployment(name)
        if deployment is None or store.open_rollout_of(name) is not None:
            return
        now = world.clock.now()
        strays = self._is_ownerless(name)
        leaving = [
            i
            for i in store.instances(name)
            if i.id not in deployment.instances
            and (strays if i.retire_at is None else i.retire_at <= now or not self._watching.is_up(i))
        ]
        gone = {instance.id for instance in leaving}
        routing = deployment.routing
        if routing is not None and routing.candidate is not None and gone & set(routing.candidate.instances):
            store.set_routing(name, replace(routing, candidate=None, weight=0))
            gone |= {i.id for i in store.instances(name) if i.id in routing.candidate.instances}
        # A rollout whose last shift failed leaves what the router may still send to: it is asked before they go.
        await self._tell(name)
        spec = self._inventory.committed(deployment)
        drain_s, stop_s = (spec.drain_timeout, spec.stop_timeout) if spec is not None else (30.0, 10.0)
        ids = tuple(gone)
        for warning in (await drained(world, name, deployment.environment, ids, drain_s)).warnings:
            world.event(name, "warning", warning, source="monitor")
        await all_of(*(world.fleet.retire(id, stop_s) for id in ids))
        world.event(name, "info", f"retired {', '.join(sorted(ids))}", source="monitor")

    async def _tell(self, name: str) -> None:
        """The router serves the stored routing, and nothing else of this deployment. Raises RouterError."""
        world = self._world
        deployment = world.store.deployment(name)
        if deployment is None or world.store.open_rollout_of(name) is not None:
            return
        if deployment.routing is None:
            await world.router.remove(name, 0.0)
        else:
            traffic = world.fleet.traffic(deployment.routing)
            if not await world.router.verify(name, traffic):
                await world.router.apply(name, traffic, ill_too=True)
        self._untold.discard(name)
