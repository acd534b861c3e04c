"""The merge patch of a change → what it sets and what it takes back: null at every depth, and what it cannot touch."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.api.wire_request import CHANGE_FIELDS, DEPLOY_FIELDS, parse_change
from longshore.errors import LongshoreError
from longshore.model import CanaryStep, Spec
from longshore.rollout.specs import FIXED, changed
from support.makers import make_spec

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_a_change_may_touch_everything_but_the_files_and_their_place() -> None:
    assert CHANGE_FIELDS.keys() | FIXED == {field.name for field in fields(Spec)}
    assert not CHANGE_FIELDS.keys() & FIXED


@pytest.mark.parametrize("name", CHANGE_FIELDS)
def test_the_documented_example_of_every_field_is_taken(name: str) -> None:
    request = parse_change({name: DEPLOY_FIELDS[name].example} if DEPLOY_FIELDS[name].example is not None else {})
    assert request.issues == ()


@pytest.mark.parametrize("value", ["x", None, "", 3])
@pytest.mark.parametrize("name", sorted(FIXED))
def test_what_is_fixed_is_refused_whatever_it_is_given(name: str, value: object) -> None:
    request = parse_change({name: value, "replicas": 2})
    assert [issue.field for issue in request.issues] == [name]
    assert "deploy that" in request.issues[0].message
    assert (request.fields, request.dropped) == ({"replicas": 2}, frozenset())


@pytest.mark.parametrize(
    ("body", "given", "dropped"),
    [
        ({"replicas": None}, {}, {"replicas"}),
        ({"health_check": None}, {}, {"health_check"}),
        (
            {"health_check": {"interval": None, "timeout": "1s"}},
            {"health_check": {"timeout": 1.0}},
            {"health_check.interval"},
        ),
        (
            {"canary": {"analysis": {"min_requests": None}}},
            {"canary": {"analysis": {}}},
            {"canary.analysis.min_requests"},
        ),
        ({"canary": {"steps": [{"weight": 100, "pause": 0}]}}, {"canary": {"steps": (CanaryStep(100, 0.0),)}}, set()),
        ({"configuration": None}, {}, {"configuration"}),
        ({"configuration": {"A": "1", "B": None}}, {"configuration": {"A": "1"}}, {"configuration.B"}),
        ({"configuration": {"A": ""}}, {"configuration": {"A": ""}}, set()),
        ({"health_check_url": ""}, {}, {"health_check_url"}),
        ({"recreate": {"hold": False}}, {"recreate": {"hold": 0.0}}, set()),
    ],
    ids=str,
)
def test_null_takes_back_and_everything_else_sets(body: Any, given: Any, dropped: set[str]) -> None:
    request = parse_change(body)
    assert request.issues == ()
    assert (request.fields, request.dropped) == (given, dropped)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, ""),
        ([], ""),
        ({"replica": None}, "replica"),
        ({"health_check": {"intervall": None}}, "health_check.intervall"),
        ({"port": {"a": None}}, "port"),
        ({"configuration": {"A": 1}}, "configuration.A"),
        ({"configuration": {"a.b": None}}, "configuration"),
        ({"configuration": "A=1"}, "configuration"),
        ({"command": None}, "command"),
        ({"replicas": 0}, "replicas"),
    ],
    ids=str,
)
def test_a_patch_that_makes_no_sense_names_its_field(body: Any, field: str) -> None:
    assert [issue.field for issue in parse_change(body).issues] == [field]


@given(ANYTHING | st.dictionaries(st.sampled_from(sorted(DEPLOY_FIELDS)), ANYTHING, max_size=4))
def test_no_patch_makes_it_fall_over(body: object) -> None:
    request = parse_change(body)
    current = make_spec("1.0", configuration={"A": "1"})
    try:
        assert isinstance(changed(current, request.fields, request.dropped), Spec)
    except LongshoreError:
        return
