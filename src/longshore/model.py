"""The nouns (docs/glossary.md) as frozen records, and the two pure rules about them.

Inside Longshore times are float seconds since the epoch (UTC), durations float seconds, weights percent 0-100, sizes
bytes. RFC 3339 and Go durations exist only in `api/wire.py`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

# --------------------------------------------------------------------------------------------- what is asked for


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How an instance's health is asked for. Times in seconds."""

    #: between two probes of an instance that serves; while one starts, probing is eager (20 ms growing to this)
    interval: float = 5.0
    #: bound on one probe
    timeout: float = 2.0
    #: how long an instance may take from its start until it is ready
    deadline: float = 60.0
    #: successes in a row that make an instance ready
    healthy_threshold: int = 2
    #: failures in a row that make a ready instance unready
    unhealthy_threshold: int = 3
    #: how long an instance must have been ready to count as available; a rollout waits that long for each new one
    min_ready: float = 0.0


@dataclass(frozen=True, slots=True)
class Rolling:
    """A count, or a percentage of `replicas` such as "25%". Surge rounds up, unavailable down (as Kubernetes does)."""

    max_surge: int | str = "25%"
    max_unavailable: int | str = 0


@dataclass(frozen=True, slots=True)
class CanaryStep:
    #: percent of the requests that the candidate gets, 1-100
    weight: int
    #: seconds the candidate is watched at that weight; "manual" waits for promote or resume
    pause: float | Literal["manual"] = 10.0


@dataclass(frozen=True, slots=True)
class Analysis:
    """Limits the candidate is held to, against the stable version in the same window. See docs/guide/strategies.md."""

    #: requests that each side must have answered before the figures are judged
    min_requests: int = 50
    #: percentage points that the candidate's error rate may lie above the stable version's
    max_error_rate_increase: float = 1.0
    #: the candidate's p95 latency may be at most this many times the stable version's …
    max_latency_ratio: float = 1.5
    #: … and is never held against it below this many seconds of difference (noise of fast applications)
    min_latency_increase: float = 0.05


@dataclass(frozen=True, slots=True)
class Canary:
    steps: tuple[CanaryStep, ...] = (CanaryStep(5), CanaryStep(25), CanaryStep(50), CanaryStep(100))
    analysis: Analysis = Analysis()
    #: keep each client on the version it met first (cookie `longshore_NAME`)
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class BlueGreen:
    #: seconds the old set stays warm after the switch, so that a rollback is the switch back
    keep_old: float = 60.0


@dataclass(frozen=True, slots=True)
class Recreate:
    #: seconds the router holds requests while nothing runs; 0 answers 503 with Retry-After at once
    hold: float = 30.0


@dataclass(frozen=True, slots=True)
class Resources:
    """Limits of each instance; None is unlimited."""

    #: bytes
    memory: int | None = None
    #: cores, such as 0.5
    cpu: float | None = None
    #: processes and threads
    tasks: int | None = None
    #: open files
    files: int | None = None


STRATEGY_NAMES = ("rolling", "blue-green", "canary", "recreate")
StrategyName = Literal["rolling", "blue-green", "canary", "recreate"]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a deploy asks for, complete: inherited and default values filled in. Stored with the release it made."""

    name: str
    version: str
    artifact_path: str
    environment: str = "default"
    strategy: StrategyName = "recreate"
    #: absolute; where releases/, current and shared/ live
    working_directory: str = ""
    service_name: str = ""
    health_check_url: str = ""
    rollback_on_failure: bool = True
    dependencies: tuple[str, ...] = ()
    pre_deploy_hooks: tuple[str, ...] = ()
    post_deploy_hooks: tuple[str, ...] = ()
    replicas: int = 1
    #: a string runs under /bin/sh -c, a list is the argv itself; None: the artifact says (Procfile, single executable)
    command: str | tuple[str, ...] | None = None
    #: the public port, where health_check_url does not name it
    port: int | None = None
    #: environment variables of the app
    configuration: Mapping[str, str] = field(default_factory=dict)
    shared_paths: tuple[str, ...] = ()
    health_check: HealthCheck = HealthCheck()
    rolling: Rolling = Rolling()
    canary: Canary = Canary()
    blue_green: BlueGreen = BlueGreen()
    recreate: Recreate = Recreate()
    #: bound on how long connections of an instance that leaves may go on
    drain_timeout: float = 30.0
    #: between SIGTERM and SIGKILL
    stop_timeout: float = 10.0
    #: bound on each hook
    hook_timeout: float = 300.0
    #: a rollout without progress for this long fails; each instance that becomes ready resets it
    progress_deadline: float = 600.0
    artifact_sha256: str = ""
    resources: Resources = Resources()
    post_deploy_failure: Literal["warn", "rollback"] = "warn"

    @property
    def public_port(self) -> int | None:
        """The port clients use: `port`, else the one of a local http health_check_url, else none."""
        if self.port is not None:
            return self.port
        if self.health_check_url and is_local_http(self.health_check_url):
            return urlsplit(self.health_check_url).port or 80
        return None

    @property
    def probe_path(self) -> str | None:
        """Path (and query) each instance is asked for on its own port; None: a TCP connect is the check."""
        if self.health_check_url and is_local_http(self.health_check_url):
            parts = urlsplit(self.health_check_url)
            return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return None

    @property
    def external_check(self) -> str | None:
        """A health_check_url that is polled as it stands, as a check of the whole."""
        if self.health_check_url and not is_local_http(self.health_check_url):
            return self.health_check_url
        return None


def is_local_http(url: str) -> bool:
    """Whether the URL is http on this machine, so that its port is the deployment's public port.

    Names are compared, never looked up: what a name resolves to may change between two rollouts.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme != "http" or not host:
        return False
    if host in {"localhost", socket.gethostname().lower()} or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


