"""Instances come and go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from longshore.concurrency import all_of
from longshore.drivers.base import DriverError, Stopped
from longshore.durations import format_duration
from longshore.errors import RolloutFailed
from longshore.health.readiness import NotReady, PortTaken
from longshore.model import Spec
from longshore.rollout.draining import drained
from longshore.rollout.plan import Context, Step

#: so many times an instance is started again because of who has its port: each is a coincidence of milliseconds
OTHER_PORTS = 2


async def drain(context: Context, ids: tuple[str, ...]) -> str:
    """Wait, up to drain_timeout, until these instances, which get no traffic any more, have no connection left."""
    bound = context.spec.drain_timeout
    found = await drained(context.world, context.name, context.spec.environment, ids, bound)
    for warning in found.warnings:
        context.say(f"warning: {warning}")
    if not found.left:
        return "no connections left"
    return f"after {format_duration(bound)} {len(found.left)} of {found.total} still have connections, which are cut"


async def await_ready(context: Context, id: str, spec: Spec | None = None, *, successes: int | None = None) -> None:
    """As Readiness.await_ready(); an instance whose port was taken between its lease and its start gets another one."""
    for turn in itertools.count():
        try:
            await context.world.readiness.await_ready(id, spec, successes=successes)
            return
        except PortTaken as error:
            if turn == OTHER_PORTS:
                raise
            context.say(f"warning: {error} It is started again on another port.")
        await context.world.fleet.stop(id, context.spec.stop_timeout)
        await context.world.fleet.start_again(id)
        context.advance()


def patience(spec: Spec) -> float:
    """Seconds that instances may take to leave, or to come back, however short the progress deadline is."""
    return max(spec.progress_deadline, spec.drain_timeout + spec.stop_timeout + spec.health_check.deadline + 60.0)


def counted(ids: tuple[str, ...]) -> str:
    return f"{len(ids)} instance{'s' if len(ids) != 1 else ''}"


def killed(stopped: Sequence[Stopped | None], context: Context) -> str:
    """The rest of a sentence: how many did not leave by themselves; "" where all did."""
    stubborn = sum(1 for each in stopped if each is not None and each.killed)
    if not stubborn:
        return ""
    return f"; {stubborn} ignored SIGTERM for {format_duration(context.spec.stop_timeout)} and had to be killed"


@dataclass(frozen=True)
class StartInstances(Step):
    """Every one of these instances runs `version` (not: is ready). All are started at once."""

    kind: ClassVar[str] = "start_instances"
    version: str
    #: (id, slot)
    instances: tuple[tuple[str, int], ...]

    def describe(self) -> str:
        return f"start {counted(tuple(i for i, _ in self.instances))} of {self.version}"

    def bound(self, spec: Spec) -> float | None:
        return patience(spec)

    async def run(self, context: Context) -> str:
        fleet = context.world.fleet
        started = await asyncio.gather(
            *(fleet.start(context.spec, id, slot) for id, slot in self.instances), return_exceptions=True
        )
        for outcome in started:
            if isinstance(outcome, DriverError):
                message = f"An instance of {self.version} could not be started: {outcome}"
                raise RolloutFailed(message, cause=str(outcome))
            if isinstance(outcome, BaseException):
                raise outcome
        return f"started {counted(tuple(i for i, _ in self.instances))}"

    async def undo(self, context: Context) -> str:
        fleet, ids = context.world.fleet, tuple(id for id, _ in self.instances)
        # The traffic has been taken back by now, but what they were sent meanwhile has to end first.
        await drain(context, ids)
        stopped = await all_of(*(fleet.retire(id, context.spec.stop_timeout) for id in ids))
        return f"stopped {counted(ids)} of {self.version}{killed(stopped, context)}"


@dataclass(frozen=True)
class StopInstances(Step):
    """These old instances run no more, but may be started again: undo does, and waits until they are ready."""

    kind: ClassVar[str] = "stop_instances"
    instances: tuple[str, ...]

    def describe(self) -> str:
        return f"stop {counted(self.instances)} of the old version"

    def bound(self, spec: Spec) -> float | None:
        return patience(spec)

    async def run(self, context: Context) -> str:
        fleet = context.world.fleet
        stopped = await all_of(*(fleet.stop(id, context.spec.stop_timeout) for id in self.instances))
        return f"stopped {counted(self.instances)}{killed(stopped, context)}"

    async def undo(self, context: Context) -> str:
        # All of them, whatever their rows say: one may have been stopped without that having been written down.
        fleet = context.world.fleet
        await all_of(*(fleet.start_again(id) for id in self.instances))
        late = [
            outcome
            for outcome in await asyncio.gather(
                *(await_ready(context, id) for id in self.instances), return_exceptions=True
            )
            if isinstance(outcome, BaseException)
        ]
        for outcome in late:
            if not isinstance(outcome, NotReady):
                raise outcome
            # The committed version is where we must end up, ready or not: the monitor goes on with it from there.
            context.say(f"warning: {outcome}")
        return f"{counted(self.instances)} of the old version run again" + (
            f", {len(late)} not ready yet" if late else ""
        )


@dataclass(frozen=True)
class KeepWarm(Step):
    """These old instances stay up, without traffic, for `seconds`; then the monitor retires them."""

    kind: ClassVar[str] = "keep_warm"
    instances: tuple[str, ...]
    seconds: float

    def describe(self) -> str:
        return f"keep {counted(self.instances)} warm for {format_duration(self.seconds)}"

    async def run(self, context: Context) -> str:
        store = context.world.store
        until = context.world.clock.now() + self.seconds
        for id in self.instances:
            instance = store.instance(id)
            if instance is not None:
                store.save_instance(replace(instance, retire_at=until))
        context.world.wake_monitor()
        return f"{counted(self.instances)} of the old version stay warm for {format_duration(self.seconds)}"


@dataclass(frozen=True)
class RetireInstances(Step):
    """These instances are stopped and forgotten. Only after the commit: it has no undo."""

    kind: ClassVar[str] = "retire"
    instances: tuple[str, ...]

    def describe(self) -> str:
        return f"stop and forget {counted(self.instances)} of the old version"

    def bound(self, spec: Spec) -> float | None:
        return patience(spec)

    async def run(self, context: Context) -> str:
        fleet = context.world.fleet
        stopped = await all_of(*(fleet.retire(id, context.spec.stop_timeout) for id in self.instances))
        return f"retired {counted(self.instances)}{killed(stopped, context)}"
