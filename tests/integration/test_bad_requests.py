"""Requests that are wrong in every way a body, a name or a header can be: a 4xx in the envelope, never a trace."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.backends import free_port
from support.hostile import ROOT, Hostile, error_of, hostile_manager


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


BODIES: dict[str, bytes] = {
    "empty": b"",
    "no json": b"{name: shop}",
    "a list": b"[]",
    "a string": b'"shop"',
    "null": b"null",
    "NaN": b'{"name":"x","version":"1","artifact_path":"/x","replicas":NaN}',
    "infinite": b'{"name":"x","version":"1","artifact_path":"/x","stop_timeout":1e999}',
    "huge number": b'{"name":"x","replicas":' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"configuration":' * 50_000 + b"1" + b"}" * 50_000,
    "not utf-8": b'{"name":"\xff\xfe"}',
    "utf-16": '{"name":"x"}'.encode("utf-16"),
    "half a surrogate": b'{"name":"x","version":"1","artifact_path":"/\\ud800"}',
    "nul": b'{"name":"x","version":"1","artifact_path":"/x\\u0000y"}',
    "key twice": b'{"name":"x","name":"y"}',
    "too large": b'{"name":"' + b"x" * 1_100_000 + b'"}',
    "cut short": b'{"name":"x","version":',
    "two values": b"{} {}",
}


@pytest.mark.parametrize("what", BODIES)
def test_a_body_that_is_no_request_is_400_in_the_envelope(manager: Hostile, what: str) -> None:
    for path in ("", "/plan"):
        answer = manager.http.post(f"{ROOT}{path}", content=BODIES[what], headers={"content-type": "application/json"})
        error = error_of(answer, 400, "INVALID_DEPLOYMENT_SPEC")
        assert set(error) == {"code", "message", "details", "timestamp"}
        assert "Traceback" not in answer.text
        assert len(answer.content) < 20_000
    assert manager.http.get(ROOT).json()["total"] == 0


FIELDS: dict[str, Any] = {
    "name": ["", "A", "-a", "a-", "a" * 64, "../a", "a/b", "a b", "ä", "validate", 7, None, ["a"], "a\n"],
    "version": ["", "-1", "../1", "a/b", ".", "1 2", "v" * 129, 1, 1.0, "pre-longshore", "current/x", "1\n"],
    "strategy": ["Rolling", "big-bang", 1, ["rolling"]],
    "replicas": [0, -1, 1.5, "3", True, 10**9],
    "port": [0, 65536, -1, "80", 80.5],
    "health_check_url": ["ftp://x/", "localhost:80", "http://", "http://localhost:99999/", "http://[::1", 5],
    "working_directory": ["relative", "/", "/x/../../y\x00", 5],
    "dependencies": ["database", ["../x"], ["app", "app"], [5], {"a": 1}],
    "pre_deploy_hooks": ["true", [""], [5], [["a"]]],
    "configuration": [{"A=B": "x"}, {"A": 5}, {"": "x"}, {"A": "x\x00"}, ["A=B"], {"PORT": "80"}],
    "command": ["", [], [""], 5, ["a", 5]],
    "stop_timeout": ["-1s", "soon", -1, "1y"],
    "health_check": [{"interval": "0s"}, {"interval": 0}, {"unknown": 1}, 5, {"healthy_threshold": 0}],
    "rolling": [{"max_surge": "200%"}, {"max_surge": -1}, {"max_unavailable": "x%"}],
    "canary": [
        {"steps": []},
        {"steps": [{"weight": 50}]},
        {"steps": [{"weight": 100}, {"weight": 50}]},
        {"steps": [{"weight": 0}, {"weight": 100}]},
    ],
    "artifact_sha256": ["abc", "0" * 64],
    "shared_paths": [["/etc"], [".."], ["a/../../b"], [""], ["a", "a/b"]],
    "resources": [{"memory": "much"}, {"cpu": -1}, {"files": 1}],
    "rollback_on_failure": ["yes", 1],
    "unknown_field": [1],
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_bad_value_is_refused_by_validate_and_deploy_with_the_name_of_its_field(manager: Hostile, field: str) -> None:
    for value in FIELDS[field]:
        spec = manager.spec("app", "1", port=free_port()) | {field: value}
        error = error_of(manager.http.post(ROOT, json=spec), 400, "INVALID_DEPLOYMENT_SPEC")
        named = {issue["field"].partition(".")[0].partition("[")[0] for issue in error["details"]["issues"]}
        assert named == {field}, (value, error)
        report = manager.http.post(f"{ROOT}/validate", json=spec)
        assert (report.status_code, report.json()["valid"]) == (400, False), value
        assert [issue["message"] for issue in report.json()["issues"]] == [
            issue["message"] for issue in error["details"]["issues"]
        ]
    assert manager.http.get(ROOT).json()["total"] == 0


def test_paths_names_and_methods_that_do_not_exist_answer_in_the_envelope(manager: Hostile) -> None:
    for method, path, status, code in (
        ("GET", "/nope", 404, "NOT_FOUND"),
        ("GET", "/api/v1/deployments/nobody", 404, "DEPLOYMENT_NOT_FOUND"),
        ("GET", "/api/v1/deployments/..%2f..%2fetc%2fpasswd", 404, None),
        ("GET", "/api/v1/deployments/%00", 404, None),
        ("GET", "/api/v1/deployments/UPPER", 404, "DEPLOYMENT_NOT_FOUND"),
        ("GET", f"/api/v1/deployments/{'x' * 5000}", 404, None),
        ("PATCH", "/api/v1/deployments", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/v1/deployments?limit=0", 400, "INVALID_DEPLOYMENT_SPEC"),
        ("GET", "/api/v1/deployments?limit=501", 400, "INVALID_DEPLOYMENT_SPEC"),
        ("GET", "/api/v1/deployments?offset=-1", 400, "INVALID_DEPLOYMENT_SPEC"),
        ("GET", "/api/v1/deployments?limit=abc", 400, "INVALID_DEPLOYMENT_SPEC"),
        ("GET", "/api/v1/deployments?state=fine", 400, "INVALID_DEPLOYMENT_SPEC"),
        ("GET", "/api/v1/deployments?offset=99999999999999999999", 400, "INVALID_DEPLOYMENT_SPEC"),
    ):
        answer = manager.http.request(method, path)
        assert answer.status_code == status, (path, answer.text)
        assert code is None or answer.json()["error"]["code"] == code, path


def test_without_a_token_nothing_but_health_is_told(manager: Hostile) -> None:
    for token in ("wrong", manager.token + "x", manager.token[:-1], "\xff"):
        headers = {"Authorization": f"Bearer {token}".encode("latin-1")}
        error_of(manager.http.get(ROOT, headers=headers), 401, "UNAUTHORIZED")
        error_of(manager.http.post(ROOT, headers=headers, json={}), 401, "UNAUTHORIZED")
    assert manager.http.get("/healthz", headers={"Authorization": ""}).status_code == 200


def test_secrets_are_shown_nowhere(manager: Hostile) -> None:
    secret = "hunter2hunter2"
    spec = {"artifact_path": manager.site("secret"), "configuration": {"DB_PASSWORD": secret, "COLOUR": "blue"}}
    manager.deployed("secret", "1", **spec, command=None)
    changed = {"artifact_path": manager.site("secret2"), "configuration": {"DB_PASSWORD": secret + "3"}}
    plan = manager.http.post(f"{ROOT}/plan", json=manager.spec("secret", "2", **changed, command=None))
    assert plan.status_code == 200, plan.text
    shown = [manager.http.get(f"{ROOT}/secret{path}").text for path in ("", "/rollouts", "/events", "/releases")]
    for text in (*shown, plan.text, manager.log()):
        assert secret not in text
    assert manager.status("secret")["configuration"]["COLOUR"] == "blue"
    for path in manager.data_dir.iterdir():
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0 or secret.encode() not in path.read_bytes(), path
    manager.take_down("secret")


def test_the_manager_s_own_directories_are_no_working_directories(manager: Hostile) -> None:
    for place in (manager.data_dir, manager.data_dir / "envoy", manager.data_dir / "apps", manager.directory):
        error = manager.refused(
            "inside", "1", 400, "INVALID_DEPLOYMENT_SPEC", artifact_path=manager.site("x"), command=None,
            working_directory=str(place),
        )  # fmt: skip
        assert "working_directory" in str(error["details"]), place
    assert manager.http.get(f"{ROOT}/inside").status_code == 404


def test_an_artifact_that_cannot_be_read_is_not_found(manager: Hostile, tmp_path: Path) -> None:
    unreadable = tmp_path / "closed"
    unreadable.write_text("x")
    unreadable.chmod(0)
    if os.geteuid() != 0:
        manager.refused("closed", "1", 400, "ARTIFACT_NOT_FOUND", artifact_path=str(unreadable), command=None)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    manager.refused("closed", "1", 400, "ARTIFACT_NOT_FOUND", artifact_path=str(loop), command=None)


def test_many_bad_requests_leave_a_manager_that_answers(manager: Hostile) -> None:
    for _ in range(200):
        assert manager.http.post(ROOT, content=b"{").status_code == 400
    assert json.loads(manager.http.get("/readyz").content)
    assert "Traceback" not in manager.log()
