"""Showing a plan before it runs: its steps in words, and what it would change."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from longshore.durations import format_duration
from longshore.masking import mask_urls, mask_value
from longshore.model import CanaryCheck, Spec
from longshore.rollout.plan import Plan
from longshore.rollout.reports import Change, PlannedStep

#: fields in seconds
DURATIONS = frozenset(
    [
        "interval",
        "timeout",
        "deadline",
        "min_ready",
        "pause",
        "min_latency_increase",
        "keep_old",
        "hold",
        "drain_timeout",
        "stop_timeout",
        "hook_timeout",
        "progress_deadline",
    ]
)


def describe_plan(plan: Plan) -> tuple[PlannedStep, ...]:
    return tuple(PlannedStep(step.name, step.describe()) for step in plan.steps)


def changes(before: Spec | None, after: Spec) -> tuple[Change, ...]:
    """Field by field, with dotted names; what looks secret is masked, but that it changes is shown."""
    old, new = (_flat(before) if before is not None else {}), _flat(after)
    return tuple(
        Change(name, _shown(name, old.get(name, "")), _shown(name, new.get(name, "")))
        for name in sorted(old.keys() | new.keys())
        if old.get(name, "") != new.get(name, "")
    )


def _text(name: str, value: Any) -> str:
    """As a person would write it in a request."""
    if name == "steps":
        return ", ".join(f"{step.weight} % {_text('pause', step.pause)}" for step in value)
    if name == "checks":
        return ", ".join(f"{check.name} ({_check(check)})" for check in value)
    if name in DURATIONS and isinstance(value, float):
        return format_duration(value)
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def _check(check: CanaryCheck) -> str:
    """`command ./smoke-test, timeout 5s, …`: what differs from the defaults, and what is asked."""
    given = {name: text for name, text in _flat(check).items() if name != "name"}
    return ", ".join(f"{name} {text}" for name, text in given.items())


def _flat(record: Any, prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        name = f"{prefix}{field.name}"
        if is_dataclass(value):
            found |= _flat(value, f"{name}.")
        elif field.name == "configuration":
            found |= {f"{name}.{key}": text for key, text in value.items()}
        elif value not in ("", None, ()):
            found[name] = _text(field.name, value)
    return found


def _shown(name: str, text: str) -> str:
    group, _, key = name.partition(".")
    return mask_value(key, text) if group == "configuration" else mask_urls(text)
