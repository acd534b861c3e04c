"""Letting requests end: of instances that get none any more, before they are stopped.

Envoy's connections to instances on this machine are counted by its router. All others, those of a balancer of the
user's own and those to other hosts, are counted where the instance runs: by its driver.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from longshore.drivers.base import DriverError, Handle
from longshore.hosts.base import HERE
from longshore.rollout.world import World

#: readings without a connection, one after the other, that mean there is none, and seconds between two
READINGS, POLL_S = 2, 0.05
#: the pause grows to this, in seconds, while there are connections: asking may be a way to another machine
SLOWEST_S = 1.0
#: bound on one asking, in seconds, however little is left of the time to drain
ASK_S = 5.0


@dataclass(frozen=True, slots=True)
class Drained:
    """left: instances that still have connections, of `total`; warnings: whom could not be asked, and why"""

    total: int = 0
    left: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()


async def drained(world: World, name: str, environment: str, ids: tuple[str, ...], bound_s: float) -> Drained:
    """Wait until these instances of a deployment, which its traffic names no more, have no connection left, at most
    `bound_s`. They are probed no more: our own probes are connections, too.

    One on a host that cannot be asked is taken for drained, with a warning.
    """
    world.fleet.mute(ids)
    targets = world.fleet.targets(ids)
    if not targets:
        return Drained()
    deadline = world.clock.monotonic() + bound_s
    busy = await world.router.drained(name, targets, bound_s)
    left = {target.instance for target in targets if target in busy}
    counted_here = "drain" in world.router_of(environment).capabilities()
    asked = [
        (instance.id, instance.handle, instance.port)
        for id in ids
        if (instance := world.store.instance(id)) is not None
        and instance.handle is not None
        and instance.port is not None
        and not (counted_here and instance.host == HERE)
    ]
    answers = await asyncio.gather(*(_is_left(world, environment, handle, port, deadline) for _, handle, port in asked))
    warnings = []
    for (id, _, _), answer in zip(asked, answers, strict=True):
        if isinstance(answer, str):
            warnings.append(f"{id} is taken to have no connections left, as nobody can tell: {answer}")
        elif answer:
            left.add(id)
    return Drained(len(targets), frozenset(left), tuple(warnings))


# --- private


async def _is_left(world: World, environment: str, handle: Handle, port: int, deadline: float) -> bool | str:
    """Whether somebody is still connected at the deadline; a sentence: why that cannot be told."""
    driver, clear, pause_s = world.driver_of(environment), 0, POLL_S
    while True:
        try:
            async with asyncio.timeout(max(ASK_S, deadline - world.clock.monotonic())):
                count = await driver.connections(handle, port)
        except DriverError as error:
            return str(error)
        except TimeoutError:
            return "it did not say within the time there is"
        if count is None:
            return False
        clear = clear + 1 if count == 0 else 0
        left_s = deadline - world.clock.monotonic()
        if clear == READINGS or left_s <= 0:
            return count > 0
        pause_s = POLL_S if count == 0 else min(2 * pause_s, SLOWEST_S)
        await world.clock.sleep(min(pause_s, left_s))
