"""Bodies: what a receiver reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from longshore.model import Rollout, RolloutStatus


def as_json(event: str, rollout: Rollout, now: float) -> str:
    """`{"type", "timestamp", "data"}`, as the Standard Webhooks specification (1.0.0) has it."""
    failure = rollout.failure
    data: dict[str, Any] = {
        "deployment": rollout.deployment,
        "environment": rollout.spec.environment,
        "rollout_id": rollout.id,
        "kind": str(rollout.kind),
        "version": rollout.version,
        "previous_version": rollout.previous_version or "",
        "strategy": rollout.strategy,
        "status": str(rollout.status),
        "requested_by": rollout.requested_by,
        "approved_by": rollout.approved_by,
        "override": rollout.override,
        "message": rollout.message,
        "error": None if failure is None else {"code": failure.code, "message": failure.message},
        "rolled_back": rollout.status is RolloutStatus.unwound,
        "start_time": _instant(rollout.started_at),
        "end_time": None if rollout.ended_at is None else _instant(rollout.ended_at),
    }
    return json.dumps({"type": event, "timestamp": _instant(now), "data": data}, ensure_ascii=False)


def as_slack(event: str, rollout: Rollout, _: float) -> str:
    """One line of text in the shape of Slack's incoming webhooks, which Mattermost and others read as well."""
    mark = _MARKS.get(event, ":information_source:")
    what = f"{rollout.kind} of *{rollout.version}*" if rollout.kind != "rollback" else f"rollback to *{rollout.version}*"
    text = f"{mark} *{rollout.deployment}* ({rollout.spec.environment}): {what} {event.partition('.')[2].replace('_', ' ')}"
    text += f", asked for by {rollout.requested_by}"
    if rollout.message and event not in ("rollout.started", "rollout.succeeded"):
        text += f"\n>{_quoted(rollout.message)}"
    return json.dumps({"text": text}, ensure_ascii=False)


_MARKS = {
    "rollout.started": ":rocket:",
    "rollout.succeeded": ":white_check_mark:",
    "rollout.failed": ":x:",
    "rollout.rolled_back": ":rewind:",
    "rollout.paused": ":pause_button:",
    "rollout.waiting": ":hourglass:",
    "rollout.cancelled": ":no_entry_sign:",
}

# To add a format: a function here that makes the body, a line below, a section in docs/guide/webhooks.md.
FORMATS: dict[str, Callable[[str, Rollout, float], str]] = {"json": as_json, "slack": as_slack}


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _quoted(text: str) -> str:
    """Slack's three control characters, escaped as its documentation says; one line."""
    line = text.partition("\n")[0]
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
