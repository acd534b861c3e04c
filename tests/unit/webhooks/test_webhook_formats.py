"""Bodies: readable, bounded, and true to the rollout."""

from __future__ import annotations

import json
from typing import Any

import pytest

from longshore.model import Failure, RolloutKind, RolloutStatus
from longshore.webhooks.events import EVENTS
from longshore.webhooks.formats import FORMATS
from support.makers import make_rollout, make_spec

FAILED: dict[str, Any] = {
    "status": RolloutStatus.unwound,
    "ended_at": 1002.5,
    "message": "await_ready failed: exit status 1\nsecond line",
    "failure": Failure("HEALTH_CHECK_FAILED", "await_ready failed: exit status 1", "await_ready"),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("event", EVENTS)
def test_whatever_was_written_in_it_a_body_is_bounded_json_in_ascii(format: str, event: str) -> None:
    nasty = "\ud800\x00<!channel>" + "ü" * 100_000
    rollout = make_rollout(message=nasty, failure=Failure("DEPLOYMENT_FAILED", nasty, "fetch_artifact"))
    body = FORMATS[format](rollout, event, 1000.0)
    assert body.isascii()
    assert len(body) < 16_000
    assert json.loads(body)


def test_json_says_what_happened_to_what_and_why() -> None:
    assert json.loads(FORMATS["json"](make_rollout(**FAILED), "rollout.failed", 1003.0)) == {
        "type": "rollout.failed",
        "timestamp": "1970-01-01T00:16:43.000Z",
        "data": {
            "deployment": "shop",
            "environment": "default",
            "rollout_id": "r1",
            "kind": "deploy",
            "version": "2.0",
            "previous_version": "",
            "strategy": "rolling",
            "status": "unwound",
            "requested_by": "ana",
            "approved_by": None,
            "override": None,
            "message": "await_ready failed: exit status 1\nsecond line",
            "error": {"code": "HEALTH_CHECK_FAILED", "message": "await_ready failed: exit status 1"},
            "rolled_back": True,
            "start_time": "1970-01-01T00:16:40.000Z",
            "end_time": "1970-01-01T00:16:42.500Z",
        },
    }


def test_nothing_of_the_configuration_is_told() -> None:
    rollout = make_rollout(spec=make_spec(configuration={"DB_PASSWORD": "hunter2-hunter2"}))
    for format in FORMATS.values():
        assert "hunter2" not in format(rollout, "rollout.started", 1000.0)


def test_slack_reads_a_line_with_the_reason_quoted() -> None:
    text = json.loads(FORMATS["slack"](make_rollout(**FAILED), "rollout.failed", 1003.0))["text"]
    assert text == (
        ":x: *shop* (default): deploy of *2.0* failed, asked for by ana\n>await_ready failed: exit status 1"
    )


def test_slack_reads_of_a_rollback_where_it_went() -> None:
    done = make_rollout(kind=RolloutKind.rollback, status=RolloutStatus.succeeded, version="1.0")
    text = json.loads(FORMATS["slack"](done, "rollout.rolled_back", 1003.0))["text"]
    assert text == ":rewind: *shop* (default): rollback to *1.0* rolled back, asked for by ana"


def test_nobody_is_called_to_the_channel_by_what_a_program_printed() -> None:
    rollout = make_rollout(**{**FAILED, "message": "<!channel> & <@U1>"}, requested_by="<!here>")
    text = json.loads(FORMATS["slack"](rollout, "rollout.failed", 1003.0))["text"]
    assert "<" not in text
    assert "&lt;!channel&gt; &amp; &lt;@U1&gt;" in text
