"""What runs, and where requests go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from longshore.client.results.base import Result


@dataclass(frozen=True, kw_only=True)
class EndpointTarget:
    """host: name of the machine, "" for the manager's own; address: its IP address."""

    instance: str
    address: str
    port: int
    version: str = ""
    host: str = ""
    ready: bool = False


@dataclass(frozen=True, kw_only=True)
class EndpointPool:
    """pool: stable | candidate; weight: percent of the requests, for all its targets together."""

    pool: str
    weight: int
    targets: tuple[EndpointTarget, ...]
    version: str = ""
    health_path: str | None = None


@dataclass(frozen=True, kw_only=True)
class Endpoints(Result):
    """Where requests are to go. serves: False while nobody is to get any; revision: another one with each change."""

    deployment: str
    revision: str
    pools: tuple[EndpointPool, ...]
    serves: bool = False
    port: int | None = None
    router: str = ""
    environment: str = ""


@dataclass(frozen=True, kw_only=True)
class Share:
    """pool: stable | candidate; weight: percent of the requests."""

    pool: str
    version: str
    weight: int


@dataclass(frozen=True, kw_only=True)
class Instance:
    """state: starting | healthy | unhealthy | draining | stopped; message: what its last probe said."""

    id: str
    version: str
    state: str
    host: str = ""
    port: int | None = None
    message: str = ""
    started_at: datetime | None = None
    restarts: int = 0


@dataclass(frozen=True, kw_only=True)
class Instances(Result):
    """traffic: nothing where nobody gets requests; revision: another one whenever anything else of this is."""

    deployment: str
    revision: str
    traffic: tuple[Share, ...] = ()
    instances: tuple[Instance, ...] = ()
    #: of the rollout in progress
    rollout_id: str | None = None
