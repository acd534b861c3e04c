"""What the use cases answer with: plain records that the API turns into JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from longshore.errors import Issue
from longshore.model import Deployment, Event, Health, Lock, Rollout, Spec, State, Waiting


@dataclass(frozen=True, slots=True)
class Validation:
    """issues: what a deploy would refuse; warnings: what would surprise."""

    issues: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()

    @property
    def valid(self) -> bool:
        return not self.issues


@dataclass(frozen=True, slots=True)
class Replicas:
    desired: int
    #: ready for `min_ready`
    available: int
    #: passing now
    ready: int
    #: on the newest release
    updated: int


@dataclass(frozen=True, slots=True)
class Status:
    deployment: Deployment
    #: the committed version, else the one being deployed
    version: str
    state: State
    health: Health
    last_updated: float
    replicas: Replicas
    #: spec of what is committed (or being deployed for the first time)
    spec: Spec
    #: newest first, at most 50
    events: tuple[Event, ...]
    open_rollout: Rollout | None = None
    #: first come first
    queue: tuple[Waiting, ...] = ()
    #: its own, else that of its environment
    lock: Lock | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """A row of the list."""

    name: str
    version: str
    environment: str
    state: State
    health: Health
    updated_at: float


@dataclass(frozen=True, slots=True)
class CheckReport:
    name: str
    #: healthy | unhealthy | unknown
    status: str
    message: str
    duration_s: float
    last_run: float


@dataclass(frozen=True, slots=True)
class ComponentReport:
    name: str
    status: str
    message: str
    checks: tuple[CheckReport, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthReport:
    overall: Health
    components: Mapping[str, ComponentReport]
    last_check: float
    message: str


@dataclass(frozen=True, slots=True)
class EndpointTarget:
    """host: name of the machine, "" for the manager's own; address: its IP address"""

    instance: str
    version: str
    host: str
    address: str
    port: int
    ready: bool


@dataclass(frozen=True, slots=True)
class EndpointPool:
    """pool: stable | candidate; weight: percent of the requests"""

    pool: str
    version: str
    weight: int
    health_path: str | None
    targets: tuple[EndpointTarget, ...]


@dataclass(frozen=True, slots=True)
class EndpointList:
    """Where requests for a deployment are to go, whoever sends them there.

    port      the public one; None: nothing is routed
    serves    False: nobody is to get requests
    revision  another one whenever anything else of this is
    """

    deployment: str
    environment: str
    router: str
    port: int | None
    serves: bool
    revision: str
    pools: tuple[EndpointPool, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A field that a deploy would change, compared with what serves. Values are for display, secrets masked."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a deploy would do, without doing it."""

    steps: tuple[PlannedStep, ...]
    changes: tuple[Change, ...] = ()
    warnings: tuple[Issue, ...] = ()
    issues: tuple[Issue, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Share:
    """pool: stable | candidate; weight: percent of the requests"""

    pool: str
    version: str
    weight: int


@dataclass(frozen=True, slots=True)
class InstanceReport:
    """state: starting | healthy | unhealthy | draining | stopped; message: what its last probe said"""

    id: str
    version: str
    host: str
    port: int | None
    state: str
    message: str
    started_at: float | None
    restarts: int


@dataclass(frozen=True, slots=True)
class InstanceList:
    """What runs of a deployment, and who gets the requests.

    rollout_id   of the rollout in progress
    traffic      nothing where nobody gets requests
    revision     another one whenever anything else of this is
    """

    deployment: str
    rollout_id: str | None
    traffic: tuple[Share, ...]
    instances: tuple[InstanceReport, ...]
    revision: str
