"""Where the requests go."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from longshore.durations import format_duration
from longshore.errors import HealthCheckFailed, RolloutFailed
from longshore.model import Routing, Spec
from longshore.rollout.plan import Context, Step
from longshore.rollout.steps.instances import any_lost, drain, where_reached
from longshore.routers.base import RouterError, Traffic

#: what is to get its traffic back and ends again is started this often without waiting for the router, after so many
#: seconds each time; then the router has its time
REVIVAL_PAUSES_S = (0.1, 0.5, 1.0, 2.0)
#: how long a router that has just ended, and is being started again, may take until it says what it serves (Envoy: some
#: 0.2 s on a quiet machine), and the pause between two askings
VERIFY_S, VERIFY_PAUSE_S = 5.0, 0.1


def summary(routing: Routing | None) -> str:
    """One clause: who gets what."""
    if routing is None:
        return "no traffic"
    if routing.hold is not None:
        return f"requests wait up to {format_duration(routing.hold)}" if routing.hold else "requests get 503"
    shares = []
    for pool, share in ((routing.stable, 100 - routing.weight), (routing.candidate, routing.weight)):
        if pool is not None and share:
            shares.append(f"{share} % to {pool.version}")
    return ", ".join(shares) or "no traffic"


def instances_of(routing: Routing | None) -> frozenset[str]:
    return frozenset(id for pool in (routing.pools if routing is not None else ()) for id in pool.instances)


async def route(context: Context, routing: Routing | None, *, back: bool = False) -> None:
    """Store what is wanted, then make the router serve it: a crash in between leaves a wish that recovery completes.

    back   to what served before: that is where we must end up, healthy or not
    """
    world = context.world
    world.store.set_routing(context.name, routing)
    try:
        if routing is None:
            await world.router.remove(context.name, context.spec.drain_timeout)
        else:
            await world.router.apply(context.name, traffic_of(context, routing), ill_too=back)
    except RouterError as error:
        raise RolloutFailed(f"The router did not take the new routing ({summary(routing)}): {error}") from error
    world.fleet.unmute(routing)


def traffic_of(context: Context, routing: Routing) -> Traffic:
    """The routing, resolved to the addresses of those that the rollout does not go on without."""
    return context.world.fleet.traffic(routing, context.absence.hosts)


async def route_while_alive(
    context: Context, routing: Routing | None, ids: Collection[str], *, back: bool = False
) -> str | None:
    """As route(), but given up as soon as one of these instances ends: the router would wait for it in vain.

    Returns how it ended; None: the router serves the routing.
    """
    routed = asyncio.ensure_future(route(context, routing, back=back))
    ended = asyncio.ensure_future(context.world.readiness.first_end(ids))
    try:
        await asyncio.wait({routed, ended}, return_when=asyncio.FIRST_COMPLETED)
        if routed.done():
            await routed
            return None
        return await ended
    finally:
        for task in (routed, ended):
            task.cancel()
        await asyncio.wait({routed, ended})
        if not routed.cancelled():
            routed.exception()  # retrieved, whatever is raised instead


async def revive(context: Context, routing: Routing | None) -> None:
    """What is to get traffic again runs: one may have died meanwhile, and nobody else may act while a rollout runs."""
    world = context.world
    ids = [id for id in instances_of(routing) if world.store.instance(id) is not None]
    await where_reached(context, *(world.fleet.start_again(id) for id in ids))


@dataclass(frozen=True)
class ShiftTraffic(Step):
    """The router serves `after`. None: nothing for this deployment."""

    kind: ClassVar[str] = "shift_traffic"
    guards: ClassVar[bool] = True
    before: Routing | None
    after: Routing | None

    def describe(self) -> str:
        return f"shift traffic: {summary(self.after)}"

    def bound(self, spec: Spec) -> float | None:
        return max(spec.progress_deadline, spec.drain_timeout + 60.0)

    async def run(self, context: Context) -> str:
        new = instances_of(self.after) - instances_of(self.before)
        try:
            ending = await route_while_alive(context, self.after, new)
        except RolloutFailed:
            if not await any_lost(context, instances_of(self.after)):
                raise
            ending = await route_while_alive(context, self.after, new)  # to those that are left
        if ending:
            raise HealthCheckFailed(f"While the router took the new routing, {ending}", cause=ending)
        return summary(self.after)

    async def undo(self, context: Context) -> str:
        for pause in REVIVAL_PAUSES_S:
            await revive(context, self.before)
            ending = await route_while_alive(context, self.before, instances_of(self.before), back=True)
            if ending is None:
                return f"back to: {summary(self.before)}"
            context.say(f"warning: {ending}; starting it again")
            await context.world.clock.sleep(pause)
        await revive(context, self.before)
        await route(context, self.before, back=True)
        return f"back to: {summary(self.before)}"


@dataclass(frozen=True)
class VerifyTraffic(Step):
    """The running router, asked, says that it serves `routing`. Nothing old is stopped before that."""

    kind: ClassVar[str] = "verify_traffic"
    guards: ClassVar[bool] = True
    routing: Routing

    def describe(self) -> str:
        return "ask the router whether it serves that"

    async def run(self, context: Context) -> str:
        world, until = context.world, context.world.clock.monotonic() + VERIFY_S
        told: Traffic | None = None
        while True:
            traffic = traffic_of(context, self.routing)
            served = await world.router.verify(context.name, traffic)
            if served:
                return f"the router serves: {summary(self.routing)}"
            if served is False and traffic != told and world.is_far(context.spec.environment):
                # A host may be gone, or back, since the router was told.
                told = traffic
                await route(context, self.routing)
                continue
            if world.clock.monotonic() >= until:
                break
            await world.clock.sleep(VERIFY_PAUSE_S)
        if served is None:
            raise RolloutFailed(
                "The router cannot be asked whether it serves the new version.",
                cause=f"its admin socket has not answered for {format_duration(VERIFY_S)}",
            )
        raise RolloutFailed(
            f"The router took the new routing but does not serve it ({summary(self.routing)}).",
            cause="the router's own view differs from what was applied",
        )


@dataclass(frozen=True)
class DrainInstances(Step):
    """These instances, which get no traffic any more, have no connection left, or `drain_timeout` is over."""

    kind: ClassVar[str] = "drain"
    instances: tuple[str, ...]

    def describe(self) -> str:
        return f"let requests of {len(self.instances)} old instance{'s' if len(self.instances) != 1 else ''} end"

    def bound(self, spec: Spec) -> float | None:
        return spec.drain_timeout + 60.0

    async def run(self, context: Context) -> str:
        return await drain(context, self.instances)
