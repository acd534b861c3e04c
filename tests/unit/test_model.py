"""The two pure rules, and what a Spec says of its port."""

from __future__ import annotations

import socket

import pytest

from longshore.model import (
    OPEN_STATUSES,
    TRANSITIONS,
    Health,
    Rollout,
    RolloutKind,
    RolloutStatus,
    Routing,
    State,
    derive_health,
    derive_state,
    is_local_http,
)
from support.makers import make_rollout, make_spec


@pytest.mark.parametrize(
    ("desired", "ready", "health"),
    [
        (3, 3, Health.healthy),
        (3, 4, Health.healthy),
        (3, 2, Health.degraded),
        (3, 1, Health.degraded),
        (3, 0, Health.unhealthy),
        (1, 0, Health.unhealthy),
        (0, 0, Health.healthy),
    ],
)
def test_health_is_all_ready_some_or_none(desired: int, ready: int, health: Health) -> None:
    assert derive_health(desired=desired, ready=ready) is health


def test_health_is_unknown_where_nobody_can_be_asked() -> None:
    assert derive_health(desired=3, ready=3, known=False) is Health.unknown


RUNNING = make_rollout(status=RolloutStatus.running)
HELD = make_rollout(status=RolloutStatus.held)


@pytest.mark.parametrize(
    ("open_rollout", "last", "current", "health", "state"),
    [
        (RUNNING, RUNNING, None, Health.unknown, State.deploying),
        (RUNNING, RUNNING, "1.0", Health.healthy, State.deploying),
        (make_rollout(status=RolloutStatus.paused), None, "1.0", Health.healthy, State.deploying),
        (make_rollout(status=RolloutStatus.committed), None, "1.0", Health.healthy, State.deploying),
        (make_rollout(status=RolloutStatus.unwinding), None, "1.0", Health.healthy, State.rolling_back),
        (make_rollout(kind=RolloutKind.rollback), None, "1.0", Health.healthy, State.rolling_back),
        (None, None, None, Health.healthy, State.failed),
        (None, make_rollout(status=RolloutStatus.unwound), None, Health.unknown, State.failed),
        (None, make_rollout(status=RolloutStatus.unwound), "1.0", Health.healthy, State.healthy),
        (None, HELD, "1.0", Health.healthy, State.failed),
        (None, make_rollout(status=RolloutStatus.stuck), "1.0", Health.healthy, State.failed),
        (None, make_rollout(status=RolloutStatus.succeeded), "1.0", Health.healthy, State.healthy),
        (None, None, "1.0", Health.degraded, State.healthy),
        (None, None, "1.0", Health.unhealthy, State.unhealthy),
        (None, None, "1.0", Health.unknown, State.unknown),
    ],
)
def test_state_follows_from_facts(
    open_rollout: Rollout | None, last: Rollout | None, current: str | None, health: Health, state: State
) -> None:
    found = derive_state(open_rollout=open_rollout, last_rollout=last, current_version=current, health=health)
    assert found is state


def test_every_status_has_its_transitions_and_only_ends_have_none() -> None:
    assert set(TRANSITIONS) == set(RolloutStatus)
    assert {s for s, following in TRANSITIONS.items() if not following} == {
        RolloutStatus.succeeded,
        RolloutStatus.unwound,
    }


def test_nothing_leads_back_from_past_the_commit() -> None:
    reached, queue = set[RolloutStatus](), [RolloutStatus.committed]
    while queue:
        status = queue.pop()
        reached.add(status)
        queue += TRANSITIONS[status] - reached
    assert reached == {RolloutStatus.committed, RolloutStatus.succeeded}


def test_nothing_that_is_over_becomes_open_again() -> None:
    for status, following in TRANSITIONS.items():
        if status not in OPEN_STATUSES:
            assert not following & OPEN_STATUSES


def test_an_open_rollout_has_not_failed() -> None:
    assert not any(status.is_open and status.is_failed for status in RolloutStatus)
    assert {s for s in RolloutStatus if not s.is_open and not s.is_failed} == {RolloutStatus.succeeded}


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/health",
        "http://LOCALHOST/",
        "http://shop.localhost:81",
        "http://127.0.0.1:80/",
        "http://127.9.9.9/",
        "http://[::1]:8080/",
        "http://0.0.0.0:8080/",
        f"http://{socket.gethostname().upper()}:8080/",
    ],
)
def test_http_on_this_machine_is_local(url: str) -> None:
    assert is_local_http(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/",
        "http://example.org/",
        "http://10.0.0.1:8080/",
        "http://localhost.example.org/",
        "http:///x",
        "",
    ],
)
def test_everything_else_is_not(url: str) -> None:
    assert not is_local_http(url)


@pytest.mark.parametrize(
    ("fields", "port", "path", "external"),
    [
        ({}, None, None, None),
        ({"port": 9000}, 9000, None, None),
        ({"health_check_url": "http://localhost:8080/up?x=1"}, 8080, "/up?x=1", None),
        ({"health_check_url": "http://localhost"}, 80, "/", None),
        ({"health_check_url": "http://localhost:8080/up", "port": 9000}, 9000, "/up", None),
        ({"health_check_url": "https://shop.example.org/up"}, None, None, "https://shop.example.org/up"),
        ({"health_check_url": "https://a.example/", "port": 9000}, 9000, None, "https://a.example/"),
    ],
)
def test_a_health_url_here_names_port_and_path_and_one_elsewhere_is_polled(
    fields: dict[str, object], port: int | None, path: str | None, external: str | None
) -> None:
    spec = make_spec(**fields)
    assert (spec.public_port, spec.probe_path, spec.external_check) == (port, path, external)


def test_a_routing_lists_the_pools_it_has() -> None:
    assert Routing(80, None).pools == ()
