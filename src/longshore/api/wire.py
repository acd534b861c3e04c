"""Model → JSON: how every noun looks to a client. Times become RFC 3339 with milliseconds, durations Go's format.

Strings of the seed contract are never null: what is not known is "". Of times, null is what has not happened yet.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from longshore.drivers.base import LogLine
from longshore.durations import format_duration
from longshore.errors import FAILURES, Issue, LongshoreError, RollbackFailed, RolloutFailed
from longshore.masking import mask_configuration
from longshore.model import (
    Delivery,
    DeliveryState,
    Deployment,
    Event,
    Failure,
    Lock,
    Progress,
    Release,
    Rollout,
    RolloutKind,
    RolloutStatus,
    StepRecord,
    Token,
    VerdictReport,
    Waiting,
)
from longshore.rollout.hook_output import HookLine
from longshore.rollout.reports import EndpointList, HealthReport, InstanceList, Preview, Status, Summary, Validation
from longshore.webhooks.desk import WebhookReport

Json = dict[str, Any]

#: the wording of the seed contract
ROLLED_BACK = "Rollback completed successfully"


def dumps(body: object) -> bytes:
    """Compact UTF-8 JSON. Half of a surrogate pair (an undecodable byte of a file name or a log) becomes `?`."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8", "replace")


def instant(seconds: float) -> str:
    """Seconds since the epoch as `2026-01-31T09:15:00.250Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instant_or_null(seconds: float | None) -> str | None:
    return None if seconds is None else instant(seconds)


def _span(start: float, end: float) -> str:
    """Rounded to milliseconds, as the times beside it are; a clock set back makes it 0, never negative."""
    return format_duration(round(max(0.0, end - start), 3))


# --------------------------------------------------------------------------------------------- rollouts


def step_json(step: StepRecord) -> Json:
    return {
        "name": step.name,
        "status": str(step.status),
        "message": step.message,
        "start_time": instant(step.started_at),
        "end_time": _instant_or_null(step.ended_at),
        "error": step.error,
        "undo": step.undo,
        **_verdict(step.verdict),
    }


def _verdict(verdict: VerdictReport | None) -> Json:
    """Only where there is one: nearly all steps, events and messages have none."""
    return {} if verdict is None else {"verdict": asdict(verdict)}


def result_json(rollout: Rollout, steps: Sequence[StepRecord]) -> Json:
    """The answer to a deploy that succeeded: the seed's fields, then what points to the rollout."""
    ended = rollout.started_at if rollout.ended_at is None else rollout.ended_at
    return {
        "version": rollout.version,
        "start_time": instant(rollout.started_at),
        "end_time": instant(ended),
        "duration": _span(rollout.started_at, ended),
        "success": rollout.status is RolloutStatus.succeeded,
        "message": rollout.message,
        "previous_version": rollout.previous_version or "",
        "steps": [step_json(step) for step in steps],
        "rollout_id": rollout.id,
        "deployment": rollout.deployment,
        "strategy": rollout.strategy,
    }


def rollout_json(rollout: Rollout, steps: Sequence[StepRecord], progress_pct: int, now: float) -> Json:
    """A rollout as it stands. Of one in progress, end_time, success are null and duration is what it took so far."""
    over = rollout.status.is_over
    error: Json | None = None
    if rollout.failure is not None:
        failed = rollout_failure(rollout)
        error = {"code": failed.code, "message": failed.message, "details": details_json(failed)}
    return {
        "id": rollout.id,
        "deployment": rollout.deployment,
        "number": rollout.number,
        "kind": str(rollout.kind),
        "version": rollout.version,
        "previous_version": rollout.previous_version or "",
        "strategy": rollout.strategy,
        "status": str(rollout.status),
        "waiting_for": None if rollout.waiting_for is None else str(rollout.waiting_for),
        "requested_by": rollout.requested_by,
        "approved_by": rollout.approved_by,
        "override": rollout.override,
        "start_time": instant(rollout.started_at),
        "end_time": _instant_or_null(rollout.ended_at),
        "duration": _span(rollout.started_at, now if rollout.ended_at is None else rollout.ended_at),
        "success": rollout.status is RolloutStatus.succeeded if over else None,
        "message": rollout.message,
        "error": error,
        "steps": [step_json(step) for step in steps],
        "progress_pct": progress_pct,
    }


