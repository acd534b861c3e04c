"""Instances come and go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterable, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from longshore.drivers.base import DriverError, Stopped
from longshore.durations import format_duration
from longshore.errors import RolloutFailed
from longshore.health.readiness import NotReady, PortTaken
from longshore.hosts.base import HERE, HostUnreachable
from longshore.hosts.losing import expect_there, unless_lost
from longshore.model import Instance, Spec
from longshore.rollout.draining import drained
from longshore.rollout.plan import Context, Step

T = TypeVar("T")

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
    """As Readiness.await_ready(); an instance whose port was taken between its lease and its start gets another one.

    Not waited for is one whose host is out of reach, or comes to be: that is passed over, or fails the rollout.
    """
    world = context.world
    instance = world.store.instance(id)
    if is_absent(context, id):
        return
    for turn in itertools.count():
        try:
            waiting = world.readiness.await_ready(id, spec, successes=successes)
            if instance is None or instance.host == HERE:
                await waiting
            else:
                await unless_lost(world.host(context.spec.environment, instance.host), waiting)
            return
        except HostUnreachable as error:
            context.say(context.absence.pass_over(error))
            return
        except NotReady as error:
            if await is_lost(context, instance):
                return
            if not isinstance(error, PortTaken) or turn == OTHER_PORTS:
                raise
            context.say(f"warning: {error} It is started again on another port.")
        await context.world.fleet.stop(id, context.spec.stop_timeout)
        await context.world.fleet.start_again(id)
        context.advance()


def is_absent(context: Context, id: str) -> bool:
    """Whether it is on a host that the rollout goes on without."""
    instance = context.world.store.instance(id)
    return instance is not None and instance.host in context.absence.hosts


async def is_lost(context: Context, instance: Instance | None) -> bool:
    """Whether what went wrong with an instance is that its host is gone: that is passed over, or fails the rollout."""
    if instance is None or instance.host == HERE:
        return False
    try:
        await expect_there(context.world.host(context.spec.environment, instance.host))
    except HostUnreachable as error:
        context.say(context.absence.pass_over(error))
        return True
    return False


async def any_lost(context: Context, ids: Iterable[str]) -> bool:
    """As is_lost(), of all that are not passed over yet, each host asked once."""
    instances = (context.world.store.instance(id) for id in ids)
    by_host = {each.host: each for each in instances if each is not None and each.host not in context.absence.hosts}
    return any(await asyncio.gather(*(is_lost(context, each) for each in by_host.values())))


async def where_reached(context: Context, *work: Coroutine[Any, Any, T]) -> list[T]:
    """As all_of(), but for what is on hosts out of reach: that is passed over, or fails the rollout."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, HostUnreachable):
            context.say(context.absence.pass_over(outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def patience(spec: Spec) -> float:
    """Seconds that instances may take to leave, or to come back, however short the progress deadline is."""
    return max(spec.progress_deadline, spec.drain_timeout + spec.stop_timeout + spec.health_check.deadline + 60.0)


def counted(instances: Sized) -> str:
    return f"{len(instances)} instance{'s' if len(instances) != 1 else ''}"


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
    #: the host of each; none: all on this machine
    hosts: tuple[str, ...] = ()

    def describe(self) -> str:
        where = f" on {', '.join(dict.fromkeys(self.hosts))}" if self.hosts else ""
        return f"start {counted(tuple(i for i, _ in self.instances))} of {self.version}{where}"

    def bound(self, spec: Spec) -> float | None:
        return patience(spec)

    async def run(self, context: Context) -> str:
        fleet, hosts = context.world.fleet, self.hosts or (HERE,) * len(self.instances)
        placed = zip(self.instances, hosts, strict=True)
        started = await asyncio.gather(
            *(fleet.start(context.spec, id, slot, host) for (id, slot), host in placed), return_exceptions=True
        )
        for outcome in started:
            if isinstance(outcome, HostUnreachable):
                context.say(context.absence.pass_over(outcome))
            elif isinstance(outcome, DriverError):
                message = f"An instance of {self.version} could not be started: {outcome}"
                raise RolloutFailed(message, cause=str(outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
        missing = sum(isinstance(outcome, HostUnreachable) for outcome in started)
        done = f"started {counted(tuple(i for i, _ in self.instances))}"
        return f"{done}, but for {missing} on hosts out of reach" if missing else done

    async def undo(self, context: Context) -> str:
        fleet, ids = context.world.fleet, tuple(id for id, _ in self.instances)
        # The traffic has been taken back by now, but what they were sent meanwhile has to end first.
        await drain(context, ids)
        stopped = await where_reached(context, *(fleet.retire(id, context.spec.stop_timeout) for id in ids))
        return f"stopped {counted(stopped)} of {self.version}{killed(stopped, context)}"


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
        stopped = await where_reached(context, *(fleet.stop(id, context.spec.stop_timeout) for id in self.instances))
        return f"stopped {counted(stopped)}{killed(stopped, context)}"

    async def undo(self, context: Context) -> str:
        # All of them, whatever their rows say: one may have been stopped without that having been written down.
        fleet = context.world.fleet
        await where_reached(context, *(fleet.start_again(id) for id in self.instances))
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
        stopped = await where_reached(context, *(fleet.retire(id, context.spec.stop_timeout) for id in self.instances))
        return f"retired {counted(stopped)}{killed(stopped, context)}"
