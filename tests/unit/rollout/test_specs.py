"""What a request means: what is given, then the current release, then the environment, then the built-in defaults."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from longshore.model import Canary, CanaryStep, HealthCheck, Resources, Rolling, Spec
from longshore.rollout.specs import INHERITED, changed, resolve
from support.makers import make_deployment, make_spec

APPS = Path("/data/apps")
GIVEN = {"name": "shop", "version": "2.0", "artifact_path": "/srv/2.0"}
#: fields of the seed contract: what a request leaves out is never taken from the release before
SEED = {
    "name",
    "version",
    "artifact_path",
    "environment",
    "strategy",
    "working_directory",
    "service_name",
    "health_check_url",
    "rollback_on_failure",
    "dependencies",
    "pre_deploy_hooks",
    "post_deploy_hooks",
}
CURRENT = make_spec(
    "1.0",
    strategy="canary",
    service_name="old",
    health_check_url="http://localhost:8080/old",
    rollback_on_failure=False,
    dependencies=("db",),
    pre_deploy_hooks=("old",),
    post_deploy_hooks=("old",),
    replicas=4,
    command="./old",
    configuration={"A": "1", "B": "2"},
    shared_paths=("storage",),
    health_check=HealthCheck(interval=9.0, timeout=8.0),
    rolling=Rolling(3, 2),
    canary=Canary((CanaryStep(100),), sticky=True),
    drain_timeout=3.0,
    artifact_sha256="0" * 64,
    post_deploy_failure="rollback",
)


def resolved(
    *, current: Spec | None = None, serves: int | None = None, defaults: dict[str, Any] | None = None, **given: Any
) -> Spec:
    known = current is not None or serves is not None
    deployment = make_deployment(
        environment="live",
        working_directory="/srv/shop",
        public_port=serves,
        current_version="1.0" if current else None,
    )
    return resolve(
        GIVEN | given,
        current=current,
        deployment=deployment if known else None,
        defaults=defaults or {},
        apps=APPS,
    )


def test_the_least_that_can_be_given_gets_the_built_in_defaults() -> None:
    assert resolved() == Spec("shop", "2.0", "/srv/2.0", working_directory="/data/apps/shop")


def test_every_field_is_either_the_seeds_or_inherited() -> None:
    assert INHERITED | SEED | {"artifact_sha256"} == {field.name for field in fields(Spec)}
    assert not INHERITED & SEED


def test_what_is_beyond_the_seed_is_inherited_and_what_is_of_the_seed_is_not() -> None:
    found = resolved(current=CURRENT)
    for name in INHERITED:
        assert getattr(found, name) == getattr(CURRENT, name), name
    plain = Spec("shop", "2.0", "/srv/2.0", environment="live", working_directory="/srv/shop")
    for name in SEED | {"artifact_sha256"}:
        assert getattr(found, name) == getattr(plain, name), name


def test_the_current_release_beats_the_environment_and_that_the_built_in_defaults() -> None:
    defaults = {"replicas": 7, "stop_timeout": 2.0, "strategy": "rolling", "health_check": {"timeout": 1.0}}
    first = resolved(defaults=defaults)
    assert (first.replicas, first.stop_timeout, first.strategy) == (7, 2.0, "rolling")
    assert first.health_check == HealthCheck(timeout=1.0)
    later = resolved(current=CURRENT, defaults=defaults)
    assert (later.replicas, later.strategy, later.health_check.timeout) == (4, "rolling", 8.0)


def test_what_is_given_beats_all() -> None:
    found = resolved(current=CURRENT, defaults={"replicas": 7}, replicas=2, strategy="recreate")
    assert (found.replicas, found.strategy) == (2, "recreate")


def test_a_group_is_patched_and_a_map_replaced() -> None:
    found = resolved(current=CURRENT, health_check={"interval": 2.0}, configuration={"C": "3"})
    assert found.health_check == HealthCheck(interval=2.0, timeout=8.0)
    assert found.configuration == {"C": "3"}


def test_a_group_inside_a_group_is_patched_too() -> None:
    found = resolved(current=CURRENT, canary={"analysis": {"min_requests": 5}})
    assert found.canary.analysis.min_requests == 5
    assert found.canary.steps == CURRENT.canary.steps
    assert found.canary.sticky


def test_defaults_never_name_or_version_a_deployment() -> None:
    found = resolved(defaults={"name": "other", "version": "9"})
    assert (found.name, found.version) == ("shop", "2.0")


def test_a_deployment_stays_where_it_is_unless_told_otherwise() -> None:
    stays = resolved(current=CURRENT)
    assert (stays.environment, stays.working_directory) == ("live", "/srv/shop")
    told = resolved(current=CURRENT, environment="test", working_directory="/elsewhere")
    assert (told.environment, told.working_directory) == ("test", "/elsewhere")


@pytest.mark.parametrize(
    ("given", "public"),
    [
        ({}, 8080),
        ({"health_check_url": "http://localhost:8080/new"}, 8080),
        ({"health_check_url": "http://localhost:9090/new"}, 9090),
        ({"health_check_url": "https://shop.example.org/"}, 8080),
        ({"port": 9000}, 9000),
    ],
)
def test_the_port_that_serves_stays_unless_another_is_named(given: dict[str, Any], public: int) -> None:
    assert resolved(current=CURRENT, serves=8080, **given).public_port == public


def test_an_inherited_port_gives_way_to_the_one_that_the_health_url_names() -> None:
    current = make_spec("1.0", port=7000)
    found = resolved(current=current, serves=7000, health_check_url="http://localhost:9090/up")
    assert found.public_port == 9090
    assert found.port is None


def test_a_port_and_a_url_that_disagree_are_left_for_validation_to_refuse() -> None:
    found = resolved(health_check_url="http://localhost:9090/up", port=8080)
    assert found.port == 8080
    assert found.health_check_url == "http://localhost:9090/up"


def test_what_a_shape_error_left_out_is_empty() -> None:
    found = resolve({}, current=None, deployment=None, defaults={}, apps=APPS)
    assert (found.name, found.version, found.artifact_path) == ("", "", "")


def test_unknown_fields_are_left_out() -> None:
    assert resolved(colour="blue", health_check={"colour": "blue"}) == resolved()


# ------------------------------------------------------------------------------------------------ changes


SERVING = make_spec(
    "1.0",
    health_check_url="http://localhost:8080/up",
    configuration={"A": "1", "B": "2"},
    health_check=HealthCheck(interval=9.0, timeout=3.0),
    resources=Resources(memory=5),
    replicas=3,
)


@pytest.mark.parametrize(
    ("patch", "dropped", "expected"),
    [
        ({"replicas": 5}, (), {"replicas": 5}),
        ({}, ("replicas",), {"replicas": 1}),
        ({"configuration": {"A": "9", "C": "3"}}, (), {"configuration": {"A": "9", "B": "2", "C": "3"}}),
        ({}, ("configuration.A", "configuration.Z"), {"configuration": {"B": "2"}}),
        ({}, ("configuration",), {"configuration": {}}),
        ({"health_check": {"interval": 1.0}}, (), {"health_check": HealthCheck(interval=1.0, timeout=3.0)}),
        ({}, ("health_check.interval",), {"health_check": HealthCheck(timeout=3.0)}),
        ({}, ("health_check",), {"health_check": HealthCheck()}),
        ({}, ("resources.memory", "canary.sticky"), {"resources": Resources()}),
    ],
    ids=str,
)
def test_a_change_patches_what_serves_and_what_it_drops_is_the_default(
    patch: dict[str, Any], dropped: tuple[str, ...], expected: dict[str, Any]
) -> None:
    assert changed(SERVING, patch, dropped) == replace(SERVING, **expected)


@pytest.mark.parametrize(
    ("patch", "dropped", "public"),
    [
        ({"health_check_url": "http://localhost:8080/new"}, (), 8080),
        ({"health_check_url": "http://localhost:9090/up"}, (), 9090),
        ({"health_check_url": "https://shop.example.org/up"}, (), 8080),
        ({}, ("health_check_url",), 8080),
        ({"port": 9000}, ("health_check_url",), 9000),
        ({}, ("health_check_url", "port"), None),
    ],
    ids=str,
)
def test_a_change_takes_nothing_off_its_port_unless_it_says_so(
    patch: dict[str, Any], dropped: tuple[str, ...], public: int | None
) -> None:
    assert changed(SERVING, patch, dropped).public_port == public


def test_a_port_given_beside_the_url_gives_way_to_a_url_that_is_changed() -> None:
    serving = replace(SERVING, port=8080)
    assert changed(serving, {"replicas": 4}, ()).port == 8080
    assert changed(serving, {"health_check_url": "http://localhost:9090/up"}, ()).public_port == 9090
