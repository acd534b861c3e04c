"""The one loop: it keeps what is committed true between rollouts, and never deploys.

It probes every instance, starts again those that have ended (with back-off), retires what no rollout owns, ends warm
sets when their time is over, rotates logs and forgets what is old. It never acts on a deployment whose rollout is in
progress: the deployment's lock is what both have to hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from longshore.concurrency import all_of
from longshore.drivers.base import Driver, DriverError
from longshore.errors import LeaseLost
from longshore.health.probes import Check
from longshore.health.tidying import Tidying
from longshore.model import Deployment, Instance, InstanceState, RolloutStatus, Spec
from longshore.rollout.world import World
from longshore.routers.base import RouterError
from longshore.store.backup import Backups

log = logging.getLogger("longshore.monitor")

#: seconds between restarts of an instance that keeps ending: 0, 1, 2, 4 … (Nomad and systemd grow theirs likewise)
BACKOFF_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0)
#: an instance that stayed up this long has its restarts forgiven
STABLE_S = 300.0
#: restarts without a stable time in between that are called a crash loop
CRASH_LOOP = 5
#: probes under way at once: at 1 ms of CPU each this is what one core does in some 30 ms
PROBES_AT_ONCE = 32
#: seconds between two rounds, unless something wakes the loop
SHORTEST_NAP_S = 0.25
#: seconds between two rounds of tidying
TIDY_EVERY_S = 30.0
#: seconds until what could not be done is tried again
RETRY_S = 10.0


@dataclass
class Watched:
    """What the loop remembers of one instance."""

    next_probe: float
    exited: asyncio.Task[None] | None = None
    handle: Mapping[str, object] | None = None
    probing: bool = False
    #: how it ended, such as "exited with code 3"; "" while it runs
    ended: str = ""
    #: monotonic time before which it is not started again
    not_before: float = 0.0


class Monitor:
    def __init__(
        self, world: World, driver_of: Callable[[str], Driver], keep_events: int, backups: Backups | None = None
    ) -> None:
        self._world, self._driver_of = world, driver_of
        self._tidying = Tidying(world, driver_of, keep_events, backups)
        self._tidied: asyncio.Task[None] | None = None
        #: deployments that something could not be done for → monotonic time before which it is not tried again
        self._later: dict[str, float] = {}
        #: deployments whose routing the router has yet to be told
        self._untold: set[str] = set()
        self._watched: dict[str, Watched] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._acting: set[str] = set()
        self._probes = asyncio.Semaphore(PROBES_AT_ONCE)
        self._tidy_at = 0.0
        #: cached: what the store holds, as of its `changes`
        self._seen = -1
        self._deployments: list[Deployment] = []
        self._instances: dict[str, list[Instance]] = {}
        #: cached: deployment → spec of what is committed, by the store's revision
        self._specs: dict[str, tuple[int, Spec | None]] = {}
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
            tasks = [*self._tasks, *(w.exited for w in self._watched.values() if w.exited is not None)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def sweep(self) -> None:
        """End processes of this manager that no row knows."""
        await self._tidying.sweep()

    async def _nap(self, seconds: float) -> None:
        nap = asyncio.ensure_future(self._world.clock.sleep(seconds))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({nap, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
            woken.cancel()

    def _round(self) -> float:
        """Start what is due; returns the seconds until the next thing is."""
        now = self._world.clock.monotonic()
        self._read_store()
        due = [60.0]
        for deployment in self._deployments:
            mine = self._instances.get(deployment.name, [])
            due += [self._look(instance, now) for instance in mine]
            due.append(self._external(deployment, now))
            due.append(self._care(deployment, mine, now))
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_EVERY_S
            if self._tidied is None or self._tidied.done():  # a disk that hangs must not hold ever more threads
                self._tidied = self._spawn("", self._tidying.run())
        due.append(self._tidy_at - now)
        # Probes that are due at nearly the same time go out together: hundreds of instances, four rounds a second.
        return max(SHORTEST_NAP_S, min(due))

    def _read_store(self) -> None:
        """What there is; read anew only when something has changed, for decoding 500 deployments takes some 50 ms."""
        store = self._world.store
        if self._seen == store.changes:
            return
        self._seen = store.changes
        self._deployments = store.deployments()
        self._instances = {}
        for instance in store.instances():
            self._instances.setdefault(instance.deployment, []).append(instance)
        known = {i.id for mine in self._instances.values() for i in mine} | {f"url:{d.name}" for d in self._deployments}
        for gone in self._watched.keys() - known:
            watched = self._watched.pop(gone)
            if watched.exited is not None:
                watched.exited.cancel()

    # ------------------------------------------------------------------------------------------------ probing

    def _look(self, instance: Instance, now: float) -> float:
        """Watch its end, and probe it when that is due. Seconds until the next probe."""
        if instance.state is not InstanceState.running or instance.handle is None:
            return 60.0
        watched = self._watched.setdefault(instance.id, Watched(next_probe=now))
        if watched.handle != instance.handle:
            if watched.exited is not None:
                watched.exited.cancel()
            watched.handle, watched.ended = instance.handle, ""
            watched.exited = asyncio.create_task(self._watch_end(instance, watched))
        if instance.id in self._world.board.muted or watched.probing or watched.ended:
            return 1.0
        # Read from the store only when it is due: decoding a spec costs some 20 µs, in each round for each instance.
        if now >= watched.next_probe and (spec := self._spec(instance)) is not None:
            watched.next_probe = now + spec.health_check.interval
            watched.probing = True
            check = self._world.fleet.check(instance, spec)
            self._spawn("", self._probe(instance.id, watched, check, spec))
        return watched.next_probe - now

    async def _probe(self, id: str, watched: Watched, check: Check, spec: Spec) -> None:
        try:
            async with self._probes:
                if id in self._world.board.muted:
                    return
                result = await self._world.fleet.probe(check)
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

    async def _watch_end(self, instance: Instance, watched: Watched) -> None:
        assert instance.handle is not None
        spec = self._spec(instance)
        if spec is None:
            return
        ended = await self._driver_of(spec.environment).exited(instance.handle)
        current = self._world.store.instance(instance.id)
        if current is not None and current.handle == instance.handle:
            watched.ended = str(ended)
            self._world.board.mark(instance.id, instance.deployment, ready=False, message=f"it {ended}")
            self._wake.set()

    def _external(self, deployment: Deployment, now: float) -> float:
        """A health URL that is polled as it stands."""
        spec = self._committed(deployment)
        if spec is None:
            return 60.0
        url = spec.external_check or (spec.health_check_url if not deployment.instances else "")
        if not url:
            return 60.0
        watched = self._watched.setdefault(f"url:{deployment.name}", Watched(next_probe=now))
        if now >= watched.next_probe and not watched.probing:
            watched.next_probe = now + spec.health_check.interval
            watched.probing = True
            check = Check(kind="url", url=url, timeout_s=spec.health_check.timeout)
            self._spawn("", self._probe_url(deployment.name, watched, check, spec))
        return watched.next_probe - now

    async def _probe_url(self, name: str, watched: Watched, check: Check, spec: Spec) -> None:
        try:
            async with self._probes:
                result = await self._world.fleet.probe(check)
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

    # ------------------------------------------------------------------------------------------------ acting

    def _care(self, deployment: Deployment, instances: list[Instance], now: float) -> float:
        """Start again, retire: whatever one deployment needs, one action at a time. Seconds until something is due."""
        name = deployment.name
        if name in self._acting or self._world.lock(name).locked() or deployment.deleting is not None:
            return 60.0  # whoever holds it wakes the loop when it is done
        if (left := self._later.get(name, 0.0) - now) > 0:
            return left
        due = 60.0
        if name in self._untold:
            return self._act(name, self._tell(name))
        for instance in instances:
            if instance.id in deployment.instances:
                if self._is_down(instance) and not self._is_stopped_on_purpose(instance):
                    wait = self._watched.setdefault(instance.id, Watched(now)).not_before - now
                    if wait <= 0:
                        return self._act(name, self._start_again(instance.id))
                    due = min(due, wait)
            elif instance.retire_at is not None:
                left = instance.retire_at - self._world.clock.now()
                if left <= 0 or not self._is_up(instance):
                    return self._act(name, self._retire(name))
                due = min(due, left)
            elif self._is_ownerless(name):
                return self._act(name, self._retire(name))
        return due

    def _act(self, name: str, work: Coroutine[Any, Any, None]) -> float:
        """Do it now, unless a rollout is open that no task is at: until the tidying takes that up, it all stands."""
        if self._world.store.open_rollout_of(name) is not None:
            work.close()
            return RETRY_S
        self._spawn(name, work)
        return 60.0

    def _is_down(self, instance: Instance) -> bool:
        return instance.state is not InstanceState.running or not self._is_up(instance)

    def _is_stopped_on_purpose(self, instance: Instance) -> bool:
        """By a rollout that is held: the old version beside the new is what recreate promises never to be."""
        if instance.state is not InstanceState.stopped:
            return False
        last = self._world.store.last_rollout_of(instance.deployment)
        return last is not None and last.status is RolloutStatus.held

    def _is_up(self, instance: Instance) -> bool:
        watched = self._watched.get(instance.id)
        if instance.state is not InstanceState.running:
            return False
        return not (watched is not None and watched.exited is not None and watched.exited.done())

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
        watched = self._watched.setdefault(id, Watched(world.clock.monotonic()))
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
        if started.port != instance.port and deployment.routing is not None:
            # Its port had been taken by somebody while it was down: tell the router the new one.
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
            and (strays if i.retire_at is None else i.retire_at <= now or not self._is_up(i))
        ]
        gone = {instance.id for instance in leaving}
        routing = deployment.routing
        if routing is not None and routing.candidate is not None and gone & set(routing.candidate.instances):
            store.set_routing(name, replace(routing, candidate=None, weight=0))
            gone |= {i.id for i in store.instances(name) if i.id in routing.candidate.instances}
        # A rollout whose last shift failed leaves what the router may still send to: it is asked before they go.
        await self._tell(name)
        spec = self._committed(deployment)
        drain_s, stop_s = (spec.drain_timeout, spec.stop_timeout) if spec is not None else (30.0, 10.0)
        ids = tuple(gone)
        world.fleet.mute(ids)
        await world.router.drained(world.fleet.targets(ids), drain_s)
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
                await world.router.apply(name, traffic)
        self._untold.discard(name)

    # ------------------------------------------------------------------------------------------------ private

    def _spec(self, instance: Instance) -> Spec | None:
        release = self._world.store.release(instance.deployment, instance.version)
        return release.spec if release is not None else None

    def _committed(self, deployment: Deployment) -> Spec | None:
        """Decoding a spec costs some 20 µs: worth remembering with hundreds of deployments and a look each second."""
        revision = self._world.store.revision(deployment.name)
        known = self._specs.get(deployment.name)
        if known is None or known[0] != revision:
            release = (
                self._world.store.release(deployment.name, deployment.current_version)
                if deployment.current_version
                else None
            )
            known = (revision, release.spec if release is not None else None)
            self._specs[deployment.name] = known
        return known[1]

    def _spawn(self, name: str, work: object) -> asyncio.Task[None]:
        """Run it beside the loop; with a name, holding that deployment's lock and as its only action."""
        assert asyncio.iscoroutine(work)

        async def locked() -> None:
            try:
                async with self._world.lock(name):
                    await work
            finally:
                self._acting.discard(name)
                self._wake.set()

        async def plain() -> None:
            await work

        async def guarded() -> None:
            try:
                await (locked() if name else plain())
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
        self._later[name] = self._world.clock.monotonic() + RETRY_S
