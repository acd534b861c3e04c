"""The instances of all deployments: starting, stopping and asking them, for rollouts and the monitor alike.

Every effect is written down before it happens and looked at before it is repeated: an instance's row, with the launch
id that its process will carry, is stored before the process exists, so that no crash leaves one nobody knows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from uuid_utils import uuid4

from longshore.clock import Clock
from longshore.drivers.base import Driver, DriverError, Exit, Handle, Inspection, Launch, Stopped
from longshore.durations import format_duration
from longshore.health.board import Board
from longshore.health.probes import Check, ProbeResult, ReadyResult
from longshore.masking import mask_text
from longshore.model import Instance, InstanceState, Routing, Spec
from longshore.ports import PortRange
from longshore.routers.base import Target, TargetPool, Traffic
from longshore.store import Store

#: what a program may know of the manager's own environment; everything else stays with the manager
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR")
#: instances listen on this machine only; the public port is the router's
HOST = "127.0.0.1"
#: lines of its log that an instance's failure shows
LOG_LINES = 15


class NotReady(Exception):
    """An instance did not become ready. `cause`: the last lines of its log, or of the last probe."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class Prober(Protocol):
    """How health is asked for: health/probes.py, or a script in tests of the engine."""

    async def probe(self, check: Check) -> ProbeResult: ...

    async def await_ready(
        self,
        check: Check,
        *,
        deadline_s: float,
        interval_s: float,
        healthy_threshold: int,
        alive: Callable[[], Any],
        clock: Clock,
    ) -> ReadyResult: ...


