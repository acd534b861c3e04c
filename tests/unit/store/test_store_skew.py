"""What another version of Longshore has stored: fields too many, too few, and values that this one does not know."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from longshore.model import HealthCheck, Spec
from longshore.store import codec

SPEC = Spec("shop", "1.0", "/artifact", strategy="canary", replicas=4, health_check=HealthCheck(interval=7.0))


def stored(**changes: Any) -> str:
    return json.dumps(json.loads(codec.encode_spec(SPEC)) | changes)


def test_a_field_that_this_version_does_not_know_is_left_out() -> None:
    health_check = json.loads(codec.encode_spec(SPEC))["health_check"] | {"protocol": "grpc"}
    assert codec.decode_spec(stored(mesh={"mtls": True}, health_check=health_check)) == SPEC


def test_a_field_that_an_older_version_did_not_have_has_its_default() -> None:
    before = json.loads(codec.encode_spec(SPEC))
    del before["health_check"]["deadline"], before["resources"]
    assert codec.decode_spec(json.dumps(before)) == SPEC


def test_values_that_this_version_does_not_know_are_defaults_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    health_check = {"interval": "adaptive", "deadline": 9.0}
    text = stored(strategy="shadow", health_check=health_check, version="skewed")
    with caplog.at_level(logging.WARNING, "longshore.store"):
        found = [codec.decode_spec(text) for _ in range(3)]
    expected = replace(SPEC, version="skewed", strategy=Spec("", "", "").strategy, health_check=HealthCheck(deadline=9))
    assert found == [expected] * 3
    (line,) = caplog.messages
    assert "health_check.interval, strategy" in line


def test_what_is_no_spec_at_all_is_an_error() -> None:
    for text in (stored(name=None), "[]", "{}", "{"):
        with pytest.raises(ValueError):
            codec.decode_spec(text)
