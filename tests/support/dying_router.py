"""A router in memory that dies as Envoy does: nothing is served until its keeper has started it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from longshore.clock import Clock
from longshore.routers.base import RouterError, Target, Traffic
from longshore.routers.mock import MockRouter

#: how long a change waits for a router that is being started again, and for targets that do not answer: stages.HOSTS_S
PATIENCE_S = 15.0
#: and for those that are taken as they are in the end: stages.ILL_S
ILL_S = 3.0
LOOK_S = 0.25


class DyingRouter(MockRouter):
    """`die()`; it runs again `back()`, or when a manager restores it. A change waits for that, and fails in the end.

    What is added to a deployment's targets has to answer, as ready_on(port) says, before anything is sent there.
    """

    def __init__(self, clock: Clock, ready_on: Callable[[int], bool]) -> None:
        super().__init__()
        self._clock, self._ready_on = clock, ready_on
        self.dead = False

    def die(self) -> None:
        self.dead = True

    def back(self) -> None:
        self.dead = False

    def takers(self, name: str) -> frozenset[Target]:
        """The targets that take requests now."""
        traffic = self.applied.get(name)
        if traffic is None or self.dead:
            return frozenset()
        stable = traffic.stable.targets if traffic.stable is not None and traffic.weight < 100 else ()
        candidate = traffic.candidate.targets if traffic.candidate is not None and traffic.weight > 0 else ()
        return frozenset({*stable, *candidate})

    def on_port(self, port: int) -> frozenset[Target]:
        """Who answers on a public port."""
        return next((self.takers(name) for name, each in self.applied.items() if each.port == port), frozenset())

    async def restore(self, traffic: Mapping[str, Traffic]) -> None:
        self.back()
        await super().restore(traffic)

    async def apply(self, name: str, traffic: Traffic, *, ill_too: bool = False) -> None:
        await self._until_it_runs()
        known = _ports(self.applied.get(name))
        deadline = self._clock.monotonic() + (ILL_S if ill_too else PATIENCE_S)
        while ill := [port for port in _ports(traffic) - known if not self._ready_on(port)]:
            if self._clock.monotonic() >= deadline:
                if ill_too:
                    break
                raise RouterError(f"{ill} do not pass the router's health check, for {PATIENCE_S:g} s now")
            await self._clock.sleep(LOOK_S)
        await super().apply(name, traffic)

    async def verify(self, name: str, traffic: Traffic) -> bool | None:
        return None if self.dead else await super().verify(name, traffic)

    async def remove(self, name: str, drain_s: float) -> None:
        await self._until_it_runs()
        await super().remove(name, drain_s)

    async def drained(self, name: str, targets: tuple[Target, ...], bound_s: float) -> frozenset[Target]:
        left = await super().drained(name, targets, bound_s)
        if left:
            await self._clock.sleep(bound_s)
        return left

    async def _until_it_runs(self) -> None:
        deadline = self._clock.monotonic() + PATIENCE_S
        while self.dead:
            if self._clock.monotonic() >= deadline:
                raise RouterError(f"the router does not answer, for {PATIENCE_S:g} s now")
            await self._clock.sleep(LOOK_S)


def _ports(traffic: Traffic | None) -> frozenset[int]:
    pools = (traffic.stable, traffic.candidate) if traffic is not None else ()
    return frozenset(target.port for pool in pools if pool is not None for target in pool.targets)