class Fleet:
    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        driver_of: Callable[[str], Driver],
        user_of: Callable[[Spec], str | None],
        board: Board,
        prober: Prober,
        ports: PortRange,
        log_path: Callable[[str, str], Path],
    ) -> None:
        self._store, self._clock, self._board, self._prober = store, clock, board, prober
        self._driver_of, self._user_of, self._ports, self._log_path = driver_of, user_of, ports, log_path

    # ------------------------------------------------------------------------------------------- start and stop

    async def start(self, spec: Spec, id: str, slot: int) -> Instance:
        """This instance runs `spec.version`; if it does already, nothing happens. Raises DriverError."""
        known = self._store.instance(id)
        if known is not None:
            found = await self._find(known, spec)
            if found is not None:
                return found
            if known.handle is not None:
                # It was told to end, and may be at it still; or its first process has ended, but what that had started
                # still runs, and holds the port.
                await self._driver_of(spec.environment).stop(known.handle, spec.stop_timeout)
        port = known.port if known is not None else None
        routed = spec.public_port is not None
        if routed and (port is None or not self._ports.is_free(port)):
            port = self._ports.free(self._store.ports_in_use())
        instance = Instance(
            id=id,
            deployment=spec.name,
            version=spec.version,
            slot=slot,
            port=port if routed else None,
            state=InstanceState.starting,
            handle=None,
            launch_id=uuid4().hex,
            started_at=self._clock.now(),
            restarts=known.restarts if known is not None else 0,
        )
        self._store.save_instance(instance)
        return await self._launch(spec, instance)

    async def start_again(self, id: str) -> Instance:
        """Start a stopped or ended instance as its release says. Raises DriverError."""
        instance = self._store.instance(id)
        if instance is None:
            raise DriverError(f"There is no instance {id} any more to start again.")
        return await self.start(self._spec_of(instance), id, instance.slot)

    async def _launch(self, spec: Spec, instance: Instance) -> Instance:
        release = self._store.release(spec.name, spec.version)
        # A redeploy of a kept version may bring a command of its own; the release takes it over at the commit.
        command = spec.command if spec.command is not None else release and release.command
        if release is None or not command:
            raise DriverError(f"Release {spec.version} of {spec.name} has nothing to run.")

        def persist(handle: Handle) -> None:
            self._store.save_instance(replace(instance, state=InstanceState.running, handle=handle))

        self._board.forget(instance.id)
        handle = await self._driver_of(spec.environment).start(
            Launch(
                deployment=spec.name,
                instance=instance.id,
                launch_id=instance.launch_id,
                command=command,
                directory=Path(release.path),
                environment=self.environment(spec, instance),
                log=self._log_path(spec.name, instance.id),
                port=instance.port,
                user=self._user_of(spec),
                resources=spec.resources,
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
        if handle is None or (await driver.inspect(handle)).state != "running":
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
        spec = self._spec_of(instance)
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
        """This instance runs no more and is forgotten."""
        stopped = await self.stop(id, grace_s)
        instance = self._store.instance(id)
        if instance is not None:
            self._store.delete_instance(instance)
        return stopped

    def is_running(self, id: str) -> bool:
        instance = self._store.instance(id)
        return instance is not None and instance.state is InstanceState.running

    # ------------------------------------------------------------------------------------------------- health

    async def await_ready(self, id: str, spec: Spec | None = None, *, successes: int | None = None) -> None:
        """Wait until it is ready. Raises NotReady, saying why, when it ends or its deadline passes before.

        successes   probes in a row that make it so, where that is not the spec's healthy_threshold
        """
        instance = self._store.instance(id)
        if instance is None or instance.handle is None:
            raise NotReady(f"Instance {id} is not running.", "")
        spec = spec or self._spec_of(instance)
        driver, handle, rule = self._driver_of(spec.environment), instance.handle, spec.health_check
        result = await self._prober.await_ready(
            self.check(instance, spec),
            deadline_s=rule.deadline,
            interval_s=rule.interval,
            healthy_threshold=successes or rule.healthy_threshold,
            alive=lambda: driver.exited(handle),
            clock=self._clock,
        )
        ports = await driver.ports(handle) if instance.port is not None else frozenset()
        if result.ready and await self.ended(id):
            # A child it left behind may have answered before its own end was noticed.
            raise await self._not_ready(instance, spec, result, ports)
        if result.ready and ports and instance.port not in ports:
            raise NotReady(
                f"Port {instance.port} of instance {id} is answered by another process: {_listening(ports)}.", ""
            )
        if not result.ready:
            raise await self._not_ready(instance, spec, result, ports)
        self._board.mark(id, spec.name, ready=True, message=result.reason)

    async def await_steady(self, id: str, spec: Spec) -> None:
        """Wait until a ready instance has been so for `min_ready`. Raises NotReady when it ends or fails before."""
        instance = self._store.instance(id)
        if instance is None or instance.handle is None:
            raise NotReady(f"Instance {id} is not running.", "")
        exited = asyncio.ensure_future(self._driver_of(spec.environment).exited(instance.handle))
        steady = asyncio.ensure_future(self._clock.sleep(spec.health_check.min_ready))
        try:
            await asyncio.wait({exited, steady}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            exited.cancel()
            steady.cancel()
        if problem := await self.ended(id) or self.problem(id):
            raise NotReady(
                f"It was ready, but not for {format_duration(spec.health_check.min_ready)} (min_ready): {problem}", ""
            )

    async def _not_ready(self, instance: Instance, spec: Spec, result: ReadyResult, ports: frozenset[int]) -> NotReady:
        """What a person needs to know: did it end, listen elsewhere, not listen, or answer wrongly?"""
        driver = self._driver_of(spec.environment)
        lines = driver.logs(self._log_path(spec.name, instance.id), LOG_LINES)
        log = mask_text("\n".join(lines), spec.configuration) or "its log is empty"
        who = f"Instance {instance.id} of version {spec.version}"
        assert instance.handle is not None
        inspection = await driver.inspect(instance.handle)
        if inspection.state == "exited":
            return NotReady(f"{who} ended before it was ready: {self._ending(instance, inspection)}", log)
        within = f"was not ready within {format_duration(spec.health_check.deadline)}"
        if instance.port is not None and ports and instance.port not in ports:
            return NotReady(
                f"{who} {within}: {_listening(ports)}, but was given port {instance.port} in PORT, which it ignores. "
                "Make it listen on $PORT.",
                log,
            )
        if instance.port is not None and not ports:
            return NotReady(f"{who} {within}: it does not listen on its port {instance.port} (PORT).", log)
        return NotReady(f"{who} {within}: {result.last.message if result.last is not None else result.reason}", log)

    async def ended(self, id: str) -> str | None:
        """How an instance that should run has ended; None while it runs, or where that cannot be told."""
        instance = self._store.instance(id)
        if instance is None or instance.handle is None:
            return f"instance {id} is not running"
        found = await self._driver_of(self._spec_of(instance).environment).inspect(instance.handle)
        if found.state != "exited":
            return None
        return f"instance {id} has ended: {self._ending(instance, found)}"

    def _ending(self, instance: Instance, found: Inspection) -> str:
        """How it ended, what it said last, and what an exit in good order is usually a sign of."""
        how = found.message or str(found.exit or Exit(None))
        daemon = found.exit is not None and found.exit.code == 0
        hint = " What is deployed has to stay in the foreground: no daemon, no `&`." if daemon else ""
        return f"{how}.{hint} Its log ends: {self.last_words(instance)}"

    def last_words(self, instance: Instance, lines: int = 3) -> str:
        """The last lines of its log, as one."""
        spec = self._spec_of(instance)
        said = self._driver_of(spec.environment).logs(self._log_path(instance.deployment, instance.id), lines)
        words = " | ".join(line.strip() for line in said if line.strip())
        return mask_text(words, spec.configuration) or "(nothing)"

    async def await_check(self, check: Check, spec: Spec) -> ProbeResult:
        """Ask until it passes, as often as makes a ready instance unready; a URL elsewhere until the deadline."""
        tries = spec.health_check.unhealthy_threshold
        until = self._clock.monotonic() + (spec.health_check.deadline if check.kind == "url" else 0.0)
        pause = 0.02
        while True:
            result = await self._prober.probe(check)
            tries -= 1
            if result.ok or (tries <= 0 and self._clock.monotonic() >= until):
                return result
            await self._clock.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    async def probe(self, check: Check) -> ProbeResult:
        return await self._prober.probe(check)

    def check(self, instance: Instance, spec: Spec) -> Check:
        """How this instance's health is asked for."""
        timeout_s = spec.health_check.timeout
        if instance.port is None:
            driver, handle = self._driver_of(spec.environment), instance.handle or {}
            return Check(kind="alive", timeout_s=timeout_s, inspect=lambda: driver.inspect(handle))
        if spec.probe_path is None:
            return Check(kind="tcp", host=HOST, port=instance.port, timeout_s=timeout_s)
        return Check(kind="http", host=HOST, port=instance.port, path=spec.probe_path, timeout_s=timeout_s)

    def whole_checks(self, spec: Spec, ids: tuple[str, ...]) -> list[Check]:
        """The checks of the whole: each instance, the public port, a health URL elsewhere."""
        timeout_s = spec.health_check.timeout
        instances = [instance for id in ids if (instance := self._store.instance(id)) is not None]
        checks = [check for instance in instances if (check := self.check(instance, spec)).kind != "alive"]
        if instances and spec.public_port is not None:
            if spec.probe_path is not None:
                checks.append(
                    Check(kind="http", host=HOST, port=spec.public_port, path=spec.probe_path, timeout_s=timeout_s)
                )
            else:
                checks.append(Check(kind="tcp", host=HOST, port=spec.public_port, timeout_s=timeout_s))
        if spec.external_check is not None:
            checks.append(Check(kind="url", url=spec.external_check, timeout_s=timeout_s))
        elif not instances and spec.health_check_url:
            checks.append(Check(kind="url", url=spec.health_check_url, timeout_s=timeout_s))
        return checks

    def problem(self, id: str) -> str | None:
        """Why an instance that was ready is not any more; None while it is."""
        health = self._board.of(id)
        return None if health.ready is not False else f"instance {id} is not healthy any more: {health.message}"

    def mute(self, ids: tuple[str, ...]) -> None:
        """Probe these no more: they drain."""
        self._board.muted.update(ids)

    def unmute(self, routing: Routing | None) -> None:
        """What gets traffic is probed."""
        for pool in routing.pools if routing is not None else ():
            self._board.muted.difference_update(pool.instances)

    # ------------------------------------------------------------------------------------------------ addresses

    def targets(self, ids: tuple[str, ...]) -> tuple[Target, ...]:
        """Addresses of those that have one."""
        found = (self._store.instance(id) for id in ids)
        return tuple(Target(HOST, i.port) for i in found if i is not None and i.port is not None)

    def traffic(self, routing: Routing) -> Traffic:
        """The routing, resolved to addresses."""

        def resolve(pool: Any) -> TargetPool | None:
            return None if pool is None else TargetPool(pool.id, self.targets(pool.instances), pool.health_path)

        return Traffic(
            port=routing.port,
            stable=resolve(routing.stable),
            candidate=resolve(routing.candidate),
            weight=routing.weight,
            hold=routing.hold,
            sticky=routing.sticky,
        )

    def environment(self, spec: Spec, instance: Instance) -> dict[str, str]:
        """All that the program finds in its environment."""
        own = {"HOST": HOST, "RELEASE_VERSION": spec.version}
        if instance.port is not None:
            own["PORT"] = str(instance.port)
        return {**base_environment(self._user_of(spec)), **spec.configuration, **own}

    def _spec_of(self, instance: Instance) -> Spec:
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


def base_environment(user: str | None = None) -> Mapping[str, str]:
    """The few variables that programs and hooks inherit. user: whom they run as, with a HOME of their own."""
    inherited = (name for name in INHERITED if name in os.environ)
    return {name: os.environ[name] for name in inherited if user is None or name != "HOME"}


def _listening(ports: frozenset[int]) -> str:
    return f"it listens on {', '.join(str(port) for port in sorted(ports))}"
