"""Whether instances are ready: waiting until they are, asking them, and saying why they are not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from longshore.clock import Clock
from longshore.drivers.base import Driver, Exit, Inspection
from longshore.durations import format_duration
from longshore.fleet import Fleet
from longshore.health.board import Board
from longshore.health.probes import Check, ProbeResult, ReadyResult
from longshore.masking import mask_text
from longshore.model import Instance, Spec
from longshore.store import Store

#: lines of its log that an instance's failure shows
LOG_LINES = 15


#: seconds that the router may take to be there again after it was killed
ROUTER_S = 5.0


class NotReady(Exception):
    """An instance did not become ready. `cause`: the last lines of its log, or of the last probe."""

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class PortTaken(NotReady):
    """Somebody else listens on the port that the instance was given: on another one it may well become ready."""


class Prober(Protocol):
    """How health is asked for: probes.py, or a script in tests of the engine."""

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


class Readiness:
    def __init__(
        self,
        *,
        fleet: Fleet,
        store: Store,
        clock: Clock,
        driver_of: Callable[[str], Driver],
        board: Board,
        prober: Prober,
        opens_ports: Callable[[str], bool] = lambda environment: True,
    ) -> None:
        """opens_ports: whether the router of an environment opens public ports on this machine."""
        self._fleet, self._store, self._clock, self._driver_of = fleet, store, clock, driver_of
        self._board, self._prober, self._opens_ports = board, prober, opens_ports

    # ------------------------------------------------------------------------------------------------- waiting

    async def await_ready(self, id: str, spec: Spec | None = None, *, successes: int | None = None) -> None:
        """Wait until it is ready. Raises NotReady, saying why, when it ends or its deadline passes before.

        PortTaken where somebody else has its port: that one may have answered for it.

        successes   probes in a row that make it so, where that is not the spec's healthy_threshold
        """
        instance = self._store.instance(id)
        if instance is None or instance.handle is None:
            raise NotReady(f"Instance {id} is not running.", "")
        spec = spec or self._fleet.spec_of(instance)
        driver, handle, rule = self._driver_of(spec.environment), instance.handle, spec.health_check
        result = await self._prober.await_ready(
            self.check(instance, spec),
            deadline_s=rule.deadline,
            interval_s=rule.interval,
            healthy_threshold=successes or rule.healthy_threshold,
            alive=lambda: driver.exited(handle),
            clock=self._clock,
        )
        # A child it left behind may have answered before its own end was noticed.
        if not result.ready or await self.ended(id):
            raise await self._not_ready(instance, spec, result)
        if taker := await self._stranger(instance, spec):
            raise PortTaken(f"Port {instance.port} of instance {id} is not its own: {taker} answers there.", "")
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

    async def await_check(self, check: Check, spec: Spec) -> ProbeResult:
        """Ask until it passes, as often as makes a ready instance unready; a URL elsewhere until the deadline, and the
        public port for as long as nobody listens there: the router was perhaps killed, and is being started again."""
        tries, began = spec.health_check.unhealthy_threshold, self._clock.monotonic()
        is_router = check == self.public_check(spec)
        pause = 0.02
        while True:
            result = await self._prober.probe(check)
            tries -= 1
            patience_s = spec.health_check.deadline if check.kind == "url" else 0.0
            if is_router and result.refused:
                patience_s = ROUTER_S
            if result.ok or (tries <= 0 and self._clock.monotonic() >= began + patience_s):
                return result
            await self._clock.sleep(pause)
            pause = min(pause * 1.5, 1.0)

    # -------------------------------------------------------------------------------------------------- asking

    async def probe(self, check: Check) -> ProbeResult:
        """Ask once; what went wrong is in the result."""
        return await self._prober.probe(check)

    async def probe_instance(self, instance: Instance, spec: Spec) -> ProbeResult:
        """As probe(). Who has just become healthy is looked at, too: it may be somebody else who answers."""
        check = self.check(instance, spec)
        if check.kind != "alive" and self._board.of(instance.id).ready:
            check = replace(check, inspect=None)  # what one run has said it cannot take back
        result = await self._prober.probe(check)
        if result.ok and self._board.of(instance.id).ready is False:
            taker = await self._stranger(instance, spec)
            if taker:
                return replace(result, ok=False, message=f"port {instance.port} is not its own: {taker} answers there")
        return result

    def check(self, instance: Instance, spec: Spec) -> Check:
        """How this instance's health is asked for."""
        timeout_s = spec.health_check.timeout
        driver, handle = self._driver_of(spec.environment), instance.handle or {}

        def inspect() -> Awaitable[Inspection]:
            return driver.inspect(handle)

        if instance.port is None:
            return Check(kind="alive", timeout_s=timeout_s, inspect=inspect)
        host, asked = self._fleet.address(instance), inspect if driver.notifies(handle) else None
        if spec.probe_path is None:
            return Check(kind="tcp", host=host, port=instance.port, timeout_s=timeout_s, inspect=asked)
        return Check(
            kind="http", host=host, port=instance.port, path=spec.probe_path, timeout_s=timeout_s, inspect=asked
        )

    def whole_checks(self, spec: Spec, ids: tuple[str, ...]) -> list[Check]:
        """The checks of the whole: each instance, the public port, a health URL elsewhere."""
        timeout_s = spec.health_check.timeout
        instances = [instance for id in ids if (instance := self._store.instance(id)) is not None]
        checks = [check for instance in instances if (check := self.check(instance, spec)).kind != "alive"]
        if instances and (public := self.public_check(spec)) is not None:
            checks.append(public)
        if spec.external_check is not None:
            checks.append(Check(kind="url", url=spec.external_check, timeout_s=timeout_s))
        elif not instances and spec.health_check_url:
            checks.append(Check(kind="url", url=spec.health_check_url, timeout_s=timeout_s))
        return checks

    def public_check(self, spec: Spec) -> Check | None:
        """How it is asked for as its clients do, where our router opens its public port."""
        if (port := self.opened_port(spec)) is None:
            return None
        if spec.probe_path is not None:
            return Check(kind="http", port=port, path=spec.probe_path, timeout_s=spec.health_check.timeout)
        return Check(kind="tcp", port=port, timeout_s=spec.health_check.timeout)

    def opened_port(self, spec: Spec) -> int | None:
        """The public port, where our router opens it on this machine."""
        return spec.public_port if spec.is_served and self._opens_ports(spec.environment) else None

    def problem(self, id: str) -> str | None:
        """Why an instance that was ready is not any more; None while it is."""
        health = self._board.of(id)
        return None if health.ready is not False else f"instance {id} is not healthy any more: {health.message}"

    async def ended(self, id: str) -> str | None:
        """How an instance that should run has ended; None while it runs, or where that cannot be told."""
        instance = self._store.instance(id)
        if instance is None or instance.handle is None:
            return f"instance {id} is not running"
        found = await self._driver_of(self._fleet.spec_of(instance).environment).inspect(instance.handle)
        if found.state != "exited":
            return None
        return f"instance {id} has ended: {await self._ending(instance, found)}"

    async def first_end(self, ids: Iterable[str]) -> str:
        """Wait, without a bound, until one of these has ended, and say how. For ever where none of them runs."""
        found = (self._store.instance(id) for id in ids)
        watched = {
            asyncio.ensure_future(self._driver_of(self._fleet.spec_of(each).environment).exited(each.handle)): each.id
            for each in found
            if each is not None and each.handle is not None
        }
        if not watched:
            await asyncio.Event().wait()
        try:
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in watched:
                task.cancel()
        id = watched[done.pop()]
        return await self.ended(id) or f"instance {id} has ended"

    # ------------------------------------------------------------------------------------------------- private

    async def _stranger(self, instance: Instance, spec: Spec) -> str:
        if instance.port is None or instance.handle is None:
            return ""
        return await self._driver_of(spec.environment).stranger(instance.handle, instance.port)

    async def _not_ready(self, instance: Instance, spec: Spec, result: ReadyResult) -> NotReady:
        """What a person needs to know: did it end, is its port taken, what does it do instead of being ready?"""
        driver = self._driver_of(spec.environment)
        lines = await self._fleet.log_lines(instance, spec, LOG_LINES)
        log = mask_text("\n".join(lines), spec.configuration) or "its log is empty"
        who = f"Instance {instance.id} of version {spec.version}"
        assert instance.handle is not None
        inspection, taker = await driver.inspect(instance.handle), await self._stranger(instance, spec)
        within = f"was not ready within {format_duration(spec.health_check.deadline)}"
        if inspection.state == "exited":
            message = f"{who} ended before it was ready: {await self._ending(instance, inspection)}"
        else:
            message = f"{who} {within}: {await self._doing(instance, driver, result)}"
        if taker:
            return PortTaken(f"{message} Port {instance.port}, which it was given, is taken by {taker}.", log)
        return NotReady(message, log)

    async def _doing(self, instance: Instance, driver: Driver, result: ReadyResult) -> str:
        """Does it not listen, or elsewhere, or answer wrongly?"""
        assert instance.handle is not None
        if instance.port is not None:
            ports = await driver.ports(instance.handle)
            if not ports:
                return f"it does not listen on its port {instance.port} (PORT)."
            if instance.port not in ports:
                found = ", ".join(str(port) for port in sorted(ports))
                return (
                    f"it listens on {found}, but was given port {instance.port} in PORT, which it ignores. "
                    "Make it listen on $PORT."
                )
        return result.last.message if result.last is not None else result.reason

    async def _ending(self, instance: Instance, found: Inspection) -> str:
        """How it ended, what it said last, and what an exit in good order is usually a sign of."""
        how = found.message or str(found.exit or Exit(None))
        daemon = found.exit is not None and found.exit.code == 0
        hint = " What is deployed has to stay in the foreground: no daemon, no `&`." if daemon else ""
        return f"{how}.{hint} Its log ends: {await self._fleet.last_words(instance)}"