def rollback_json(rollout: Rollout) -> Json:
    return {
        "message": ROLLED_BACK,
        "version": rollout.version,
        "timestamp": instant(rollout.started_at if rollout.ended_at is None else rollout.ended_at),
        "rollout_id": rollout.id,
        "previous_version": rollout.previous_version or "",
    }


def rollout_failure(rollout: Rollout) -> RolloutFailed:
    """The error a failed rollout is answered with, rebuilt from what was stored.

    A failed rollback is ROLLBACK_FAILED whatever failed in it; what it was is in `cause` and `details.failed_with`.
    """
    stored = rollout.failure or Failure(RolloutFailed.code, rollout.message, "")
    kind, cause = FAILURES.get(stored.code, RolloutFailed), stored.cause or stored.message
    extra: Json = {"rollout_id": rollout.id, "rolled_back": rollout.status is RolloutStatus.unwound}
    if rollout.kind is RolloutKind.rollback and kind is not RollbackFailed:
        kind, extra["failed_with"] = RollbackFailed, stored.code
    return kind(stored.message or None, deployment=rollout.deployment, operation=stored.operation, cause=cause, **extra)


# --------------------------------------------------------------------------------------------- errors


def details_json(error: LongshoreError) -> Json:
    return {"deployment": error.deployment, "operation": error.operation, "cause": error.cause, **error.details}


def error_json(error: LongshoreError, now: float) -> Json:
    """The envelope of every error."""
    return {
        "error": {
            "code": error.code,
            "message": error.message,
            "details": details_json(error),
            "timestamp": instant(now),
        }
    }


def _issue_json(issue: Issue) -> Json:
    return {"field": issue.field, "message": issue.message, "severity": issue.severity}


def _warning_json(issue: Issue) -> Json:
    return {"field": issue.field, "message": issue.message}


# --------------------------------------------------------------------------------------------- deployments


def event_json(event: Event) -> Json:
    return {
        "timestamp": instant(event.timestamp),
        "type": event.type,
        "message": event.message,
        "source": event.source,
        "id": event.id,
        "deployment": event.deployment,
        "rollout_id": event.rollout_id,
        **_verdict(event.verdict),
    }


def log_line_json(line: LogLine, **of: str) -> Json:
    """of: what it is of, such as its instance."""
    return {
        **of,
        "line": line.text,
        "time": _instant_or_null(line.latest),
        "earliest": _instant_or_null(line.earliest),
    }


def hook_line_json(line: HookLine) -> Json:
    return {"phase": line.phase, "line": line.text}


def status_json(status: Status) -> Json:
    deployment, replicas, rollout = status.deployment, status.replicas, status.open_rollout
    return {
        "name": deployment.name,
        "version": status.version,
        "environment": deployment.environment,
        "state": str(status.state),
        "health": str(status.health),
        "last_updated": instant(status.last_updated),
        "replicas": {
            "desired": replicas.desired,
            "available": replicas.available,
            "ready": replicas.ready,
            "updated": replicas.updated,
        },
        "configuration": mask_configuration(status.spec.configuration),
        "events": [event_json(event) for event in status.events],
        "strategy": status.spec.strategy,
        "previous_version": deployment.previous_version or "",
        "port": deployment.public_port,
        "rollout_id": rollout.id if rollout is not None else None,
        "revision": deployment.revision,
        "stopped": deployment.stopped,
        "queue": [waiting_json(waiting) for waiting in status.queue],
        "lock": lock_json(status.lock) if status.lock is not None else None,
    }


def token_json(token: Token) -> Json:
    return {
        "name": token.name,
        "role": str(token.role),
        "environments": None if token.environments is None else list(token.environments),
        "created_by": token.created_by,
        "created_at": instant(token.created_at),
        "expires_at": _instant_or_null(token.expires_at),
        "last_used_at": _instant_or_null(token.last_used_at),
        "revoked_at": _instant_or_null(token.revoked_at),
    }