# --------------------------------------------------------------------------------------------- what there is


@dataclass(frozen=True, slots=True)
class Deployment:
    """The named, long-lived thing of the API. Facts only; state and health are derived."""

    name: str
    environment: str
    working_directory: str
    public_port: int | None
    #: the committed version; None until the first commit
    current_version: str | None
    #: version that was committed before `current_version`; what rollback goes to if it was healthy
    previous_version: str | None
    #: the desired routing; None without a port or before the first shift
    routing: Routing | None
    created_at: float
    updated_at: float
    #: ids of the instances that were committed; whatever else runs belongs to an open rollout or is swept
    instances: tuple[str, ...] = ()
    #: it is to go, "all" of it or without its files; begun is not yet done, and a restarted manager goes on with it
    deleting: Literal["all", "keep_files"] | None = None
    #: nothing is to run until it is started, deployed or rolled back
    stopped: bool = False
    #: grows with each accepted change that somebody asked for, and with its end; the store counts it
    revision: int = 0
    #: who asked for the last of them
    changed_by: str = ""


class ReleaseState(StrEnum):
    #: its directory is being made by a rollout
    fetching = "fetching"
    #: its directory is complete
    kept = "kept"
    #: its directory is gone
    pruned = "pruned"


@dataclass(frozen=True, slots=True)
class Release:
    """One version, unpacked and immutable, in `path`."""

    deployment: str
    version: str
    #: SHA-256 of the artifact: of the file, or of the listing of a directory (artifacts/directory.py)
    sha256: str
    spec: Spec
    #: what runs: a shell line or an argv; None is files only
    command: str | tuple[str, ...] | None
    path: str
    size_bytes: int
    state: ReleaseState
    created_at: float
    #: when it was first committed; None: never served, so never a target of a rollback
    healthy_at: float | None = None
    #: why it is never pruned, "" where nobody said; None: it may be
    pinned: str | None = None

    @property
    def runs(self) -> bool:
        return self.command is not None


