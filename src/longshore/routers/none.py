"""NoneRouter: for deployments without a port. Nothing listens, nothing is shifted, nothing has to drain."""

from __future__ import annotations

from collections.abc import Mapping

from longshore.drivers.base import Fingerprint
from longshore.routers.base import Figures, RouterError, Target, Traffic


class NoneRouter:
    name = "none"

    def capabilities(self) -> frozenset[str]:
        return frozenset()

    async def fingerprint(self) -> Fingerprint:
        return Fingerprint(True, "sends no traffic; for deployments without a port")

    async def restore(self, traffic: Mapping[str, Traffic]) -> None:
        for name, each in traffic.items():
            _refuse(name, each)

    async def apply(self, name: str, traffic: Traffic, *, ill_too: bool = False) -> None:
        _refuse(name, traffic)

    async def read(self, name: str) -> Traffic | None:
        return None

    async def verify(self, name: str, traffic: Traffic) -> bool | None:
        return False

    async def drained(self, targets: tuple[Target, ...], bound_s: float) -> frozenset[Target]:
        return frozenset()

    async def figures(self, name: str, pool: str) -> Figures | None:
        return None

    async def remove(self, name: str, drain_s: float) -> None:
        pass

    async def close(self) -> None:
        pass


def _refuse(name: str, traffic: Traffic) -> None:
    raise RouterError(
        f"{name} has port {traffic.port}, but the router of its environment is `none`; "
        "set the environment's router to `envoy`, or deploy without a port"
    )
