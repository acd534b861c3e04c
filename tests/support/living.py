"""A whole manager, monitor included, in simulated time: the Lab of support/engine.py with a life between rollouts.

Hooks are written down instead of run.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable, Coroutine, Set
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, TypeVar

from longshore.drivers.base import DriverError
from longshore.drivers.mock import MockWorld
from longshore.errors import LongshoreError
from longshore.files import FilesError
from longshore.health.monitor import Monitor
from longshore.health.probes import Check, ProbeResult, ReadyResult
from longshore.ports import PortRange
from longshore.proc import HookResult
from longshore.rollout.steps import hooks
from longshore.routers.base import RouterError
from support.dying_router import DyingRouter
from support.engine import Disk, Killed, Lab, Machine
from support.simulated_time import Clock
from support.watch import Watch

T = TypeVar("T")

#: simulated seconds that an effect takes before it happens, and again before it is known to have happened
LATENCY_S = 0.002
#: simulated seconds within which a router that died runs again, while a manager lives
ENVOY_STARTS_S = 1.0
#: the hook that fails
FAILS = "fail"


def machine(data: Path) -> Machine:
    clock = Clock()
    world = MockWorld(clock)  # type: ignore[arg-type]
    return Machine(world, DyingRouter(clock, world.ready_on), Disk(), clock, data)  # type: ignore[arg-type]


class Ports(PortRange):
    """Those of the simulated machine: what runs holds its port, whether anybody knows of it or not."""

    def __init__(self, world: MockWorld) -> None:
        super().__init__()
        self._world = world

    def free(self, taken: Set[int]) -> int:
        return next(port for port in range(self.first, self.last) if port not in taken and self.is_free(port))

    def is_free(self, port: int) -> bool:
        return all(found.launch.port != port for found in self._world._running())


class Slow:
    """Passes calls on; each effect takes a moment before it happens and one before it is known to have happened."""

    def __init__(self, inner: Any, lab: Living) -> None:
        self._inner, self._lab = inner, lab

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not iscoroutinefunction(value):
            return value
        clock = self._lab.machine.clock

        async def call(*args: Any, **kwargs: Any) -> Any:
            await clock.sleep(LATENCY_S)
            self._lab.alive()
            answer = await value(*args, **kwargs)
            self._lab.look()
            await clock.sleep(LATENCY_S)
            self._lab.alive()
            return answer

        return call


class Prober:
    def __init__(self, lab: Living) -> None:
        self._lab = lab

    async def probe(self, check: Check) -> ProbeResult:
        machine = self._lab.machine
        await machine.clock.sleep(LATENCY_S)
        self._lab.alive()
        if check.kind == "alive":
            assert check.inspect is not None
            return ProbeResult((await check.inspect()).state == "running", "asked", LATENCY_S)
        router = machine.router
        assert isinstance(router, DyingRouter)
        assert check.port is not None
        public = check.port not in range(self._lab.ports.first, self._lab.ports.last)
        ports = [target.port for target in router.on_port(check.port)] if public else [check.port]
        ok = any(machine.world.ready_on(port) for port in ports)
        return ProbeResult(ok, f"{check} → {'200' if ok else 'connection refused'}", LATENCY_S)

    async def await_ready(
        self, check: Check, *, deadline_s: float, alive: Callable[[], Any], healthy_threshold: int, **_: Any
    ) -> ReadyResult:
        clock = self._lab.machine.clock
        until, good, tries = clock.monotonic() + deadline_s, 0, 0
        ended = asyncio.ensure_future(alive())
        try:
            while True:
                result, tries = await self.probe(check), tries + 1
                good = good + 1 if result.ok else 0
                if good >= healthy_threshold:
                    return ReadyResult(True, result.message, result, 0.0, tries)
                if ended.done() or clock.monotonic() >= until:
                    return ReadyResult(False, result.message, result, 0.0, tries)
                await clock.sleep(0.5)
        finally:
            ended.cancel()


class Living(Lab):
    """A manager that is started, lives until it is stopped or killed, and whose life may be disturbed at any moment.

    A moment is each look at whether it still lives: around every write, and around every effect on the world.
    """

    #: the one that lives: hooks are a module's function, and have to find it
    running: Living

    def __init__(self, machine: Machine, hooks_run: list[tuple[str, str, str]], watch: Watch) -> None:
        super().__init__(machine)
        self.moments = 0
        #: moment → what happens then
        self.at: dict[int, Callable[[], None]] = {}
        self.death = asyncio.Event()
        #: (rollout, phase, command) of each hook that ran, under any manager
        self.hooks_run = hooks_run
        #: what serves is looked at after every effect and whenever time has passed
        self.watch = watch
        self.world.ports = self.world.fleet._ports = self.ports = Ports(machine.world)
        self.driver = Slow(self.driver._inner, self)  # type: ignore[assignment]
        self.world.router = self.router = Slow(machine.router, self)  # type: ignore[assignment]
        self.world.readiness._prober = Prober(self)
        self.monitor = Monitor(self.world, lambda environment: self.driver, 1000)  # type: ignore[arg-type, return-value]
        self._watching: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    def alive(self) -> None:
        super().alive()
        self.moments += 1
        if (happens := getattr(self, "at", {}).pop(self.moments, None)) is not None:
            happens()
            super().alive()

    def in_moments(self, moments: int, happens: Callable[[], None]) -> None:
        self.at[self.moments + moments] = happens

    def die(self) -> None:
        self.dead = True
        self.death.set()

    def look(self) -> None:
        self.watch.look()

    def serving(self) -> int:
        return self.watch.serving("shop")

    async def start(self) -> None:
        """As app.py does it."""
        type(self).running = self
        traffic = {d.name: self.world.fleet.traffic(d.routing) for d in self.store.deployments() if d.routing}
        await self.router.restore(traffic)
        await self.monitor.sweep()
        await self.runner.recover()
        self.world.look_at_queue(None)
        self._watching = asyncio.create_task(self.monitor.run())
        self._keeping = asyncio.create_task(self._keep_the_router())

    async def _keep_the_router(self) -> None:
        """As routers/envoy/keeper.py does it."""
        router = self.machine.router
        assert isinstance(router, DyingRouter)
        while True:
            await self.machine.clock.sleep(ENVOY_STARTS_S)
            self.alive()
            router.back()

    async def stop(self) -> None:
        """As at SIGTERM."""
        for task in (self._watching, self._keeping):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self.service.close()
        await self.runner.close()
        await self.bury()

    async def bury(self) -> None:
        """Nothing that a manager had under way outlives it."""
        self.dead = True
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self.close()

    async def while_alive(self, work: Coroutine[Any, Any, T], within_s: float = 3600.0) -> T | None:
        """What `work` gives, or raises; None: the manager has died meanwhile, or that takes longer (work goes on)."""
        task = asyncio.ensure_future(work)
        others = [asyncio.ensure_future(self.death.wait()), asyncio.ensure_future(self.machine.clock.sleep(within_s))]
        try:
            await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for other in others:
                other.cancel()
        if self.dead:
            return None
        return task.result() if task.done() else None

    async def _hook(self, command: str, *, env: Any, **_: Any) -> HookResult:
        self.alive()
        self.hooks_run.append((env[hooks.ROLLOUT_VARIABLE], env["DEPLOYMENT_HOOK"], command))
        await self.machine.clock.sleep(1.0)
        self.alive()
        return HookResult(1 if command == FAILS else 0, False, command, 1.0)


async def run_shell(command: str, **options: Any) -> HookResult:
    """In the place of proc.run_shell: the hook of the manager that lives."""
    return await Living.running._hook(command, **options)


async def end_left_over(variable: str, value: str) -> tuple[int, list[int]]:
    """In the place of proc.end_left_over: hooks that are only written down leave nothing."""
    return 0, []


#: what the drivers, the router and the disk may say no with, and what rollouts fail with
FORESEEN = (Killed, LongshoreError, DriverError, RouterError, FilesError)


class Complaints(logging.Handler):
    """Errors that the manager did not foresee: logged with a traceback, and otherwise survived."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, FORESEEN):
            self.found.append("".join([record.getMessage(), "\n", *traceback.format_exception(error)]))
