"""MockRouter: a router in memory, for tests and dry runs. It does as it is told, or refuses, or lies, as scripted.

router = MockRouter()
router.refuse["shop"] = "port 80 is taken"     apply() raises that
router.lie["shop"] = False                     verify() says so, whatever was applied; None: it cannot be asked
router.busy = {Target("127.0.0.1", 20001)}     drained() returns those of them that were asked about
router.figure["shop", "3f9a2c1e"] = Figures(…) figures() answers that
router.history                                 every (name, traffic) that took effect, oldest first; None: removed
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from longshore.drivers.base import Fingerprint
from longshore.routers.base import Figures, RouterError, Target, Traffic


class MockRouter:
    name = "mock"

    def __init__(self) -> None:
        self.applied: dict[str, Traffic] = {}
        self.history: list[tuple[str, Traffic | None]] = []
        self.refuse: dict[str, str] = {}
        self.lie: dict[str, bool | None] = {}
        self.busy: set[Target] = set()
        self.figure: dict[tuple[str, str], Figures] = {}
        #: set: apply() waits for it before anything takes effect
        self.gate: asyncio.Event | None = None
        self.usable = Fingerprint(True, "a router in memory")
        self.closed = False

    def capabilities(self) -> frozenset[str]:
        return frozenset({"weights", "hold", "figures", "sticky", "drain"})

    async def fingerprint(self) -> Fingerprint:
        return self.usable

    async def restore(self, traffic: Mapping[str, Traffic]) -> None:
        self.applied = dict(traffic)
        self.history += traffic.items()

    async def apply(self, name: str, traffic: Traffic, *, ill_too: bool = False) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if name in self.refuse:
            raise RouterError(self.refuse[name])
        taken = [other for other, each in self.applied.items() if other != name and each.port == traffic.port]
        if taken:
            raise RouterError(f"port {traffic.port} is already the port of {taken[0]}; choose another for {name}")
        if self.applied.get(name) != traffic:
            self.applied[name] = traffic
            self.history.append((name, traffic))

    async def read(self, name: str) -> Traffic | None:
        return self.applied.get(name)

    async def verify(self, name: str, traffic: Traffic) -> bool | None:
        return self.lie.get(name, self.applied.get(name) == traffic)

    async def drained(self, name: str, targets: tuple[Target, ...], bound_s: float) -> frozenset[Target]:
        return frozenset(self.busy.intersection(targets))

    async def figures(self, name: str, pool: str) -> Figures | None:
        traffic = self.applied.get(name)
        pools = [] if traffic is None else [p.id for p in (traffic.stable, traffic.candidate) if p is not None]
        return self.figure.get((name, pool), Figures("0", 0, 0, 0, 0, 0, {})) if pool in pools else None

    async def remove(self, name: str, drain_s: float) -> None:
        if self.applied.pop(name, None) is not None:
            self.history.append((name, None))

    async def close(self) -> None:
        self.closed = True

    def served(self, name: str) -> list[frozenset[Target]]:
        """The targets that took requests after each change of a deployment, in order: for asserting availability."""
        return [_serving(each) for other, each in self.history if other == name]


def _serving(traffic: Traffic | None) -> frozenset[Target]:
    if traffic is None:
        return frozenset()
    stable = traffic.stable.targets if traffic.stable is not None and traffic.weight < 100 else ()
    candidate = traffic.candidate.targets if traffic.candidate is not None and traffic.weight > 0 else ()
    return frozenset({*stable, *candidate})
