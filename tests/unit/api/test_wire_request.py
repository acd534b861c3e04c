"""Request bodies → model: every field, every way to get it wrong, and nothing that makes the parser fall over."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longshore.api.wire_request import DEPLOY_FIELDS, parse_request
from longshore.model import CanaryStep, Spec

MINIMAL = {"name": "shop", "version": "1.0", "artifact_path": "/srv/a.tar.gz"}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)


def issues_of(**more: Any) -> dict[str, str]:
    return {issue.field: issue.message for issue in parse_request({**MINIMAL, **more}).issues}


def read(**more: Any) -> dict[str, Any]:
    request = parse_request({**MINIMAL, **more})
    assert request.issues == ()
    return dict(request.fields)


def test_every_field_of_the_specification_can_be_asked_for() -> None:
    assert set(DEPLOY_FIELDS) == {field.name for field in fields(Spec)}


@pytest.mark.parametrize("name", DEPLOY_FIELDS)
def test_the_documented_example_of_every_field_is_accepted(name: str) -> None:
    example = DEPLOY_FIELDS[name].example
    if example is not None:
        assert name in read(**{name: example})


@given(JSON)
def test_no_json_value_makes_the_parser_fall_over(body: Any) -> None:
    parse_request(body)


@given(st.dictionaries(st.sampled_from(sorted(DEPLOY_FIELDS)), JSON))
def test_whatever_a_field_holds_is_either_read_or_an_issue(body: dict[str, Any]) -> None:
    request = parse_request(body)
    reported = {issue.field.split(".")[0] for issue in request.issues}
    for name, value in body.items():
        assert name in request.fields or name in reported or value in (None, "")


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True).filter(lambda name: name != "validate"))
def test_every_name_of_the_contract_is_accepted(name: str) -> None:
    assert parse_request({**MINIMAL, "name": name}).issues == ()


@given(st.floats(min_value=0, max_value=86400, allow_nan=False))
def test_a_number_of_seconds_is_read_as_it_is(seconds: float) -> None:
    assert read(drain_timeout=seconds)["drain_timeout"] == seconds


@pytest.mark.parametrize(
    "name", ["Shop", "-shop", "shop-", "a" * 64, "sh op", "shöp", "a/b", "..", "validate", "shop\n"]
)
def test_a_name_that_the_contract_forbids_is_refused(name: str) -> None:
    assert "name" in issues_of(name=name)


@pytest.mark.parametrize("version", ["-1", ".", "a b", "v" * 129, "../1", "1/2"])
def test_a_version_that_the_contract_forbids_is_refused(version: str) -> None:
    assert "version" in issues_of(version=version)


def test_all_problems_come_at_once_with_dotted_paths() -> None:
    found = parse_request(
        {
            "version": 3,
            "replicas": "3",
            "health_check": {"interval": "soon", "tries": 1},
            "canary": {"steps": [{"weight": 0}, {"pause": "1s"}]},
            "configuration": {"PORT": 80},
            "pre_deploy_hooks": ["make", " "],
        }
    ).issues
    assert {issue.field for issue in found} == {
        "name",
        "artifact_path",
        "version",
        "replicas",
        "health_check.interval",
        "health_check.tries",
        "canary.steps.0.weight",
        "canary.steps.1.weight",
        "configuration.PORT",
        "pre_deploy_hooks.1",
    }


@pytest.mark.parametrize("written", ["artefact_path", "artifactPath", "artifact-path"])
def test_an_unknown_field_is_an_issue_that_names_the_one_probably_meant(written: str) -> None:
    assert issues_of(**{written: "/a"})[written].endswith("did you mean artifact_path?")


def test_an_unknown_field_far_from_all_others_lists_the_known_ones() -> None:
    assert "known are" in issues_of(xyzzy=1)["xyzzy"]


@pytest.mark.parametrize("value", ["3", True, 1.5, [3], {}, 0, -1, 1001])
def test_replicas_are_a_whole_number_from_1_to_1000_and_nothing_is_coerced(value: Any) -> None:
    assert "replicas" in issues_of(replicas=value)


def test_null_means_not_given_for_what_is_optional_and_missing_for_what_is_required() -> None:
    assert "dependencies" not in read(dependencies=None)
    assert parse_request({**MINIMAL, "name": None}).issues[0].message == "is required"


@pytest.mark.parametrize("name", ["environment", "working_directory", "service_name", "health_check_url"])
def test_an_empty_string_means_not_given_for_the_optional_strings_of_the_seed(name: str) -> None:
    assert name not in read(**{name: ""})


def test_an_empty_strategy_is_recreate() -> None:
    assert read(strategy="")["strategy"] == "recreate"


def test_rollback_on_failure_false_is_not_taken_for_missing() -> None:
    assert read(rollback_on_failure=False)["rollback_on_failure"] is False


@pytest.mark.parametrize(
    ("given_value", "seconds"), [("1m30s", 90.0), ("500ms", 0.5), (2, 2.0), (0.25, 0.25), ("0s", 0.0)]
)
def test_durations_are_go_strings_or_seconds(given_value: Any, seconds: float) -> None:
    assert read(drain_timeout=given_value)["drain_timeout"] == seconds


@pytest.mark.parametrize("value", ["soon", "-1s", -1, float("nan"), float("inf"), True, 10**400, "1000000h", "NaN", []])
def test_a_duration_that_is_none_is_refused(value: Any) -> None:
    assert "drain_timeout" in issues_of(drain_timeout=value)


@pytest.mark.parametrize(("hold", "seconds"), [(True, 30.0), (False, 0.0), ("5s", 5.0), (7, 7.0)])
def test_hold_is_a_switch_or_a_duration(hold: Any, seconds: float) -> None:
    assert read(recreate={"hold": hold})["recreate"] == {"hold": seconds}


@pytest.mark.parametrize(
    ("memory", "size"), [("256M", 256 << 20), ("1G", 1 << 30), ("2GiB", 2 << 30), (1 << 20, 1 << 20)]
)
def test_memory_is_bytes_or_a_size(memory: Any, size: int) -> None:
    assert read(resources={"memory": memory})["resources"] == {"memory": size}


def test_canary_steps_become_records() -> None:
    steps = [{"weight": 5, "pause": 10}, {"weight": 50, "pause": "manual"}, {"weight": 100}]
    assert read(canary={"steps": steps})["canary"] == {
        "steps": (CanaryStep(5, 10.0), CanaryStep(50, "manual"), CanaryStep(100))
    }


@pytest.mark.parametrize("weights", [[50, 25, 100], [50, 50, 100], [25, 50], []])
def test_canary_weights_must_grow_up_to_100(weights: list[int]) -> None:
    assert "canary.steps" in issues_of(canary={"steps": [{"weight": weight} for weight in weights]})


@pytest.mark.parametrize("surge", [101, "25", "101%", -1, 0.5, True])
def test_max_surge_is_a_count_or_a_percentage(surge: Any) -> None:
    valid = surge == 101
    assert ("rolling.max_surge" in issues_of(rolling={"max_surge": surge})) is not valid


def test_a_deployment_cannot_depend_on_itself() -> None:
    assert "dependencies" in issues_of(dependencies=["database", "shop"])


def test_a_dependency_named_twice_is_one() -> None:
    assert read(dependencies=["a", "b", "a"])["dependencies"] == ("a", "b")


@pytest.mark.parametrize("text", ["a\x00b", "a\x1bb", "\ud800"])
@pytest.mark.parametrize("name", ["artifact_path", "service_name"])
def test_control_characters_and_half_characters_are_refused(name: str, text: str) -> None:
    assert name in issues_of(**{name: f"/{text}"})


def test_a_hook_may_have_several_lines() -> None:
    assert read(pre_deploy_hooks=["set -e\nmake\n"])["pre_deploy_hooks"] == ("set -e\nmake\n",)


@pytest.mark.parametrize(
    "url", ["localhost:80", "ftp://x/", "http://", "http://x:99999/", "http://x y/", "http://[::1"]
)
def test_a_health_check_url_that_cannot_be_polled_is_refused(url: str) -> None:
    assert "health_check_url" in issues_of(health_check_url=url)


@pytest.mark.parametrize("path", ["/etc", "..", "a/../../b", ".", ""])
def test_a_shared_path_stays_inside_the_release(path: str) -> None:
    assert "shared_paths.0" in issues_of(shared_paths=[path])


def test_a_command_is_a_line_or_a_list() -> None:
    assert read(command="./run")["command"] == "./run"
    assert read(command=["./run", ""])["command"] == ("./run", "")
    assert "command" in issues_of(command=[])


@pytest.mark.parametrize("body", [None, [], "text", 3, True])
def test_a_body_that_is_no_object_is_one_issue(body: Any) -> None:
    assert [issue.field for issue in parse_request(body).issues] == [""]


@pytest.mark.parametrize("name", DEPLOY_FIELDS)
def test_the_schema_of_every_field_is_json(name: str) -> None:
    json.dumps(DEPLOY_FIELDS[name].schema())
