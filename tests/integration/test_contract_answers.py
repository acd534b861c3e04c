"""What the contract says of answers in general, asked of a real manager: forms, codes, limits, the envelope."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from longshore.errors import LongshoreError
from support.backends import free_port
from support.hostile import ROOT, Hostile, ask, error_of, hostile_manager, processes, until

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
#: as Go's time.Duration.String prints them
DURATION = re.compile(r"0s|(\d+h)?(\d+m)?\d+(\.\d+)?s|\d+(\.\d+)?(ms|µs)")


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


def site(manager: Hostile, version: str = "1") -> dict[str, Any]:
    return {"artifact_path": manager.site(version), "command": None}


def envelope(text: bytes | str) -> dict[str, Any]:
    """The error in an answer that has the seed's form and nothing besides."""
    body = json.loads(text)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details", "timestamp"}
    assert {"deployment", "operation", "cause"} <= set(body["error"]["details"])
    assert TIME.fullmatch(body["error"]["timestamp"])
    error: dict[str, Any] = body["error"]
    return error


# ----------------------------------------------------------------------------------------------- forms


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of an answer with the key it stands under."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, name)
    else:
        yield name, value


def test_every_time_is_in_utc_with_milliseconds_and_every_duration_is_gos(manager: Hostile) -> None:
    port = free_port()
    answers: list[Any] = [manager.deployed("forms", str(version), port=port) for version in (1, 2)]
    answers.append(manager.refused("forms", "3", 500, "HOOK_FAILED", port=port, pre_deploy_hooks=["exit 1"]))
    answers.append(manager.rollback("forms").json())
    for path in ("", "/forms", "/forms/health", "/forms/rollouts", "/forms/releases", "/forms/events"):
        answers.append(manager.http.get(f"{ROOT}{path}").json())
    found = [leaf for answer in answers for leaf in leaves(answer)]
    times = re.compile(r".*_time|.*_at|timestamp|last_.*")
    for name, value in found:
        if times.fullmatch(name) and value is not None:
            assert TIME.fullmatch(value), (name, value)
        elif name == "duration":
            assert DURATION.fullmatch(value), value
    names = {name for name, _ in found}
    assert {"start_time", "end_time", "timestamp", "last_updated", "updated_at", "last_run", "last_check"} <= names


def test_the_answer_to_a_rollback_has_the_seeds_message_and_the_version_that_serves(manager: Hostile) -> None:
    port = free_port()
    for version in ("1", "2"):
        manager.deployed("answer", version, port=port)
    body = manager.rollback("answer").json()
    assert (body["message"], body["version"]) == ("Rollback completed successfully", "1")
    assert ask(port) == "200 1"


def test_status_shows_the_last_50_events_newest_first_and_events_all_of_them(manager: Hostile) -> None:
    for number in range(26):
        manager.deployed("events", str(number), **site(manager, str(number)))
    shown = manager.status("events")["events"]
    every = manager.http.get(f"{ROOT}/events/events?limit=500").json()["events"]
    assert (len(shown), len(every)) == (50, 52)
    assert shown == every[:50]
    assert shown[0]["message"] == "Deployed events 25"
    assert [event["id"] for event in every] == sorted((event["id"] for event in every), reverse=True)


def test_a_client_that_disconnects_changes_nothing(manager: Hostile) -> None:
    go = manager.directory / "leave.go"
    hook = f"touch {go}.here; while [ ! -e {go} ]; do sleep 0.02; done"
    body = json.dumps(manager.spec("leave", "1", **site(manager), pre_deploy_hooks=[hook])).encode()
    host, _, port = manager.listen.rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            f"POST {ROOT} HTTP/1.1\r\nHost: {manager.listen}\r\nAuthorization: Bearer {manager.token}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        until("the hook", (manager.directory / "leave.go.here").exists)
    go.touch()
    (rollout,) = manager.http.get(f"{ROOT}/leave/rollouts").json()["rollouts"]
    assert manager.over("leave", rollout["id"])["status"] == "succeeded"


