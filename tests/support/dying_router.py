"""A router in memory that dies as Envoy does: nothing is served until its keeper has started it again."""

from __future__ import annotations

from collections.abc import Mapping

from longshore.clock import Clock
from longshore.routers.base import RouterError, Target, Traffic
from longshore.routers.mock import MockRouter

#: how long a change waits for a router that is being started again: stages.HOSTS_S
PATIENCE_S = 15.0
LOOK_S = 0.25


class DyingRouter(MockRouter):
    """`die()`; it runs again `back()`, or when a manager restores it. A change waits for that, and fails in the end."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
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

    async def apply(self, name: str, traffic: Traffic) -> None:
        await self._until_it_runs()
        await super().apply(name, traffic)

    async def verify(self, name: str, traffic: Traffic) -> bool | None:
        return None if self.dead else await super().verify(name, traffic)

    async def remove(self, name: str, drain_s: float) -> None:
        await self._until_it_runs()
        await super().remove(name, drain_s)

    async def drained(self, targets: tuple[Target, ...], bound_s: float) -> frozenset[Target]:
        left = await super().drained(targets, bound_s)
        if left:
            await self._clock.sleep(bound_s)
        return left

    async def _until_it_runs(self) -> None:
        deadline = self._clock.monotonic() + PATIENCE_S
        while self.dead:
            if self._clock.monotonic() >= deadline:
                raise RouterError(f"the router does not answer, for {PATIENCE_S:g} s now")
            await self._clock.sleep(LOOK_S)
