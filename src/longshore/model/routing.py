"""Routing: which instances get which share of the requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pool:
    """A set of instances with a share of the traffic. id: 8 hex digits, opaque (Envoy's cluster, the sticky cookie)."""

    id: str
    version: str
    instances: tuple[str, ...]
    #: what the router's own checks ask for; None: TCP
    health_path: str | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """The whole desired routing of one deployment."""

    port: int
    stable: Pool | None
    candidate: Pool | None = None
    #: percent of the requests the candidate gets
    weight: int = 0
    #: not None: nothing serves; requests wait this many seconds for `stable` (0: 503 at once)
    hold: float | None = None
    sticky: bool = False

    @property
    def pools(self) -> tuple[Pool, ...]:
        return tuple(pool for pool in (self.stable, self.candidate) if pool is not None)