class InstanceState(StrEnum):
    #: intended; a process may or may not exist (its launch id tells)
    starting = "starting"
    #: started; `handle` finds it
    running = "running"
    #: stopped by a rollout that may still start it again
    stopped = "stopped"


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a release."""

    #: `NAME-NUMBER-SLOT`, NUMBER being the rollout's: unique for ever
    id: str
    deployment: str
    version: str
    slot: int
    port: int | None
    state: InstanceState
    #: what the driver needs to find it again; None while starting
    handle: Mapping[str, Any] | None
    #: in the child's environment, so that one started but not yet recorded can be found
    launch_id: str
    started_at: float | None = None
    restarts: int = 0
    #: set on the old set that blue-green keeps warm: when it is retired
    retire_at: float | None = None


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


# --------------------------------------------------------------------------------------------- rollouts


class RolloutKind(StrEnum):
    deploy = "deploy"
    rollback = "rollback"
    #: the committed release again, in new instances
    restart = "restart"
    #: more or fewer instances of the committed release
    scale = "scale"
    #: a new release of the committed one's files, with another spec
    change = "change"
    #: no instances at all, until the next start, deploy or rollback
    stop = "stop"
    #: the committed release, after a stop
    start = "start"


class RolloutStatus(StrEnum):
    #                                  ┌────────────► succeeded
    #   running ──► committed ─────────┘
    #    │  ▲ │
    #    ▼  │ ├────► unwinding ──► unwound      everything is as it was
    #   paused│          └───────► stuck ──┐    an undo failed; a person is needed
    #         └────► held ─────────────────┴──► unwound
    #   held: rollback_on_failure is false. The next deploy or rollback undoes what held and stuck have left.
    #
    #: steps before the commit
    running = "running"
    #: waits for resume, promote or abort; no deadline counts
    paused = "paused"
    #: undoing, in reverse
    unwinding = "unwinding"
    #: past the commit: what is left is finished, never undone
    committed = "committed"
    succeeded = "succeeded"
    unwound = "unwound"
    held = "held"
    stuck = "stuck"

    @property
    def is_open(self) -> bool:
        """In progress: no other rollout of the deployment may begin."""
        return self in OPEN_STATUSES

    @property
    def is_failed(self) -> bool:
        return self in (RolloutStatus.unwound, RolloutStatus.held, RolloutStatus.stuck)


#: status → what may follow it. The store enforces it: `UPDATE … WHERE status IN (…)`, and no matching row is an error.
TRANSITIONS: dict[RolloutStatus, frozenset[RolloutStatus]] = {
    RolloutStatus.running: frozenset(
        {RolloutStatus.paused, RolloutStatus.unwinding, RolloutStatus.committed, RolloutStatus.held}
    ),
    RolloutStatus.paused: frozenset({RolloutStatus.running, RolloutStatus.unwinding, RolloutStatus.held}),
    RolloutStatus.unwinding: frozenset({RolloutStatus.unwound, RolloutStatus.stuck}),
    RolloutStatus.committed: frozenset({RolloutStatus.succeeded}),
    RolloutStatus.succeeded: frozenset(),
    RolloutStatus.unwound: frozenset(),
    RolloutStatus.held: frozenset({RolloutStatus.unwound, RolloutStatus.stuck}),
    RolloutStatus.stuck: frozenset({RolloutStatus.unwound, RolloutStatus.stuck}),
}

#: the schema's partial unique index names the same four
OPEN_STATUSES = frozenset(
    {RolloutStatus.running, RolloutStatus.paused, RolloutStatus.unwinding, RolloutStatus.committed}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a rollout failed. code: one of errors.FAILURES; operation: the step's name."""

    code: str
    message: str
    operation: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One attempt to take a deployment to a release."""

    id: str
    deployment: str
    #: 1, 2, 3 … within the deployment
    number: int
    kind: RolloutKind
    version: str
    previous_version: str | None
    strategy: StrategyName
    status: RolloutStatus
    spec: Spec
    requested_by: str
    started_at: float
    ended_at: float | None = None
    message: str = ""
    failure: Failure | None = None
    #: an abort was asked for; its reason
    abort_requested: str | None = None
    #: why what stood against it was passed over; None: nothing was
    override: str | None = None


class StepStatus(StrEnum):
    running = "running"
    completed = "completed"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A row of the journal: one step run, or undone. It *is* the entry of `steps[]` in the API."""

    rollout_id: str
    #: index in the plan
    position: int
    name: str
    #: False: the run; True: its undo
    undo: bool
    status: StepStatus
    started_at: float
    ended_at: float | None = None
    message: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """One message of the WebSocket. seq counts from 1 within the rollout."""

    rollout_id: str
    deployment: str
    seq: int
    step: str
    #: running | success | failed | warning
    status: str
    message: str
    progress_pct: int
    timestamp: float
    #: nothing follows in this rollout
    last: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A line that an operator reads in the deployment's history. type: info | warning | error."""

    id: int
    deployment: str
    timestamp: float
    type: str
    message: str
    source: str
    rollout_id: str | None = None


# --------------------------------------------------------------------------------------------- what is derived


class State(StrEnum):
    unknown = "unknown"
    deploying = "deploying"
    healthy = "healthy"
    unhealthy = "unhealthy"
    failed = "failed"
    rolling_back = "rolling_back"


class Health(StrEnum):
    unknown = "unknown"
    healthy = "healthy"
    unhealthy = "unhealthy"
    degraded = "degraded"


def derive_health(*, desired: int, ready: int, known: bool = True) -> Health:
    """Health of what is committed: all instances ready, some, none; unknown where they cannot be asked.

    desired   instances wanted; 0 is a release of files only, whose one check counts as one (`ready` 0 or 1 of 1)
    """
    if not known:
        return Health.unknown
    if ready >= desired:
        return Health.healthy
    return Health.degraded if ready > 0 else Health.unhealthy


def derive_state(
    *, open_rollout: Rollout | None, last_rollout: Rollout | None, current_version: str | None, health: Health
) -> State:
    """The one answer to "what state is it in", from facts alone.

    A rollout in progress decides; then a last rollout that failed and was not unwound, or nothing that ever served;
    then the health of what is committed. An unwound failure leaves the old version serving, so it does not show here.
    """
    if open_rollout is not None:
        going_back = open_rollout.kind is RolloutKind.rollback or open_rollout.status is RolloutStatus.unwinding
        return State.rolling_back if going_back else State.deploying
    if current_version is None:
        return State.failed
    if last_rollout is not None and last_rollout.status in (RolloutStatus.held, RolloutStatus.stuck):
        return State.failed
    match health:
        case Health.unknown:
            return State.unknown
        case Health.healthy | Health.degraded:
            return State.healthy
        case Health.unhealthy:
            return State.unhealthy