@pytest.mark.parametrize("strategy", ["recreate", "rolling", "canary", "blue-green"])
def test_when_a_deploy_answers_the_new_version_serves_and_nothing_of_the_old_one_runs(
    manager: Hostile, strategy: str
) -> None:
    name, port = f"safe-{strategy}", free_port()
    mark = {"WHOSE": f"{manager.directory.name}-{name}"}
    common: dict[str, Any] = {"port": port, "strategy": strategy, "configuration": mark, "replicas": 2}
    common["canary"] = {"steps": [{"weight": 100, "pause": "0s"}]}
    for version in ("1", "2"):
        manager.deployed(name, version, **common)
    assert {ask(port) for _ in range(6)} == {"200 2"}
    assert len(processes(f"WHOSE={mark['WHOSE']}\0")) == 2


# ----------------------------------------------------------------------------------------------- the envelope


def test_what_is_no_http_is_answered_in_the_envelope(manager: Hostile) -> None:
    host, _, port = manager.listen.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        client.sendall(b"HELLO\r\n\r\n")
        with client.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert envelope(body)["code"] == "INVALID_DEPLOYMENT_SPEC"


@pytest.mark.parametrize(("token", "status", "code"), [(None, 404, "NOT_FOUND"), ("wrong", 401, "UNAUTHORIZED")])
def test_a_websocket_of_another_path_is_refused_in_the_envelope(
    manager: Hostile, token: str | None, status: int, code: str
) -> None:
    headers = {"Authorization": f"Bearer {token or manager.token}"}
    with pytest.raises(InvalidStatus) as refused:
        connect(f"ws://{manager.listen}{ROOT}/shop/elsewhere", additional_headers=headers)
    assert refused.value.response.status_code == status
    assert envelope(bytes(refused.value.response.body or b""))["code"] == code


def test_every_error_code_of_the_contract_can_be_met(manager: Hostile) -> None:
    met: dict[str, int] = {}

    def meet(answer: httpx2.Response) -> None:
        met[envelope(answer.content)["code"]] = answer.status_code

    def deploy(name: str, version: str = "1", **fields: Any) -> None:
        meet(manager.deploy(name, version, **{**site(manager), **fields}))

    port = free_port()
    deploy("codes", version="!")
    deploy("codes", artifact_path="/does/not/exist")
    deploy("codes", dependencies=["nobody"])
    assert met["DEPENDENCY_FAILED"] == 400
    deploy("codes", pre_deploy_hooks=["exit 1"])
    deploy("codes", health_check_url=f"http://127.0.0.1:{port}/", health_check={"deadline": "300ms"})
    deploy("needed", pre_deploy_hooks=["exit 1"])
    deploy("codes", dependencies=["needed"])
    manager.deployed("codes", "1", **site(manager))
    meet(manager.rollback("codes"))
    meet(manager.http.get(f"{ROOT}/nobody"))
    meet(manager.http.get("/nowhere"))
    meet(manager.http.put(ROOT))
    meet(manager.http.patch(f"{ROOT}/codes", json={"replicas": 2}, headers={"If-Match": '"999"'}))
    meet(manager.http.get(ROOT, headers={"Authorization": "Bearer wrong"}))

    id = manager.begin("codes", "2", **site(manager, "2"), pre_deploy_hooks=["sleep 3333"])
    deploy("codes", "3")
    manager.http.post(f"{ROOT}/codes/rollouts/{id}/abort", json={})
    aborted = manager.rollout("codes", id)["error"]
    met[aborted["code"]] = 500

    flag = manager.directory / "codes.flag"
    manager.deployed("fails", "1", **site(manager), pre_deploy_hooks=[f"[ ! -e {flag} ]"])
    manager.deployed("fails", "2", **site(manager, "2"))
    flag.touch()
    meet(manager.rollback("fails", "1"))

    key = {"Idempotency-Key": "interrupted"}
    spec = manager.spec("interrupted", "1", **site(manager), pre_deploy_hooks=["sleep 3333"])
    begun = manager.http.post(ROOT, json=spec, headers={**key, "Prefer": "respond-async"}).json()["id"]
    until("the hook", lambda: "pre_deploy_hooks" in [s["name"] for s in manager.rollout("interrupted", begun)["steps"]])
    manager.end(signal.SIGKILL)
    manager.start()
    manager.over("interrupted", begun)
    meet(manager.http.post(ROOT, json=spec, headers=key))

    manager.http.put(f"{ROOT}/codes/lock", json={})
    deploy("codes", "3")
    manager.http.delete(f"{ROOT}/codes/lock")
    cold = {"cold": {"freeze": [{"cron": "* * * * *", "duration": "1h"}]}}
    with hostile_manager(LONGSHORE_ENVIRONMENTS=json.dumps(cold)) as frozen:
        meet(frozen.deploy("codes", "1", **site(frozen), environment="cold"))

    with hostile_manager(LONGSHORE_NO_AUTH="true", LONGSHORE_RATE_LIMITS__LIST="1") as open_to_all:
        meet(open_to_all.http.get(ROOT, headers={"Host": "evil.example"}))
        open_to_all.http.get(ROOT)
        meet(open_to_all.http.get(ROOT))
        open_to_all.end()
        open_to_all.start()

    statuses = {kind.code: kind.status for kind in subclasses(LongshoreError)}
    # A fault of the manager cannot be asked for: test_an_unforeseen_error_is_500_and_tells_nothing makes one.
    assert met == {code: status for code, status in statuses.items() if code != "INTERNAL_ERROR"}


