"""The instances of all deployments: starting and stopping them, for rollouts and the monitor alike.

Every effect is written down before it happens and looked at before it is repeated: an instance's row, with the launch
id that its process will carry, is stored before the process exists, so that no crash leaves one nobody knows.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

from uuid_utils import uuid4

from longshore.clock import Clock
from longshore.disk import FilesError
from longshore.drivers.base import Driver, DriverError, Handle, Launch, Output, Stopped
from longshore.health.board import Board
from longshore.hosts.base import HERE, HostUnreachable, Place, just_here
from longshore.hosts.settings import is_ip
from longshore.masking import mask_text
from longshore.model import Instance, InstanceState, Pool, Routing, Spec
from longshore.ports import PortRange
from longshore.routers.base import Target, TargetPool, Traffic
from longshore.store import Store

#: what a program may know of the manager's own environment; everything else stays with the manager
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR")


class Fleet:
    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        driver_of: Callable[[str], Driver],
        user_of: Callable[[Spec], str | None],
        board: Board,
        ports: PortRange,
        log_path: Callable[[str, str], Path],
        hosts_of: Callable[[str], Mapping[str, Place]] = just_here,
    ) -> None:
        self._store, self._clock, self._board = store, clock, board
        self._driver_of, self._user_of, self._ports, self._log_path = driver_of, user_of, ports, log_path
        self._hosts_of = hosts_of
        #: set by the world: has what an instance runs from stand on its host
        self.provide: Callable[[Spec, str], Awaitable[object]] = _provided

    # ------------------------------------------------------------------------------------------- start and stop

    async def start(self, spec: Spec, id: str, slot: int, host: str = HERE) -> Instance:
        """This instance runs `spec.version`; if it does already, nothing happens. Raises DriverError."""
        known = self._store.instance(id)
        host = known.host if known is not None else host
        if known is not None:
            found = await self._find(known, spec)
            if found is not None:
                return found
            if known.handle is not None:
                # It was told to end, and may be at it still; or its first process has ended, but what that had started
                # still runs, and holds the port.
                await self._driver_of(spec.environment).stop(known.handle, spec.stop_timeout)
        instance = Instance(
            id=id,
            deployment=spec.name,
            version=spec.version,
            slot=slot,
            port=self._port(spec, known, host),
            state=InstanceState.starting,
            handle=None,
            launch_id=uuid4().hex,
            started_at=self._clock.now(),
            restarts=known.restarts if known is not None else 0,
            host=host,
            leased=spec.systemd.unit == "managed",
        )
        self._store.save_instance(instance)
        return await self._launch(spec, instance)

    def _port(self, spec: Spec, known: Instance | None, host: str) -> int | None:
        """The port that it is to listen on; None: none. That of somebody else on another host is found out later."""
        if spec.systemd.unit == "existing":
            return spec.unit_port
        if spec.public_port is None:
            return None
        port = known.port if known is not None else None
        if port is None or (host == HERE and not self._ports.is_free(port)):
            port = self._ports.free(self._store.ports_in_use())
        return port

    async def start_again(self, id: str) -> Instance:
        """Start a stopped or ended instance as its release says. Raises DriverError."""
        instance = self._store.instance(id)
        if instance is None:
            raise DriverError(f"There is no instance {id} any more to start again.")
        return await self.start(self.spec_of(instance), id, instance.slot)

    async def _launch(self, spec: Spec, instance: Instance) -> Instance:
        release = self._store.release(spec.name, spec.version)
        # A redeploy of a kept version may bring a command of its own; the release takes it over at the commit.
        command = spec.command if spec.command is not None else release and release.command
        if release is None or not command:
            raise DriverError(f"Release {spec.version} of {spec.name} has nothing to run.")

        def persist(handle: Handle) -> None:
            self._store.save_instance(replace(instance, state=InstanceState.running, handle=handle))

        self._board.forget(instance.id)
        try:
            await self.provide(spec, instance.host)
        except FilesError as error:
            raise DriverError(str(error)) from error
        directory = Path(release.path)
        if instance.host != HERE:
            directory = Path(spec.working_directory, "releases", spec.version)
        handle = await self._driver_of(spec.environment).start(
            Launch(
                deployment=spec.name,
                instance=instance.id,
                launch_id=instance.launch_id,
                command=command,
                directory=directory,
                environment=self.environment(spec, instance),
                log=self._log_path(spec.name, instance.id),
                port=instance.port,
                user=self._user_of(spec),
                resources=spec.resources,
                host=instance.host,
                systemd=spec.systemd,
                service=spec.service_name or spec.name,
                working_directory=Path(spec.working_directory),
                stop_timeout=spec.stop_timeout,
            ),
            persist,
        )
        return replace(instance, state=InstanceState.running, handle=handle)

    async def _find(self, instance: Instance, spec: Spec) -> Instance | None:
        """The running process behind a row, also one that was started but not yet written down.

        None: there is none, or it was told to end; it may run on for a while, but will never serve again.
        """
        if instance.state is InstanceState.stopped:
            return None
        driver = self._driver_of(spec.environment)
        handle = instance.handle
        if handle is None and instance.state is InstanceState.starting:
            handle = (await driver.survey()).get(instance.launch_id)
        if handle is None:
            return None
        if (await driver.inspect(handle)).state != "running":
            handle = await driver.successor(handle)
        if handle is None:
            return None
        found = replace(instance, state=InstanceState.running, handle=handle)
        if found != instance:
            self._store.save_instance(found)
        return found

    async def stop(self, id: str, grace_s: float) -> Stopped | None:
        """This instance runs no more; its row, and its port, stay. None: there was nothing to stop."""
        instance = self._store.instance(id)
        if instance is None:
            return None
        spec = self.spec_of(instance)
        driver = self._driver_of(spec.environment)
        handle = instance.handle
        if handle is None and instance.state is InstanceState.starting:
            handle = (await driver.survey()).get(instance.launch_id)
        self._board.muted.add(id)
        if handle is not None:
            # Before it is told: who is interrupted from here on must not take it for one that serves.
            self._store.save_instance(replace(instance, state=InstanceState.stopped, handle=handle))
        stopped = await driver.stop(handle, grace_s) if handle is not None else None
        self._store.save_instance(replace(instance, state=InstanceState.stopped, handle=None, retire_at=None))
        self._board.forget(id)
        return stopped

    async def retire(self, id: str, grace_s: float) -> Stopped | None:
        """This instance runs no more and is forgotten; so is one on a host that is not configured any more."""
        stopped = None
        instance = self._store.instance(id)
        if instance is not None and self._place(instance) is not None:
            stopped = await self.stop(id, grace_s)
            instance = self._store.instance(id)
        if instance is not None:
            self._store.delete_instance(instance)
        return stopped

    def is_running(self, id: str) -> bool:
        instance = self._store.instance(id)
        return instance is not None and instance.state is InstanceState.running

    # ---------------------------------------------------------------------------------------------------- logs

    def output_of(self, instance: Instance) -> Output:
        try:
            spec = self.spec_of(instance)
            service, existing = spec.service_name or spec.name, spec.systemd.unit == "existing"
        except DriverError:  # its release is gone
            service, existing = instance.deployment, False
        return Output(
            instance.deployment,
            instance.id,
            self._log_path(instance.deployment, instance.id),
            instance.handle,
            instance.host,
            service,
            existing,
        )

    async def log_lines(self, instance: Instance, spec: Spec, lines: int) -> list[str]:
        """The last lines of its log, as they are: secrets are not masked."""
        driver = self._driver_of(spec.environment)
        try:
            async with aclosing(driver.logs(self.output_of(instance), tail=lines)) as found:
                return [line.text async for line in found]
        except DriverError as error:
            return [f"({error})"]

    async def last_words(self, instance: Instance, lines: int = 3) -> str:
        """The last lines of its log, as one."""
        spec = self.spec_of(instance)
        said = await self.log_lines(instance, spec, lines)
        words = " | ".join(line.strip() for line in said if line.strip())
        return mask_text(words, spec.configuration) or "(nothing)"

    # ------------------------------------------------------------------------------------------------- probing

    def mute(self, ids: tuple[str, ...]) -> None:
        """Probe these no more: they drain."""
        self._board.muted.update(ids)
        for deployment in {found.deployment for id in ids if (found := self._store.instance(id)) is not None}:
            self._store.touch(deployment)

    def unmute(self, routing: Routing | None) -> None:
        """What gets traffic is probed."""
        for pool in routing.pools if routing is not None else ():
            self._board.muted.difference_update(pool.instances)

    # ------------------------------------------------------------------------------------------------ addresses

    def targets(self, ids: tuple[str, ...], without: Collection[str] = ()) -> tuple[Target, ...]:
        """Addresses of those that have one. Those on hosts out of reach, or not started there yet, are left out, unless
        that left none; so are those on hosts that have a name only, and were never reached.

        without   further hosts that are known to be out of reach
        """
        found = [i for id in ids if (i := self._store.instance(id)) is not None and i.port is not None]
        present = [i for i in found if self._is_there(i, without)]
        return tuple(
            Target(place.address, i.port, i.id)
            for i in present or found
            if i.port is not None and (place := self._place(i)) and is_ip(place.address)
        )

    def address(self, instance: Instance) -> str:
        """The IP address that its port is at. Raises HostUnreachable where its host is not configured any more."""
        place = self._place(instance)
        if place is None:
            raise HostUnreachable(
                instance.host,
                f"Instance {instance.id} is on host {instance.host}, which is not in the configuration any more.",
            )
        return place.address

    def traffic(self, routing: Routing, without: Collection[str] = ()) -> Traffic:
        """The routing, resolved to addresses, as targets() does. Of two pools, one that is wholly out of reach gets no
        share: the other has it all."""
        routing = self._in_reach(routing, without)

        def resolve(pool: Any) -> TargetPool | None:
            if pool is None:
                return None
            return TargetPool(pool.id, self.targets(pool.instances, without), pool.health_path, pool.version)

        return Traffic(
            port=routing.port,
            stable=resolve(routing.stable),
            candidate=resolve(routing.candidate),
            weight=routing.weight,
            hold=routing.hold,
            sticky=routing.sticky,
        )

    def _in_reach(self, routing: Routing, without: Collection[str]) -> Routing:
        stable, candidate = routing.stable, routing.candidate
        if stable is None or candidate is None:
            return routing
        lost = [pool for pool in (stable, candidate) if self._is_lost(pool, without)]
        if len(lost) != 1:
            return routing
        return replace(routing, stable=candidate if stable in lost else stable, candidate=None, weight=0)

    def _is_lost(self, pool: Pool, without: Collection[str]) -> bool:
        """Whether it has instances, and none of them is there."""
        found = [i for id in pool.instances if (i := self._store.instance(id)) is not None]
        return bool(found) and not any(self._is_there(i, without) for i in found)

    def _is_there(self, instance: Instance, without: Collection[str]) -> bool:
        """Whether it was started on a host that is in reach. On this machine all are: who does not run is found out."""
        if instance.host == HERE:
            return True
        return instance.host not in without and instance.handle is not None and self._reached(instance)

    def environment(self, spec: Spec, instance: Instance) -> dict[str, str]:
        """All that the program finds in its environment."""
        place = self._place(instance)
        own = {"HOST": place.listen if place is not None else "127.0.0.1", "RELEASE_VERSION": spec.version}
        if instance.port is not None:
            own["PORT"] = str(instance.port)
        # Of another machine, this one's search path and home say nothing.
        inherited = base_environment(self._user_of(spec)) if instance.host == HERE else {}
        return {**inherited, **spec.configuration, **own}

    def _place(self, instance: Instance) -> Place | None:
        deployment = self._store.deployment(instance.deployment)
        return self._hosts_of(deployment.environment).get(instance.host) if deployment is not None else None

    def _reached(self, instance: Instance) -> bool:
        place = self._place(instance)
        return place is not None and place.reachable is not False

    def spec_of(self, instance: Instance) -> Spec:
        """What it was started by: the open rollout's spec, or its release's. Raises DriverError if that is gone."""
        rollout = self._store.open_rollout_of(instance.deployment)
        if (
            rollout is not None
            and rollout.version == instance.version
            and instance.id.startswith(f"{rollout.deployment}-{rollout.number}-")
        ):
            return rollout.spec
        release = self._store.release(instance.deployment, instance.version)
        if release is None:
            raise DriverError(f"Instance {instance.id} belongs to release {instance.version}, which is gone.")
        return release.spec


async def _provided(spec: Spec, host: str) -> None:
    """It stands there already: on this machine the rollout has unpacked it."""


def base_environment(user: str | None = None) -> Mapping[str, str]:
    """The few variables that programs and hooks inherit. user: whom they run as, with a HOME of their own."""
    inherited = (name for name in INHERITED if name in os.environ)
    return {name: os.environ[name] for name in inherited if user is None or name != "HOME"}
