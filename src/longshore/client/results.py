"""What the client answers with: the objects of the API as frozen records.

Times are aware UTC datetimes, durations float seconds, sizes bytes, percentages 0-100. `raw` is the JSON as it came,
with whatever a newer manager added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from longshore.client.decode import Seconds

#: rollouts with these statuses are not over (a committed one still drains)
OPEN_STATUSES = frozenset({"queued", "running", "paused", "unwinding", "committed"})


NO_TIME = Seconds(0)


@dataclass(frozen=True, kw_only=True)
class Result:
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What one version did while a canary was watched. Shares in percent, latencies in ms; None: not known."""

    requests: int
    failed_pct: float = 0.0
    errors_5xx_pct: float = 0.0
    hidden_pct: float = 0.0
    errors_4xx_pct: float = 0.0
    answers_3xx_pct: float = 0.0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """Evidence for a charge against the candidate: an e-value, at which it is proved from `needed` on."""

    charge: str
    e_value: float
    needed: float


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check of the canary has said so far."""

    name: str
    verdict: str
    passed: int = 0
    failed: int = 0
    limit: int = 1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a candidate was judged by. verdict: passed | failed | inconclusive; evidence: the strongest first."""

    verdict: str
    weight: int
    reason: str = ""
    min_requests: int = 0
    candidate: Observed | None = None
    stable: Observed | None = None
    evidence: tuple[Weighed, ...] = ()
    checks: tuple[Checked, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a rollout. status: running | completed | failed."""

    name: str
    status: str
    message: str = ""
    start_time: datetime | None = None
    end_time: datetime | None = None
    error: str = ""
    #: it is the undoing of that step
    undo: bool = False
    #: of a step that watched a canary
    verdict: Verdict | None = None

    @property
    def duration(self) -> float | None:
        """Seconds; None while it runs."""
        if self.start_time is None or self.end_time is None:
            return None
        return (self.end_time - self.start_time).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a rollout failed: the error the synchronous call would have answered with."""

    code: str
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Rollout(Result):
    """One attempt to take a deployment to a version: what `deploy` answers, and an entry of its history.

    The first eight fields are the answer of `POST /deployments`; the others are empty where the manager does not say.
    """

    version: str
    start_time: datetime
    end_time: datetime | None = None
    duration: Seconds = NO_TIME
    #: None while it is not over
    success: bool | None = None
    message: str = ""
    previous_version: str = ""
    steps: tuple[Step, ...] = ()
    id: str = field(default="", metadata={"keys": ("id", "rollout_id")})
    deployment: str = ""
    #: 1, 2, 3 … within the deployment
    number: int = 0
    #: deploy | rollback | restart | scale | change | stop | start
    kind: str = "deploy"
    strategy: str = ""
    #: queued | running | paused | unwinding | committed | succeeded | unwound | held | stuck | cancelled
    status: str = ""
    #: of one that is queued: turn | approval
    waiting_for: str | None = None
    requested_by: str = ""
    #: why a lock or a freeze window may be passed over
    override: str | None = None
    #: who else had to agree, and did
    approved_by: str | None = None
    error: Failure | None = None
    progress_pct: int = 0

    @property
    def is_over(self) -> bool:
        return self.status not in OPEN_STATUSES


@dataclass(frozen=True, kw_only=True)
class RollbackResult(Result):
    """version: what serves now."""

    message: str
    version: str
    timestamp: datetime


@dataclass(frozen=True, kw_only=True)
class Replicas:
    desired: int
    available: int
    ready: int
    updated: int


@dataclass(frozen=True, kw_only=True)
class Event(Result):
    """type: info | warning | error."""

    timestamp: datetime
    type: str
    message: str
    source: str
    id: int | None = None
    deployment: str = ""
    rollout_id: str | None = None
    #: what a candidate was judged by
    verdict: Verdict | None = None


@dataclass(frozen=True, kw_only=True)
class Events(Result):
    """Newest first."""

    events: tuple[Event, ...]


@dataclass(frozen=True, kw_only=True)
class Lock(Result):
    """Changes are refused, but for rollbacks and overrides. scope: deployment | environment; name: of that."""

    scope: str
    name: str
    #: name of the token
    holder: str
    message: str = ""
    since: datetime
    #: None: until it is unlocked
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Locks(Result):
    locks: tuple[Lock, ...]


@dataclass(frozen=True, kw_only=True)
class Token(Result):
    """What a token is known by. role: read | deploy | admin."""

    name: str
    role: str
    #: that it may change; None: all
    environments: tuple[str, ...] | None = None
    created_by: str = ""
    created_at: datetime
    #: None: until it is revoked
    expires_at: datetime | None = None
    #: to the minute; None: never
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    #: its text; only where it was just made
    token: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Tokens(Result):
    tokens: tuple[Token, ...]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What was asked for and has not begun. rollout_id: the id that its rollout will have."""

    rollout_id: str
    kind: str
    version: str
    requested_by: str
    since: datetime
    #: when it is cancelled, if it has not begun
    expires_at: datetime
    #: turn | approval
    waiting_for: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Status(Result):
    """state: unknown | deploying | healthy | unhealthy | failed | rolling_back; health: unknown | healthy | …"""

    name: str
    version: str
    environment: str
    state: str
    health: str
    last_updated: datetime
    replicas: Replicas
    configuration: Mapping[str, str] = field(default_factory=dict)
    #: newest first, at most 50
    events: tuple[Event, ...] = ()
    strategy: str = ""
    #: what served before
    previous_version: str = ""
    #: the public port, where it has one
    port: int | None = None
    #: the rollout in progress
    rollout_id: str | None = None
    #: what `if_revision` of a changing method is compared with
    revision: int = 0
    #: nothing runs until it is started, deployed or rolled back
    stopped: bool = False
    #: its own, else that of its environment
    lock: Lock | None = None
    #: first come first
    queue: tuple[Waiting, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A row of the list."""

    name: str
    version: str
    environment: str
    state: str
    health: str
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Deployments(Result):
    """A page of the list, sorted by name. total: all that match, on whatever page."""

    deployments: tuple[Summary, ...]
    total: int
    limit: int
    offset: int


@dataclass(frozen=True, kw_only=True)
class Rollouts(Result):
    """A page of a deployment's history, newest first."""

    rollouts: tuple[Rollout, ...]
    total: int
    limit: int = 0
    offset: int = 0


@dataclass(frozen=True, kw_only=True)
class Issue:
    """field: dotted path such as `health_check.interval`; severity: error | warning."""

    field: str
    message: str
    severity: str = "error"


@dataclass(frozen=True, kw_only=True)
class Validation(Result):
    """issues: what a deploy would refuse; warnings: what would surprise."""

    valid: bool
    issues: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    name: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A field that a deploy would change, compared with what serves; the values are for display."""

    field: str
    before: Any = dataclasses.field(default=None, metadata={"keys": ("from",)})
    after: Any = dataclasses.field(default=None, metadata={"keys": ("to",)})


@dataclass(frozen=True, kw_only=True)
class Preview(Result):
    """What a deploy would do."""

    steps: tuple[PlannedStep, ...]
    changes: tuple[Change, ...] = ()
    warnings: tuple[Issue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    status: str
    message: str = ""
    duration: Seconds = NO_TIME
    last_run: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Component:
    name: str
    status: str
    message: str = ""
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Health(Result):
    """What probing now found. overall: healthy | unhealthy | degraded | unknown."""

    overall: str
    components: Mapping[str, Component]
    last_check: datetime
    message: str = ""


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
class Release(Result):
    """One version of a deployment. state: fetching | kept | pruned."""

    version: str
    state: str
    sha256: str = ""
    size_bytes: int = 0
    created_at: datetime | None = None
    #: when it was first committed; None: never served, so never a target of a rollback
    healthy_at: datetime | None = None
    #: it serves now
    current: bool = False
    #: it served before, and is what a rollback goes to
    previous: bool = False
    strategy: str = ""
    #: it is never pruned
    pinned: bool = False
    #: why, where somebody said so
    pinned_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Releases(Result):
    releases: tuple[Release, ...]


@dataclass(frozen=True, kw_only=True)
class Pruned(Result):
    """removed: versions, newest first."""

    removed: tuple[str, ...] = ()
    freed_bytes: int = 0


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


@dataclass(frozen=True, kw_only=True)
class LogLine(Result):
    """It was written between `earliest` and `time`; None: not known."""

    instance: str
    line: str
    time: datetime | None = None
    earliest: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LogProblem:
    """An instance whose output cannot be read now."""

    instance: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Logs(Result):
    """Oldest first."""

    lines: tuple[LogLine, ...]
    problems: tuple[LogProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HookLine(Result):
    """phase: pre_deploy, post_deploy or canary_check."""

    phase: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Hooks(Result):
    """Oldest first within each phase."""

    lines: tuple[HookLine, ...]


@dataclass(frozen=True, kw_only=True)
class Deleted(Result):
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress(Result):
    """A message of the WebSocket. status: running | success | failed | warning; seq counts from 1 in the rollout."""

    step: str
    status: str
    message: str = ""
    progress_pct: int = 0
    timestamp: datetime
    rollout_id: str = ""
    seq: int = 0
    #: what a candidate is judged by, at that moment
    verdict: Verdict | None = None

    @property
    def last(self) -> bool:
        """Nothing follows in this rollout: only its end is at 100 percent."""
        return self.progress_pct >= 100 and self.status in ("success", "failed")
