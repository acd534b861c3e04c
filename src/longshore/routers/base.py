"""What sends traffic: the interface every router implements, and the records that cross it.

A router is told the *whole* traffic of a deployment, never a change to it: applying the same twice is applying it once,
and whatever was there before is replaced. It knows nothing of releases or instances, only pools of addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from longshore.drivers.base import Fingerprint


class RouterError(Exception):
    """The router did not take, or did not come to serve, what it was given. The message is for people."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """The address of one instance. host: an IP address."""

    host: str
    port: int
    #: its id, for people who look at what a router was told
    instance: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class TargetPool:
    """Targets that share one weight, one health path and one set of figures. id: 8 hex digits."""

    id: str
    targets: tuple[Target, ...]
    #: path the router's own health checks ask for; None: they connect by TCP
    health_path: str | None = None
    #: what runs there, for people
    version: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The whole traffic of one deployment, resolved to addresses."""

    port: int
    stable: TargetPool | None
    candidate: TargetPool | None = None
    #: percent of the requests that the candidate gets (0: it is known and warm, but gets none)
    weight: int = 0
    #: not None: `stable` has no targets yet; requests wait up to so many seconds for it (0: 503 with Retry-After)
    hold: float | None = None
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Figures:
    """Counters of one pool since some start; subtract two readings to get a window.

    `epoch` changes whenever the counters began anew (the router restarted, the pool was dropped and added): a window
    between two epochs is void. `latency_ms` maps the upper bound of a bucket (inf for the last) to its own count.
    """

    epoch: str
    requests: int
    errors_5xx: int
    errors_4xx: int
    #: tries that failed without the client seeing it, because another try succeeded
    retries: int
    connect_failures: int
    latency_ms: Mapping[float, int]
    answers_3xx: int = 0
    #: of `requests`, those that the other pool answered, as nobody here could
    taken_over: int = 0


class Router(Protocol):
    """One way of sending traffic. Instances may be addressed only while the router is told so by apply()."""

    name: str

    def capabilities(self) -> frozenset[str]:
        """Of "weights", "hold" (requests wait while nothing runs), "figures", "sticky", "drain" (drained() tells of the
        connections to instances on this machine)."""

    async def fingerprint(self) -> Fingerprint:
        """Can this router be used here, and if not, why."""

    async def restore(self, traffic: Mapping[str, Traffic]) -> None:
        """Called once when the manager starts, with the complete desired traffic of all deployments.

        Adopts what is already running without disturbing it, or starts it; with no deployments nothing is started.
        """

    async def apply(self, name: str, traffic: Traffic, *, ill_too: bool = False) -> None:
        """Make this the traffic of the deployment. Returns when it is in effect: new requests follow it and targets
        that are no longer named get none. Make-before-break: nothing is dropped on the way.

        ill_too   targets that do not pass the router's checks are waited for a moment only: they are what there is to
                  go back to, and served before
        Raises RouterError, with the reason, where it is refused (a port taken by somebody) or not in effect within
        bounds; what served before then still serves.
        """

    async def read(self, name: str) -> Traffic | None:
        """What was applied, as far as the router itself knows; None: no such deployment."""

    async def verify(self, name: str, traffic: Traffic) -> bool | None:
        """Ask the running router whether it serves this now. None: it cannot be asked."""

    async def drained(self, name: str, targets: tuple[Target, ...], bound_s: float) -> frozenset[Target]:
        """Wait until these targets of a deployment, which its traffic names no more, have no connection left as far as
        can be told from here, at most `bound_s`. Returns those that still have some."""

    async def figures(self, name: str, pool: str) -> Figures | None:
        """Counters of a pool; None: no figures (unknown pool, or the router cannot be asked)."""

    async def remove(self, name: str, drain_s: float) -> None:
        """No traffic for this deployment any more: stop listening, let what runs end for up to `drain_s`, forget it.
        Harmless where there is none."""

    async def close(self) -> None:
        """The manager leaves. The router, and all traffic, stays."""
