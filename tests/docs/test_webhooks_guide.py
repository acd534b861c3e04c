"""The page on webhooks: what it shows is what is sent, and what it has readers run works."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest

from longshore.durations import parse_duration
from longshore.webhooks.events import EVENTS
from longshore.webhooks.formats import FORMATS
from longshore.webhooks.receiver import Webhook
from longshore.webhooks.sender import PAUSES_S, TIMEOUT_S
from longshore.webhooks.signing import headers, key_of
from support.documents import row_of
from support.makers import make_rollout

GUIDE = (Path(__file__).parents[2] / "docs/guide/webhooks.md").read_text("utf-8")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_a_body_has_the_fields_of_one() -> None:
    shown = json.loads(re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)[0])
    sent = json.loads(FORMATS["json"](make_rollout(), "rollout.failed", 1000.0))
    assert (list(shown), list(shown["data"])) == (list(sent), list(sent["data"]))


def test_the_lines_that_verify_a_signature_do() -> None:
    found: dict[str, object] = {}
    exec(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)[0], found)
    is_genuine = found["is_genuine"]
    assert callable(is_genuine)
    body = b'{"type": "rollout.failed"}'
    signed = headers(key_of(SECRET), "msg_1", body, time.time())
    assert is_genuine(signed, body, SECRET)
    assert not is_genuine(signed, body + b" ", SECRET)
    assert not is_genuine(headers(key_of(SECRET), "msg_1", body, time.time() - 600), body, SECRET)


@pytest.mark.parametrize("event", EVENTS)
def test_what_is_told_by_default_is_marked(event: str) -> None:
    assert (row_of("docs/guide/webhooks.md", event)[2] == "yes") is (event in Webhook.model_fields["events"].default)


def test_pauses_and_bounds_are_those_of_the_sender() -> None:
    shown = re.search(r"is tried again after (.*?):", GUIDE, re.DOTALL)
    assert shown is not None
    pauses = [parse_duration(each.replace(" ", "").replace("min", "m")) for each in re.findall(r"\d+\s+\w+", shown[1])]
    assert tuple(pauses) == PAUSES_S
    assert f"an attempt ends after {TIMEOUT_S:g} s" in GUIDE
