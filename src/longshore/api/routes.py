"""THE table of endpoints."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from starlette.responses import Response
from starlette.routing import compile_path

from longshore.api import (
    access,
    changes,
    deployments,
    endpoints,
    environments,
    events,
    hooks,
    logs,
    meta,
    metrics,
    releases,
    rollouts,
    webhooks,
)
from longshore.api.terms import REVISION
from longshore.api.wire_request import RESERVED_NAMES
from longshore.model import Role

_ROOT = "/api/v1/deployments"
_ONE = f"{_ROOT}/{{name}}"
_ROLLOUT = f"{_ONE}/rollouts/{{rollout_id}}"
_ENVIRONMENT_LOCK = "/api/v1/environments/{environment}/lock"
_DOCTOR = "/api/v1/environments/{environment}/doctor"
_WEBHOOKS = "/api/v1/webhooks"
_WEBHOOK = f"{_WEBHOOKS}/{{webhook}}"
_RELEASE = f"{_ONE}/releases/{{version}}"

PROGRESS_PATH = f"{_ONE}/progress"

_GUARDED = (("If-Match", "Only while the deployment is at this `revision` of its status; else 412.", f"({REVISION})"),)
_OVERRIDE = ("Longshore-Override", "Why a lock or a freeze window is passed over; it is written down.", r"\S.{0,499}")
_ASYNC = (
    ("Prefer", "`respond-async`: answer 202 with the rollout as soon as it has begun.", ".*"),
    ("Idempotency-Key", "The same key with the same body runs nothing again. Kept for 24 h.", "[!-~]{1,255}"),
    *_GUARDED,
    _OVERRIDE,
)
_ABSENT = ("If-None-Match", "`*`: only where nothing serves under this name yet; else 412.", r"\*")


@dataclass(frozen=True)
class Row:
    """An endpoint: what it is called, what it answers, what can go wrong, and what it counts against."""

    method: str
    path: str
    endpoint: Callable[..., Awaitable[Response]]
    #: deploy (counted for each deployment), status or list (for each caller), None: never limited
    limited: str | None
    summary: str
    #: status of success → its model in schemas.py; None: `media` says what it is
    answers: Mapping[int, str | None]
    #: status → when
    errors: Mapping[int, str] = field(default_factory=dict)
    tag: str = "deployments"
    open_to_all: bool = False
    media: str = "application/json"
    #: (name, what it does, pattern) of request headers
    headers: tuple[tuple[str, str, str], ...] = ()

    #: None: by the method, to look takes `read` and to change `deploy`
    role: Role | None = None

    @property
    def least_role(self) -> Role:
        """What a token has to be to be let in."""
        return self.role or (Role.read if self.method == "GET" else Role.deploy)

    @property
    def name(self) -> str:
        return self.endpoint.__name__

    @property
    def success(self) -> int:
        return next(iter(self.answers))

    @property
    def counted_by_caller(self) -> str | None:
        return None if self.limited == "deploy" else self.limited

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return compile_path(self.path)[0]


#: name of the schema of each route's body
BODY_NAMES = {
    "deploy": "DeployRequest",
    "validate": "DeployRequest",
    "plan": "DeployRequest",
    "rollback": "RollbackRequest",
    "abort": "AbortRequest",
    "change": "ChangeRequest",
    "approve": "ApproveRequest",
    "restart": "RestartRequest",
    "stop": "StopRequest",
    "start": "StartRequest",
    "pin": "PinRequest",
    "unpin": "UnpinRequest",
    "prune": "PruneRequest",
    "create_token": "CreateTokenRequest",
    "lock": "LockRequest",
    "lock_environment": "LockRequest",
    "redeliver": "RedeliverRequest",
    "test_webhook": "TestWebhookRequest",
    "scale": "ScaleRequest",
}

_SPEC = "INVALID_DEPLOYMENT_SPEC"
_CHANGE = {
    400: f"{_SPEC}: nothing runs, there is nothing to change, or the body is malformed",
    409: "DEPLOYMENT_IN_PROGRESS",
    500: "DEPLOYMENT_FAILED or HEALTH_CHECK_FAILED",
}
_KEPT = {400: f"BACKUP_NOT_FOUND: there is no such kept release; or {_SPEC}: malformed body"}
_AFTER = ("Last-Event-ID", "Where events are followed: go on after this one.", "[0-9]{1,18}")
_HELD = {
    400: f"{_SPEC}: malformed body or query parameter",
    404: "NOT_FOUND: it is not locked; DEPLOYMENT_NOT_FOUND",
    423: "DEPLOYMENT_LOCKED: by somebody else",
}
_NO_WEBHOOK = {400: f"{_SPEC}: malformed body", 404: "NOT_FOUND"}
_STEER = {400: f"{_SPEC}: the rollout is past what was asked for, or the body is malformed"}

# To add an endpoint: a function in a file of its noun, a row here (fixed paths before those with a name, the busy ones
# first), models in schemas.py, a heading `METHOD path` in docs/api.md. tests/contracts/test_routes.py then covers it.
# A body needs a Group in wire_request.BODIES and a name in BODY_NAMES.
ROUTES: tuple[Row, ...] = (
    Row("GET", _ONE, deployments.status, "status", "Get deployment status", {200: "Status"}),
    Row("POST", _ROOT, deployments.deploy, "deploy", "Deploy an application",
        {201: "DeployResult", 202: "Rollout"},
        {400: f"{_SPEC}, ARTIFACT_NOT_FOUND or DEPENDENCY_FAILED", 409: "DEPLOYMENT_IN_PROGRESS",
         500: "DEPLOYMENT_FAILED, HEALTH_CHECK_FAILED, HOOK_FAILED, DEPENDENCY_FAILED or DEPLOYMENT_ABORTED"},
        headers=(*_ASYNC, _ABSENT)),
    Row("PATCH", _ONE, changes.change, None, "Change a deployment without a new artifact",
        {200: "DeployResult", 202: "Rollout"}, _CHANGE, headers=_ASYNC),
    Row("GET", _ROOT, deployments.list_deployments, "list", "List deployments", {200: "Deployments"},
        {400: f"{_SPEC}: a query parameter is not valid"}),
    Row("POST", f"{_ROOT}/validate", deployments.validate, None, "Validate a deployment",
        {200: "Validation", 400: "Validation"}),
    Row("POST", f"{_ROOT}/plan", deployments.plan, None, "Show what a deploy would do", {200: "Preview"},
        {400: f"{_SPEC}, ARTIFACT_NOT_FOUND or DEPENDENCY_FAILED"}),
    Row("POST", f"{_ONE}/rollback", deployments.rollback, None, "Roll back to a kept release",
        {200: "RollbackResult", 202: "Rollout"},
        {400: f"BACKUP_NOT_FOUND, or {_SPEC}: malformed body", 500: "ROLLBACK_FAILED"}, headers=_ASYNC),
    Row("POST", f"{_ONE}/restart", changes.restart, None, "Restart all instances, rolling",
        {200: "DeployResult", 202: "Rollout"}, _CHANGE, headers=_ASYNC),
    Row("POST", f"{_ONE}/scale", changes.scale, None, "Change the number of instances",
        {200: "DeployResult", 202: "Rollout"}, _CHANGE, headers=_ASYNC),
    Row("POST", f"{_ONE}/stop", changes.stop, None, "Stop all instances",
        {200: "DeployResult", 202: "Rollout"}, _CHANGE, headers=_ASYNC),
    Row("POST", f"{_ONE}/start", changes.start, None, "Start what was stopped",
        {200: "DeployResult", 202: "Rollout"}, _CHANGE, headers=_ASYNC),
    Row("GET", f"{_ONE}/health", deployments.health, "status", "Check health now", {200: "Health"}),
    Row("GET", f"{_ONE}/endpoints", endpoints.endpoints, None, "List where requests are to go",
        {200: "Endpoints"}, {400: f"{_SPEC}: a query parameter is not valid"}),
    Row("GET", f"{_ONE}/instances", endpoints.instances, None, "List what runs",
        {200: "Instances"}, {400: f"{_SPEC}: a query parameter is not valid"}),
    Row("DELETE", _ONE, deployments.delete, None, "Delete a deployment", {200: "Message"},
        {400: f"{_SPEC}: a query parameter is not valid", 409: "DEPLOYMENT_IN_PROGRESS"},
        headers=(*_GUARDED, _OVERRIDE)),
    Row("GET", f"{_ONE}/rollouts", rollouts.list_rollouts, None, "List rollouts", {200: "Rollouts"},
        {400: f"{_SPEC}: a query parameter is not valid"}, tag="rollouts"),
    Row("GET", _ROLLOUT, rollouts.rollout, None, "Get a rollout", {200: "Rollout"}, tag="rollouts"),
    Row("GET", f"{_ROLLOUT}/hooks", hooks.hooks, None, "Read or follow the output of hooks", {200: "Hooks"},
        {400: f"{_SPEC}: a query parameter is not valid"}, tag="rollouts"),
    Row("POST", f"{_ROLLOUT}/abort", rollouts.abort, None, "Abort a rollout", {200: "Rollout"}, _STEER,
        tag="rollouts", headers=_GUARDED),
    Row("POST", f"{_ROLLOUT}/approve", rollouts.approve, None, "Approve a rollout", {200: "Rollout"},
        {**_STEER, 403: "FORBIDDEN: who asked for it cannot approve it"}, tag="rollouts", headers=_GUARDED),
    Row("POST", f"{_ROLLOUT}/pause", rollouts.pause, None, "Pause a rollout", {200: "Rollout"}, _STEER,
        tag="rollouts", headers=_GUARDED),
    Row("POST", f"{_ROLLOUT}/resume", rollouts.resume, None, "Resume a rollout", {200: "Rollout"}, _STEER,
        tag="rollouts", headers=_GUARDED),
    Row("POST", f"{_ROLLOUT}/promote", rollouts.promote, None, "Promote a rollout", {200: "Rollout"}, _STEER,
        tag="rollouts", headers=_GUARDED),
    Row("GET", f"{_ONE}/releases", releases.releases, None, "List releases", {200: "Releases"}, tag="releases"),
    Row("POST", f"{_RELEASE}/pin", releases.pin, None, "Keep a release for good", {200: "Release"}, _KEPT,
        tag="releases", headers=_GUARDED),
    Row("POST", f"{_RELEASE}/unpin", releases.unpin, None, "Let a release be pruned", {200: "Release"}, _KEPT,
        tag="releases", headers=_GUARDED),
    Row("POST", f"{_ONE}/prune", releases.prune, None, "Remove old releases now", {200: "Pruned"},
        {400: f"{_SPEC}: malformed body", 409: "DEPLOYMENT_IN_PROGRESS"}, tag="releases",
        headers=(*_GUARDED, _OVERRIDE)),
    Row("GET", f"{_ONE}/events", events.list_events, None, "List events", {200: "Events"},
        {400: f"{_SPEC}: a query parameter is not valid"}, tag="events and logs", headers=(_AFTER,)),
    Row("GET", f"{_ONE}/logs", logs.logs, None, "Read or follow the output of instances", {200: "Logs"},
        {400: f"{_SPEC}: a query parameter is not valid"}, tag="events and logs"),
    Row("GET", "/api/v1/events", events.stream_events, None, "Follow the events of all deployments", {200: None},
        {400: f"{_SPEC}: a query parameter is not valid", 404: "DEPLOYMENT_NOT_FOUND"}, tag="events and logs",
        media="text/event-stream", headers=(_AFTER,)),
    Row("GET", f"{_ONE}/lock", access.get_lock, None, "Get the lock of a deployment", {200: "Lock"},
        {404: "NOT_FOUND: it is not locked"}, tag="access"),
    Row("PUT", f"{_ONE}/lock", access.lock, None, "Lock a deployment", {200: "Lock"}, _HELD, tag="access",
        headers=_GUARDED),
    Row("DELETE", f"{_ONE}/lock", access.unlock, None, "Unlock a deployment", {200: "Lock"}, _HELD, tag="access",
        headers=_GUARDED),
    Row("GET", _ENVIRONMENT_LOCK, access.get_environment_lock, None, "Get the lock of an environment",
        {200: "Lock"}, {404: "NOT_FOUND: it is not locked"}, tag="access"),
    Row("PUT", _ENVIRONMENT_LOCK, access.lock_environment, None, "Lock an environment", {200: "Lock"}, _HELD,
        tag="access"),
    Row("DELETE", _ENVIRONMENT_LOCK, access.unlock_environment, None, "Unlock an environment", {200: "Lock"},
        _HELD, tag="access"),
    Row("GET", _DOCTOR, environments.diagnosis, "status", "Look what the hosts of an environment lack",
        {200: "Diagnosis"}, {404: "NOT_FOUND: there is no such environment"}, tag="manager"),
    Row("GET", "/api/v1/locks", access.list_locks, None, "List locks", {200: "Locks"}, tag="access"),
    Row("POST", "/api/v1/tokens", access.create_token, None, "Make a token", {201: "NewToken"},
        {400: f"{_SPEC}: malformed body, or the name was used"}, tag="access", role=Role.admin),
    Row("GET", "/api/v1/tokens", access.list_tokens, None, "List tokens", {200: "Tokens"}, tag="access",
        role=Role.admin),
    Row("DELETE", "/api/v1/tokens/{token}", access.revoke_token, None, "Revoke a token", {200: "Token"},
        {404: "NOT_FOUND"}, tag="access", role=Role.admin),
    Row("GET", _WEBHOOKS, webhooks.list_webhooks, None, "List webhooks", {200: "Webhooks"}, tag="webhooks"),
    Row("GET", f"{_WEBHOOK}/deliveries", webhooks.list_deliveries, None, "List deliveries of a webhook",
        {200: "Deliveries"}, {**_NO_WEBHOOK, 400: f"{_SPEC}: a query parameter is not valid"}, tag="webhooks"),
    Row("GET", f"{_WEBHOOK}/deliveries/{{delivery}}", webhooks.get_delivery, None, "Get a delivery",
        {200: "Delivery"}, {404: "NOT_FOUND"}, tag="webhooks"),
    Row("POST", f"{_WEBHOOK}/deliveries/{{delivery}}/redeliver", webhooks.redeliver, None, "Send a delivery again",
        {200: "Delivery"}, _NO_WEBHOOK, tag="webhooks", role=Role.admin),
    Row("POST", f"{_WEBHOOK}/test", webhooks.test_webhook, None, "Send a test to a webhook", {200: "Delivery"},
        _NO_WEBHOOK, tag="webhooks", role=Role.admin),
    Row("GET", "/healthz", meta.healthz, None, "Whether the process answers", {200: "Alive"}, tag="manager",
        open_to_all=True),
    Row("GET", "/readyz", meta.readyz, None, "Whether the manager takes requests", {200: "Ready"},
        {503: "INTERNAL_ERROR: not ready yet, or stopping"}, tag="manager"),
    Row("GET", "/metrics", metrics.metrics, None, "Figures for Prometheus", {200: None}, tag="manager",
        media="text/plain"),
    Row("GET", "/openapi.json", meta.openapi_json, None, "This description", {200: None}, tag="manager",
        media="application/json"),
    Row("GET", "/asyncapi.json", meta.asyncapi_json, None, "Description of the WebSocket", {200: None}, tag="manager",
        media="application/json"),
    Row("GET", "/docs", meta.docs, None, "This description, for people", {200: None}, tag="manager", open_to_all=True,
        media="text/html"),
)  # fmt: skip


def methods_of(path: str) -> list[str]:
    """Every method the path takes, sorted. A reserved word in the place of a name is no deployment."""
    matches = [(row, row.pattern.match(path)) for row in ROUTES]
    return sorted(
        {row.method for row, match in matches if match and match.groupdict().get("name") not in RESERVED_NAMES}
    )
