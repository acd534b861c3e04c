"""What answers look like, for the OpenAPI and AsyncAPI documents. Answers are rendered by wire.py, which tests hold
against these; nothing here runs when a request is served.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from longshore.api.wire import ROLLED_BACK

Instant = Annotated[
    str,
    Field(
        json_schema_extra={"format": "date-time"}, examples=["2026-01-31T09:15:00.250Z"], description="RFC 3339, UTC."
    ),
]
Span = Annotated[str, Field(examples=["5m0s"], description="A Go duration.")]
Version = Annotated[str, Field(examples=["1.4.2"])]
DeploymentName = Annotated[str, Field(examples=["shop"])]
Uuid = Annotated[str, Field(examples=["019a3f0e-7c44-7d6a-9a51-0d6f3c1f2b7e"])]
Percent = Annotated[int, Field(ge=0, le=100, examples=[75])]
StateName = Literal["unknown", "deploying", "healthy", "unhealthy", "failed", "rolling_back"]
HealthName = Literal["unknown", "healthy", "unhealthy", "degraded"]
CheckStatus = Literal["healthy", "unhealthy", "unknown"]
StrategyLiteral = Literal["rolling", "blue-green", "canary", "recreate"]


class ErrorDetails(BaseModel, extra="allow"):
    """More keys may follow, by code: `issues`, `rollout_id`, `rolled_back`, `steps`, `retry_after` …"""

    deployment: Annotated[str, Field(examples=["shop"])]
    operation: Annotated[str, Field(examples=["health_check"], description="The step, or the request, that failed.")]
    cause: Annotated[str, Field(examples=["GET :8102/up: connection refused"])]


class ErrorBody(BaseModel):
    code: Annotated[str, Field(examples=["DEPLOYMENT_NOT_FOUND"])]
    message: Annotated[str, Field(examples=["There is no deployment 'shop'."])]
    details: ErrorDetails
    timestamp: Instant


class Error(BaseModel):
    """The form of every error."""

    error: ErrorBody


class Observed(BaseModel):
    """What one version did. Shares in percent; latencies in ms, null where none is known."""

    requests: int
    failed_pct: float
    errors_5xx_pct: float
    hidden_pct: Annotated[float, Field(description="Failures that a retry, or the other version, hid from clients.")]
    errors_4xx_pct: float
    answers_3xx_pct: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Weighed(BaseModel):
    """Evidence for a charge against the candidate: it is proved from `needed` on."""

    charge: Annotated[str, Field(examples=["failures"])]
    e_value: float
    needed: float


class Checked(BaseModel):
    name: str
    verdict: Literal["passed", "failed", "inconclusive"]
    passed: int
    failed: int
    limit: int


class VerdictReport(BaseModel):
    """What a candidate is judged by: in steps that watch a canary, and in messages and events of them."""

    verdict: Literal["passed", "failed", "inconclusive"]
    weight: Percent
    reason: str
    min_requests: int
    candidate: Observed | None
    stable: Observed | None
    evidence: Annotated[list[Weighed], Field(description="The strongest first.")]
    checks: list[Checked]


class Step(BaseModel):
    name: Annotated[str, Field(examples=["start_instances"])]
    status: Literal["running", "completed", "failed"]
    message: str
    start_time: Instant
    end_time: Annotated[Instant | None, Field(description="null while it runs")]
    error: str
    undo: Annotated[bool, Field(description="It is the undoing of that step.")]
    verdict: VerdictReport | None = None


class DeployResult(BaseModel):
    version: Version
    start_time: Instant
    end_time: Instant
    duration: Span
    success: bool
    message: str
    previous_version: Annotated[str, Field(examples=["1.4.1"], description='"" on the first deploy')]
    steps: list[Step]
    rollout_id: Uuid
    deployment: DeploymentName
    strategy: StrategyLiteral


class RollbackResult(BaseModel):
    message: Annotated[str, Field(examples=[ROLLED_BACK])]
    version: Annotated[str, Field(examples=["1.4.1"], description="What serves now.")]
    timestamp: Instant
    rollout_id: Uuid
    previous_version: Version


class RolloutError(BaseModel):
    code: Annotated[str, Field(examples=["HEALTH_CHECK_FAILED"])]
    message: str
    details: ErrorDetails


KindName = Literal["deploy", "rollback", "restart", "scale", "change", "stop", "start"]
StatusName = Literal[
    "running", "paused", "unwinding", "committed", "succeeded", "unwound", "held", "stuck", "queued", "cancelled"
]
WaitingForName = Literal["turn", "approval"]


class Rollout(BaseModel):
    id: Uuid
    deployment: DeploymentName
    number: Annotated[int, Field(examples=[7])]
    kind: KindName
    version: Version
    previous_version: str
    strategy: StrategyLiteral
    status: StatusName
    waiting_for: Annotated[WaitingForName | None, Field(description="of one that is queued")]
    requested_by: Annotated[str, Field(examples=["admin"])]
    approved_by: Annotated[str | None, Field(description="who else had to agree, and did")]
    override: Annotated[str | None, Field(description="why a lock or a freeze window may be passed over")]
    start_time: Instant
    end_time: Annotated[Instant | None, Field(description="null while it runs")]
    duration: Span
    success: Annotated[bool | None, Field(description="null while it runs")]
    message: str
    error: RolloutError | None
    steps: list[Step]
    progress_pct: Percent


class Rollouts(BaseModel):
    rollouts: list[Rollout]
    total: int
    limit: int
    offset: int


class Replicas(BaseModel):
    desired: Annotated[int, Field(examples=[3])]
    available: Annotated[int, Field(examples=[2], description="ready for `min_ready`")]
    ready: Annotated[int, Field(examples=[2], description="passing now")]
    updated: Annotated[int, Field(examples=[1], description="on the newest release")]


class Event(BaseModel):
    timestamp: Instant
    type: Literal["info", "warning", "error"]
    message: str
    source: str
    id: int
    deployment: DeploymentName
    rollout_id: str | None
    verdict: VerdictReport | None = None


class Events(BaseModel):
    events: list[Event]
    next_before: Annotated[int | None, Field(description="`before` of the next page; null: this is the last")]


class Waiting(BaseModel):
    rollout_id: Uuid
    kind: KindName
    version: Version
    requested_by: str
    since: Instant
    expires_at: Annotated[Instant, Field(description="when it is cancelled, if it has not begun")]
    waiting_for: WaitingForName
    message: Annotated[str, Field(examples=["Waits for its turn behind the deploy of 1.4.2 of ci, at most 1h0m0s."])]


class Lock(BaseModel):
    scope: Literal["deployment", "environment"]
    name: str
    holder: str
    message: str
    since: Instant
    expires_at: Instant | None


class Status(BaseModel):
    name: DeploymentName
    version: Version
    environment: Annotated[str, Field(examples=["production"])]
    state: StateName
    health: HealthName
    last_updated: Instant
    replicas: Replicas
    configuration: Annotated[dict[str, str], Field(examples=[{"LOG_LEVEL": "info", "API_TOKEN": "********"}])]
    events: list[Event]
    strategy: StrategyLiteral
    previous_version: str
    port: Annotated[int | None, Field(examples=[8080], description="the public port")]
    rollout_id: Annotated[str | None, Field(description="the rollout in progress")]
    revision: Annotated[int, Field(examples=[7], description="what If-Match is compared with")]
    queue: Annotated[list[Waiting], Field(description="what was asked for and has not begun, first come first")]
    lock: Annotated[Lock | None, Field(description="its own, else that of its environment")]
    stopped: Annotated[bool, Field(description="nothing runs until it is started, deployed or rolled back")]


class Summary(BaseModel):
    name: DeploymentName
    version: Version
    environment: Annotated[str, Field(examples=["production"])]
    state: StateName
    health: HealthName
    updated_at: Instant


class Deployments(BaseModel):
    deployments: list[Summary]
    total: Annotated[int, Field(examples=[10])]
    limit: Annotated[int, Field(examples=[50])]
    offset: Annotated[int, Field(examples=[0])]


class Issue(BaseModel):
    field: Annotated[str, Field(examples=["health_check.interval"])]
    message: str
    severity: Literal["error", "warning"]


class Warning(BaseModel):
    field: str
    message: str


class Validation(BaseModel):
    valid: bool
    issues: list[Issue]
    warnings: list[Warning]


class Check(BaseModel):
    name: str
    status: CheckStatus
    message: str
    duration: Annotated[str, Field(examples=["100ms"])]
    last_run: Instant


class Component(BaseModel):
    name: str
    status: CheckStatus
    message: str
    checks: list[Check]


class Health(BaseModel):
    overall: HealthName
    components: dict[str, Component]
    last_check: Instant
    message: str


class Release(BaseModel):
    version: Version
    state: Literal["fetching", "kept", "pruned"]
    current: Annotated[bool, Field(description="it serves")]
    previous: Annotated[bool, Field(description="it served before")]
    sha256: str
    size_bytes: int
    runs: Annotated[bool, Field(description="false: files only")]
    strategy: StrategyLiteral
    created_at: Instant
    healthy_at: Annotated[Instant | None, Field(description="when it was first committed; null: never")]
    pinned: Annotated[bool, Field(description="it is never pruned")]
    pinned_reason: str


class Releases(BaseModel):
    releases: list[Release]


class Pruned(BaseModel):
    removed: Annotated[list[str], Field(examples=[["1.3.0", "1.2.9"]])]
    freed_bytes: int


class Token(BaseModel):
    name: Annotated[str, Field(examples=["ci"])]
    role: Literal["read", "deploy", "admin"]
    environments: Annotated[list[str] | None, Field(description="that it may change; null: all")]
    created_by: str
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Annotated[Instant | None, Field(description="to the minute")]
    revoked_at: Instant | None


class NewToken(Token):
    token: Annotated[str, Field(description="the text itself; it cannot be asked for again")]


class Tokens(BaseModel):
    tokens: list[Token]


class Locks(BaseModel):
    locks: list[Lock]


class Finding(BaseModel):
    host: Annotated[str, Field(examples=["web1"], description="empty: the manager's machine")]
    check: Annotated[str, Field(examples=["space"])]
    level: Literal["ok", "warn", "fail"]
    text: str
    remedy: Annotated[str, Field(description="what to do about it; empty where nothing needs doing")]


class Diagnosis(BaseModel):
    environment: Annotated[str, Field(examples=["production"])]
    findings: list[Finding]


class Webhook(BaseModel):
    name: Annotated[str, Field(examples=["chat"])]
    host: Annotated[str, Field(examples=["https://hooks.example.com"], description="of its URL; the rest is secret")]
    events: list[str]
    environments: Annotated[list[str], Field(description="empty: all")]
    format: Annotated[str, Field(examples=["slack"])]
    signed: bool
    pending: Annotated[int, Field(description="deliveries on their way")]
    dead: Annotated[int, Field(description="deliveries that were given up")]


class Webhooks(BaseModel):
    webhooks: list[Webhook]


class Delivery(BaseModel):
    id: Annotated[str, Field(examples=["msg_019a3f0e-7c44-7d6a-9a51-0d6f3c1f2b7e"])]
    webhook: str
    event: Annotated[str, Field(examples=["rollout.failed"])]
    deployment: str
    state: Literal["pending", "delivered", "dead"]
    created_at: Instant
    next_at: Annotated[Instant | None, Field(description="not tried before; null once it has ended")]
    ended_at: Instant | None
    attempts: int
    answer: Annotated[str, Field(description="what the last attempt was answered")]
    body: Annotated[str, Field(description="as it is sent")]


class Deliveries(BaseModel):
    deliveries: list[Delivery]
    total: int
    limit: int
    offset: int


class LogLine(BaseModel):
    instance: Annotated[str, Field(examples=["shop-3-1"])]
    line: str
    time: Annotated[Instant | None, Field(description="When it was written, at the latest; null: not known.")] = None
    earliest: Annotated[Instant | None, Field(description="And at the earliest; null: not known.")] = None


class LogProblem(BaseModel):
    """Output that cannot be read now."""

    instance: str
    message: str


class Logs(BaseModel):
    lines: list[LogLine]
    problems: list[LogProblem] = []


class HookLine(BaseModel):
    phase: Annotated[str, Field(examples=["pre_deploy"], description="pre_deploy, post_deploy or canary_check.")]
    line: str


class Hooks(BaseModel):
    lines: list[HookLine]


class PlannedStep(BaseModel):
    name: str
    description: str


class Change(BaseModel):
    field: Annotated[str, Field(examples=["replicas"])]
    #: `from` is a word of Python, hence the alias
    before: Annotated[Any, Field(alias="from", examples=["2"])]
    to: Annotated[Any, Field(examples=["3"])]


class Preview(BaseModel):
    steps: list[PlannedStep]
    changes: list[Change]
    issues: list[Issue]
    warnings: list[Warning]


class Progress(BaseModel):
    """One message of the WebSocket."""

    step: Annotated[str, Field(examples=["start_instances"])]
    status: Literal["running", "success", "failed", "warning"]
    message: str
    progress_pct: Percent
    timestamp: Instant
    rollout_id: Uuid
    seq: Annotated[int, Field(ge=1, description="counts from 1 within the rollout; resume with it")]
    verdict: VerdictReport | None = None


class EndpointTarget(BaseModel):
    instance: Annotated[str, Field(examples=["shop-7-0"])]
    version: Version
    host: Annotated[str, Field(examples=["web1"], description='name of its machine; "" is the manager\'s own')]
    address: Annotated[str, Field(examples=["10.0.0.5"], description="IP address")]
    port: Annotated[int, Field(examples=[20001])]
    ready: Annotated[bool, Field(description="It passes its health checks.")]


class EndpointPool(BaseModel):
    pool: Literal["stable", "candidate"]
    version: Version
    weight: Annotated[int, Field(ge=0, le=100, description="Percent of the requests; of all targets together.")]
    health_path: Annotated[str | None, Field(examples=["/health"], description="null: a TCP connect is the check")]
    targets: list[EndpointTarget]


class Endpoints(BaseModel):
    deployment: DeploymentName
    environment: str
    router: Annotated[str, Field(examples=["none"], description="Who sends the requests there.")]
    port: Annotated[int | None, Field(examples=[8080], description="The public port; null: nothing is routed.")]
    serves: Annotated[bool, Field(description="false: nobody is to get requests.")]
    revision: Annotated[str, Field(examples=["3f9a2c1e81d0c4b7"], description="Another one with each change.")]
    pools: list[EndpointPool]


class Share(BaseModel):
    pool: Literal["stable", "candidate"]
    version: str
    weight: Annotated[int, Field(description="Percent of the requests.")]


class InstanceNow(BaseModel):
    id: Annotated[str, Field(examples=["shop-3-1"])]
    version: str
    host: Annotated[str, Field(description='"": the machine of the manager.')]
    port: int | None
    state: Literal["starting", "healthy", "unhealthy", "draining", "stopped"]
    message: Annotated[str, Field(description="What its last probe said.")]
    started_at: Instant | None
    restarts: int


class Instances(BaseModel):
    deployment: str
    rollout_id: Annotated[str | None, Field(description="Of the rollout in progress.")]
    traffic: Annotated[list[Share], Field(description="Empty: nobody gets requests.")]
    instances: list[InstanceNow]
    revision: Annotated[str, Field(examples=["3f9a2c1e81d0c4b7"], description="Another one with each change.")]


class Message(BaseModel):
    message: str


class Alive(BaseModel):
    status: Literal["ok"]


class Ready(BaseModel):
    status: Literal["ready"]
    version: str
