"""The canary's part of a deploy's body: what is read, and every way in which a check can be asked for wrongly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from longshore.api.wire_request import parse_request
from longshore.model import CanaryCheck
from longshore.rollout.preview import changes
from support.makers import make_spec


def read(*checks: Any, **analysis: Any) -> tuple[Any, list[str]]:
    body = {"name": "shop", "version": "2", "artifact_path": "/a"}
    request = parse_request({**body, "canary": {"analysis": {"checks": list(checks), **analysis}}})
    return request.fields.get("canary", {}).get("analysis", {}), [f"{i.field}: {i.message}" for i in request.issues]


def test_checks_are_read_into_model_units() -> None:
    analysis, issues = read(
        {"name": "smoke", "command": "./smoke", "interval": "30s", "timeout": "1m", "failure_limit": 2},
        {"name": "judge", "http": "http://localhost:9000/judge", "expect": "ok"},
        {"name": "orders", "prometheus": "http://localhost:9090", "query": "up", "min": 0, "max": 0.5},
        on_inconclusive="abort",
        false_alarm_rate=0.01,
        max_3xx_4xx_increase=2,
    )
    assert not issues
    assert analysis == {
        "checks": (
            CanaryCheck("smoke", command="./smoke", interval=30.0, timeout=60.0, failure_limit=2),
            CanaryCheck("judge", http="http://localhost:9000/judge", expect="ok"),
            CanaryCheck("orders", prometheus="http://localhost:9090", query="up", min=0.0, max=0.5),
        ),
        "on_inconclusive": "abort",
        "false_alarm_rate": 0.01,
        "max_3xx_4xx_increase": 2.0,
    }
    assert [check.kind for check in analysis["checks"]] == ["command", "http", "prometheus"]


@pytest.mark.parametrize(
    ("check", "issue"),
    [
        ("./smoke", "canary.analysis.checks.0: must be an object, not a string"),
        ({"command": "true"}, "canary.analysis.checks.0.name: is required"),
        ({"name": "A b", "command": "true"}, "canary.analysis.checks.0.name: 'A b' is not valid"),
        ({"name": "a"}, "canary.analysis.checks.0: give exactly one of http, command and prometheus, not none"),
        (
            {"name": "a", "command": "true", "http": "http://x/"},
            "canary.analysis.checks.0: give exactly one of http, command and prometheus, not http and command",
        ),
        (
            {"name": "a", "command": "true", "expect": "ok", "max": 1},
            "canary.analysis.checks.0: expect, max means nothing to a check of kind command; leave it out",
        ),
        ({"name": "a", "http": "localhost"}, "canary.analysis.checks.0.http: 'localhost' is not valid"),
        (
            {"name": "a", "prometheus": "http://p", "max": 1},
            "canary.analysis.checks.0: a Prometheus is asked something",
        ),
        ({"name": "a", "prometheus": "http://p", "query": "up"}, "canary.analysis.checks.0: give min or max, or both"),
        (
            {"name": "a", "prometheus": "http://p", "query": "up", "min": 2, "max": 1},
            "canary.analysis.checks.0: min must not be above max, 2 is above 1",
        ),
        ({"name": "a", "command": "true", "interval": "0s"}, "canary.analysis.checks.0.interval: must be between"),
        (
            {"name": "a", "command": "true", "failure_limit": 0},
            "canary.analysis.checks.0.failure_limit: must be between",
        ),
        ({"name": "a", "command": "true", "comand": "x"}, "canary.analysis.checks.0.comand: is no known field"),
    ],
)
def test_a_check_that_is_asked_for_wrongly_is_answered_with_its_field(check: Any, issue: str) -> None:
    _, issues = read(check)
    assert len(issues) == 1
    assert issues[0].startswith(issue), issues


def test_two_checks_of_one_name_are_refused() -> None:
    check = {"name": "a", "command": "true"}
    assert read(check, check)[1] == [
        "canary.analysis.checks: every check needs a name of its own; a is there more than once"
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [("false_alarm_rate", 0), ("false_alarm_rate", 0.6), ("on_inconclusive", "wait"), ("max_3xx_4xx_increase", 101)],
)
def test_what_analysis_cannot_be_is_answered_with_its_field(field: str, value: Any) -> None:
    _, issues = read(**{field: value})
    assert len(issues) == 1
    assert issues[0].startswith(f"canary.analysis.{field}: must be ")


def test_a_changed_check_is_shown_in_a_preview_without_passwords() -> None:
    before, after = make_spec(), make_spec()
    check = CanaryCheck("orders", prometheus="http://me:hunter2@localhost:9090", query="up", max=0.5)
    after = _with(after, check)
    (change,) = changes(before, after)
    assert change.field == "canary.analysis.checks"
    assert change.after.startswith("orders (prometheus http://********@localhost:9090, query up, max 0.5, interval 10s")


def _with(spec: Any, check: CanaryCheck) -> Any:
    return replace(spec, canary=replace(spec.canary, analysis=replace(spec.canary.analysis, checks=(check,))))
