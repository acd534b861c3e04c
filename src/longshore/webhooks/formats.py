"""Bodies: what a receiver reads. In ASCII, whatever a program has printed, and of a few kB at most."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from longshore.model import Rollout, RolloutKind, RolloutStatus

#: characters of a text that others have written: a hook's output may be long, and receivers refuse what is
LONGEST_TEXT = 1000

#: how a rollout is now, what that is called (webhooks/events.py), the time → the body
Format = Callable[[Rollout, str, float], str]


def as_json(rollout: Rollout, event: str, now: float) -> str:
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
        "message": _bounded(rollout.message),
        "error": None if failure is None else {"code": failure.code, "message": _bounded(failure.message)},
        "rolled_back": rollout.status is RolloutStatus.unwound,
        "start_time": _instant(rollout.started_at),
        "end_time": None if rollout.ended_at is None else _instant(rollout.ended_at),
    }
    return json.dumps({"type": event, "timestamp": _instant(now), "data": data})


def as_slack(rollout: Rollout, event: str, now: float) -> str:
    """A line or two in the shape of Slack's incoming webhooks, which Mattermost and others read as well."""
    to = "rollback to" if rollout.kind is RolloutKind.rollback else f"{rollout.kind} of"
    text = (
        f"{MARKS.get(event, ':information_source:')} *{_escaped(rollout.deployment)}* "
        f"({_escaped(rollout.spec.environment)}): {to} *{_escaped(rollout.version)}* "
        f"{event.rpartition('.')[2].replace('_', ' ')}, asked for by {_escaped(rollout.requested_by)}"
    )
    if rollout.message and event not in ("rollout.started", "rollout.succeeded"):
        text += f"\n>{_escaped(_bounded(rollout.message.partition(chr(10))[0]))}"
    return json.dumps({"text": text})


#: event → what Slack draws before it
MARKS = {
    "rollout.waiting": ":hourglass:",
    "rollout.cancelled": ":no_entry_sign:",
    "rollout.started": ":rocket:",
    "rollout.paused": ":double_vertical_bar:",
    "rollout.resumed": ":arrow_forward:",
    "rollout.rolled_back": ":rewind:",
    "rollout.succeeded": ":white_check_mark:",
    "rollout.failed": ":x:",
}

# To add a format: a function above that makes the body; a line here; a section in docs/guide/webhooks.md.
# tests/unit/webhooks then holds each to being bounded, readable JSON.
FORMATS: dict[str, Format] = {"json": as_json, "slack": as_slack}


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _bounded(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _escaped(text: str) -> str:
    """Slack's three control characters: https://docs.slack.dev/messaging/formatting-message-text#escaping."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