def lock_json(lock: Lock) -> Json:
    return {
        "scope": lock.scope,
        "name": lock.name,
        "holder": lock.holder,
        "message": lock.message,
        "since": instant(lock.since),
        "expires_at": _instant_or_null(lock.expires_at),
    }


def webhook_json(report: WebhookReport) -> Json:
    return {
        "name": report.webhook.name,
        "host": report.webhook.host,
        "events": list(report.webhook.events),
        "environments": list(report.webhook.environments),
        "format": report.webhook.format,
        "signed": report.webhook.signed,
        "pending": report.pending,
        "dead": report.dead,
    }


def delivery_json(delivery: Delivery) -> Json:
    return {
        "id": delivery.id,
        "webhook": delivery.webhook,
        "event": delivery.event,
        "deployment": delivery.deployment,
        "state": str(delivery.state),
        "created_at": instant(delivery.created_at),
        "next_at": instant(delivery.next_at) if delivery.state is DeliveryState.pending else None,
        "ended_at": _instant_or_null(delivery.ended_at),
        "attempts": delivery.attempts,
        "answer": delivery.answer,
        "body": delivery.body,
    }


def waiting_json(waiting: Waiting) -> Json:
    return {
        "rollout_id": waiting.id,
        "kind": str(waiting.ask.kind),
        "version": waiting.spec.version,
        "requested_by": waiting.requested_by,
        "since": instant(waiting.since),
        "expires_at": instant(waiting.expires_at),
        "waiting_for": str(waiting.waiting_for),
        "message": waiting.message,
    }


def summary_json(row: Summary) -> Json:
    return {
        "name": row.name,
        "version": row.version,
        "environment": row.environment,
        "state": str(row.state),
        "health": str(row.health),
        "updated_at": instant(row.updated_at),
    }


def health_json(report: HealthReport) -> Json:
    return {
        "overall": str(report.overall),
        "components": {
            key: {
                "name": component.name,
                "status": component.status,
                "message": component.message,
                "checks": [
                    {
                        "name": check.name,
                        "status": check.status,
                        "message": check.message,
                        "duration": format_duration(round(max(0.0, check.duration_s), 6)),
                        "last_run": instant(check.last_run),
                    }
                    for check in component.checks
                ],
            }
            for key, component in report.components.items()
        },
        "last_check": instant(report.last_check),
        "message": report.message,
    }


def release_json(release: Release, deployment: Deployment) -> Json:
    return {
        "version": release.version,
        "state": str(release.state),
        "current": release.version == deployment.current_version,
        "previous": release.version == deployment.previous_version,
        "sha256": release.sha256,
        "size_bytes": release.size_bytes,
        "runs": release.runs,
        "strategy": release.spec.strategy,
        "created_at": instant(release.created_at),
        "healthy_at": _instant_or_null(release.healthy_at),
        "pinned": release.pinned is not None,
        "pinned_reason": release.pinned or "",
    }


# --------------------------------------------------------------------------------------------- before a deploy


def validation_json(report: Validation) -> Json:
    return {
        "valid": report.valid,
        "issues": [_issue_json(issue) for issue in report.issues],
        "warnings": [_warning_json(issue) for issue in report.warnings],
    }


def preview_json(preview: Preview) -> Json:
    return {
        "steps": [{"name": step.name, "description": step.description} for step in preview.steps],
        "changes": [{"field": c.field, "from": c.before, "to": c.after} for c in preview.changes],
        "issues": [_issue_json(issue) for issue in preview.issues],
        "warnings": [_warning_json(issue) for issue in preview.warnings],
    }


# --------------------------------------------------------------------------------------------- progress


def progress_json(message: Progress) -> Json:
    return {
        "step": message.step,
        "status": message.status,
        "message": message.message,
        "progress_pct": message.progress_pct,
        "timestamp": instant(message.timestamp),
        "rollout_id": message.rollout_id,
        "seq": message.seq,
        **_verdict(message.verdict),
    }


# --------------------------------------------------------------------------------------------- endpoints


def endpoints_json(found: EndpointList) -> Json:
    return asdict(found)


def instances_json(found: InstanceList) -> Json:
    body = asdict(found)
    for each, report in zip(body["instances"], found.instances, strict=True):
        each["started_at"] = _instant_or_null(report.started_at)
    return body