def subclasses(kind: type[LongshoreError]) -> Iterator[type[LongshoreError]]:
    """The classes that errors.py has for codes."""
    for each in kind.__subclasses__():
        if each.__module__ == "longshore.errors":
            yield each
            yield from subclasses(each)


# ----------------------------------------------------------------------------------------------- rate limits


@pytest.fixture
def limited() -> Iterator[Hostile]:
    """A manager whose limits are those it has by default."""
    unset = {f"LONGSHORE_RATE_LIMITS__{each}": "" for each in ("DEPLOY", "STATUS", "LIST")}
    with hostile_manager(**unset) as manager:
        yield manager
        # Counts are in memory: what takes it down is not to be refused.
        manager.end()
        manager.start()


def test_by_default_a_name_takes_5_deploys_a_minute_whatever_their_answer_and_replays_are_free(
    limited: Hostile,
) -> None:
    key = {"Idempotency-Key": "one"}
    spec = limited.spec("shop", "1", **site(limited))
    first = limited.http.post(ROOT, json=spec, headers=key)
    assert first.status_code == 201
    for _ in range(7):
        assert limited.http.post(ROOT, json=spec, headers=key).json() == first.json()
    limited.refused("shop", "!", 400, "INVALID_DEPLOYMENT_SPEC", **site(limited))
    limited.refused("shop", "2", 400, "ARTIFACT_NOT_FOUND", artifact_path="/does/not/exist")
    limited.refused("shop", "2", 500, "HOOK_FAILED", **site(limited, "2"), pre_deploy_hooks=["exit 1"])
    error_of(limited.http.post(ROOT, json={**spec, "version": "3"}, headers=key), 400, "INVALID_DEPLOYMENT_SPEC")
    for _ in range(3):
        answer = limited.deploy("shop", "2", **site(limited, "2"))
        error_of(answer, 429, "RATE_LIMITED")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["ratelimit-policy"] == '"deploy";q=5;w=60'
        assert answer.headers["ratelimit"].startswith('"deploy";r=0;t=')
    limited.deployed("other", "1", **site(limited))
    assert limited.rollback("shop", "9").status_code == 400


def test_by_default_a_client_gets_100_statuses_and_healths_and_50_lists_a_minute(limited: Hostile) -> None:
    paths = [f"{ROOT}/nobody", f"{ROOT}/nobody/health"] * 50
    assert {limited.http.get(path).status_code for path in paths} == {404}
    for path in paths[:2]:
        error_of(limited.http.get(path), 429, "RATE_LIMITED")
    queries = ["", "?state=nope"] * 25
    assert [limited.http.get(f"{ROOT}{query}").status_code for query in queries] == [200, 400] * 25
    error_of(limited.http.get(ROOT), 429, "RATE_LIMITED")
