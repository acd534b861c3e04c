"""Commands against a scripted manager, in this process."""

import json

import pytest
from click.testing import CliRunner

from longshore.cli.root import COMMANDS, cli
from support.fake_manager import (
    LATER,
    ROOT,
    TIME,
    Answer,
    Socket,
    envelope,
    event,
    failed_rollout,
    progress,
    rollout,
    status,
    summary,
)

LOCATION = {"Location": f"{ROOT}/shop/rollouts/r-2"}
DEPLOY = ("deploy", "--name", "shop", "--version", "1.1", "--artifact", "/x")
WEBHOOK = {"name": "chat", "host": "http://chat.example", "events": ["rollout.failed"], "environments": [], "dead": 1}
DELIVERY = {
    "id": "msg_1", "webhook": "chat", "event": "rollout.failed", "deployment": "shop", "state": "delivered",
    "created_at": TIME, "next_at": None, "ended_at": TIME, "attempts": 1, "answer": "200 OK", "body": "{}",
}  # fmt: skip
RELEASE = {"version": "1.0", "sha256": "ab" * 32, "size_bytes": 2048, "created_at": TIME, "healthy_at": TIME}
CHECK = {"name": "shop-1-1", "status": "unhealthy", "message": "refused", "duration": "1ms", "last_run": TIME}
HEALTH = {
    "overall": "degraded",
    "components": {"service": {"name": "service", "status": "unhealthy", "message": "", "checks": [CHECK]}},
    "last_check": TIME,
    "message": "1 of 3 is not ready",
}
TARGET = {
    "instance": "shop-1-0", "version": "1.0", "host": "", "address": "127.0.0.1", "port": 20001, "ready": True,
}  # fmt: skip
ENDPOINTS = {
    "deployment": "shop", "environment": "live", "router": "none", "port": 8080, "serves": True, "revision": "ab12",
    "pools": [{"pool": "stable", "version": "1.0", "weight": 100, "health_path": "/up", "targets": [TARGET]}],
}  # fmt: skip
#: command line → (method, path, answer) that it needs; each must print the JSON as it came with --json
SIMPLE = {
    ("status", "shop"): ("GET", "/shop", status()),
    ("list",): ("GET", "", {"deployments": [summary("shop")], "total": 1, "limit": 500, "offset": 0}),
    ("history", "shop"): ("GET", "/shop/rollouts", {"rollouts": [rollout(), failed_rollout()], "total": 2}),
    ("releases", "shop"): ("GET", "/shop/releases", {"releases": [RELEASE | {"state": "kept", "current": True}]}),
    ("endpoints", "shop"): ("GET", "/shop/endpoints", ENDPOINTS),
    ("events", "shop"): ("GET", "/shop/events", {"events": [event("two"), event("one")]}),
    ("logs", "shop"): ("GET", "/shop/logs", {"lines": [{"instance": "shop-1-0", "line": "hello"}]}),
    ("hooks", "shop", "r-2"): ("GET", "/shop/rollouts/r-2/hooks", {"lines": [{"phase": "pre_deploy", "line": "hi"}]}),
    ("validate",): ("POST", "/validate", {"valid": True, "issues": [], "warnings": [{"field": "a", "message": "hm"}]}),
    ("plan",): ("POST", "/plan", {"steps": [{"name": "fetch", "description": "unpack"}], "changes": []}),
    ("rollback", "shop"): ("POST", "/shop/rollback", {"message": "done", "version": "1.0", "timestamp": LATER}),
    ("pause", "shop", "r-2"): ("POST", "/shop/rollouts/r-2/pause", rollout("paused")),
    ("resume", "shop", "r-2"): ("POST", "/shop/rollouts/r-2/resume", rollout("running")),
    ("promote", "shop", "r-2"): ("POST", "/shop/rollouts/r-2/promote", rollout("running")),
    ("abort", "shop", "r-2"): ("POST", "/shop/rollouts/r-2/abort", failed_rollout()),
    ("restart", "shop"): ("POST", "/shop/restart", rollout()),
    ("scale", "shop", "3"): ("POST", "/shop/scale", rollout()),
    ("configure", "shop", "--set", "replicas=3"): ("PATCH", "/shop", rollout(kind="change", version="1.1+c1")),
    ("stop", "shop"): ("POST", "/shop/stop", rollout(kind="stop")),
    ("start", "shop"): ("POST", "/shop/start", rollout(kind="start")),
    ("pin", "shop", "1.0"): ("POST", "/shop/releases/1.0/pin", RELEASE | {"state": "kept", "pinned": True}),
    ("unpin", "shop", "1.0"): ("POST", "/shop/releases/1.0/unpin", RELEASE | {"state": "kept", "pinned": False}),
    ("prune", "shop"): ("POST", "/shop/prune", {"removed": ["1.0", "0.9"], "freed_bytes": 4096}),
    ("webhooks",): ("GET", "/api/v1/webhooks", {"webhooks": [WEBHOOK]}),
    ("webhooks", "deliveries", "chat"): (
        "GET",
        "/api/v1/webhooks/chat/deliveries",
        {"deliveries": [DELIVERY], "total": 1, "limit": 50, "offset": 0},
    ),
    ("webhooks", "test", "chat"): ("POST", "/api/v1/webhooks/chat/test", DELIVERY),
    ("delete", "shop", "--yes"): ("DELETE", "/shop", {"message": "shop is gone"}),
}


@pytest.fixture
def run(manager, monkeypatch):
    monkeypatch.setenv("LONGSHORE_URL", manager.url)
    monkeypatch.setenv("LONGSHORE_TOKEN", "secret")
    return lambda *args: CliRunner().invoke(cli, list(args), catch_exceptions=False)


@pytest.mark.parametrize("line", SIMPLE, ids=" ".join)
def test_a_command_answers_in_plain_lines(run, manager, line):
    method, path, body = SIMPLE[line]
    manager.on(method, path, Answer(body=body))
    result = run(*line)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip()
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("line", SIMPLE, ids=" ".join)
def test_a_command_answers_in_the_json_of_the_api(run, manager, line):
    method, path, body = SIMPLE[line]
    manager.on(method, path, Answer(body=body))
    result = run(*line, "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, body)


@pytest.mark.parametrize("line", SIMPLE, ids=" ".join)
def test_a_command_that_is_refused_fails_with_the_message_and_the_code(run, manager, line):
    method, path, _ = SIMPLE[line]
    manager.on(method, path, Answer(403, envelope("FORBIDDEN", "not for you")))
    result = run(*line)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not for you [FORBIDDEN]")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_is_for(name):
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()[2].strip()) > 10


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "serve"])
def test_every_command_but_serve_takes_json(name):
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_a_deploy_shows_each_message_and_the_outcome(run, manager):
    manager.on("POST", "", Answer(202, rollout("running"), LOCATION))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=rollout()))
    manager.sockets = [Socket([progress(1, 10, step="fetch_artifact"), progress(2, 100, status="success")])]
    result = run(*DEPLOY)
    assert result.exit_code == 0
    assert "12:00:00Z   10%  running  fetch_artifact: message 1\n" in result.stdout
    assert result.stdout.endswith("shop 1.1 serves after 2.5 s (before: 1.0)\n")


def test_a_failed_deploy_shows_the_step_the_cause_and_that_it_was_undone(run, manager):
    manager.on("POST", "", Answer(202, rollout("running"), LOCATION))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=failed_rollout()))
    result = run(*DEPLOY)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[0] == "error: instance shop-2-0 was not ready within 5 s [HEALTH_CHECK_FAILED]"
    for expected in ("step     wait_ready", "answered 503", "Traceback: boom", "rolled back", "longshore logs shop"):
        assert expected in result.stderr


def test_a_failed_deploy_in_json_is_the_envelope(run, manager):
    manager.on("POST", "", Answer(202, rollout("running"), LOCATION))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=failed_rollout()))
    result = run(*DEPLOY, "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (1, "HEALTH_CHECK_FAILED")


def test_a_deploy_in_progress_says_who_since_when_and_what_to_do(run, manager):
    details = {"deployment": "shop", "started_by": "ada", "started_at": TIME, "rollout_id": "r-1"}
    manager.on("POST", "", Answer(409, envelope("DEPLOYMENT_IN_PROGRESS", "busy", **details)))
    hint = run(*DEPLOY).stderr.splitlines()[-1]
    for expected in ("ada", "2026-03-01T12:00:00Z", "longshore watch shop", "longshore abort shop"):
        assert expected in hint


def test_every_problem_of_a_specification_is_a_line(run, manager):
    issues = [{"field": "name", "message": "missing"}, {"field": "replicas", "message": "too many"}]
    manager.on("POST", "", Answer(400, envelope("INVALID_DEPLOYMENT_SPEC", "name: missing; …", issues=issues)))
    assert run(*DEPLOY).stderr.splitlines() == [
        "error: the specification has 2 problems [INVALID_DEPLOYMENT_SPEC]",
        "  name      missing",
        "  replicas  too many",
    ]


def test_not_waiting_says_how_to_look(run, manager):
    manager.on("POST", "", Answer(202, rollout("running"), LOCATION))
    assert run(*DEPLOY, "--no-wait").stdout == "rollout r-2 of shop to 1.1 began: `longshore watch shop`\n"


def test_watching_a_rollout_that_fails_fails(run, manager):
    manager.sockets = [Socket([progress(1, 100, status="failed")])]
    assert run("watch", "shop").exit_code == 1


def test_watching_in_json_is_a_message_a_line(run, manager):
    manager.sockets = [Socket([progress(1, 10), progress(2, 100, status="success")])]
    result = run("watch", "shop", "--json")
    assert result.exit_code == 0
    assert [json.loads(line)["seq"] for line in result.stdout.splitlines()] == [1, 2]


def test_an_invalid_specification_fails_with_each_issue(run, manager):
    body = {"valid": False, "issues": [{"field": "name", "message": "missing", "severity": "error"}], "warnings": []}
    manager.on("POST", "/validate", Answer(400, body))
    result = run("validate")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (1, "error: name: missing")


def test_health_that_is_not_healthy_fails(run, manager):
    manager.on("GET", "/shop/health", Answer(body=HEALTH))
    result = run("health", "shop")
    assert result.exit_code == 1
    assert "✗ shop-1-1: unhealthy  refused" in result.stdout


def test_status_at_three_in_the_morning_shows_what_is_wrong_and_what_to_do(run, manager):
    manager.on("GET", "/shop", Answer(body=status(health="degraded", events=[event("a crash", "error")])))
    manager.on("GET", "/shop/rollouts", Answer(body={"rollouts": [failed_rollout()], "total": 1}))
    manager.on("GET", "/shop/health", Answer(body=HEALTH))
    out = run("status", "shop").stdout
    for expected in ("degraded", "unwound", "wait_ready", "answered 503", "shop-1-1  refused", "a crash"):
        assert expected in out


def test_status_shows_the_rollout_in_progress(run, manager):
    manager.on("GET", "/shop", Answer(body=status(state="deploying")))
    manager.on("GET", "/shop/rollouts", Answer(body={"rollouts": [rollout("running")], "total": 1}))
    out = run("status", "shop").stdout
    assert "deploy #2 to 1.1: running  40 %, by admin" in out
    assert "longshore pause|abort shop" in out


def test_aborting_waits_until_it_is_undone(run, manager):
    manager.on("POST", "/shop/rollouts/r-2/abort", Answer(body=rollout("unwinding")))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=failed_rollout()))
    result = run("abort", "shop", "r-2", "--reason", "wrong day")
    assert (result.exit_code, manager.asked("POST", "/shop/rollouts/r-2/abort")[0].body) == (0, {"reason": "wrong day"})
    assert "was undone" in result.stdout


def test_aborting_what_has_committed_fails(run, manager):
    manager.on("POST", "/shop/rollouts/r-2/abort", Answer(body=rollout("succeeded")))
    assert run("abort", "shop", "r-2").exit_code == 1


def test_deleting_without_a_terminal_to_ask_on_needs_yes(run, manager):
    result = run("delete", "shop")
    assert (result.exit_code, manager.seen) == (2, [])
    assert "--yes" in result.stderr


def test_following_logs_prints_each_line(run, manager):
    manager.on("GET", "/shop/logs", Answer(events=[{"instance": "shop-1-0", "line": "hello"}]))
    assert run("logs", "-f", "shop").stdout == "shop-1-0  hello\n"


def test_times_of_lines_say_how_exactly_they_are_known(run, manager):
    exact = {"instance": "shop-1-0", "line": "a", "time": LATER, "earliest": TIME.replace("12:00:00", "12:00:01")}
    lines = [exact, exact | {"earliest": None}, exact | {"time": None, "earliest": None}]
    manager.on("GET", "/shop/logs", Answer(body={"lines": lines}))
    shown = run("logs", "shop", "--times").stdout.splitlines()
    assert [line[:25].rstrip() for line in shown] == [" 2026-03-01T12:00:02.500Z", "~2026-03-01T12:00:02.500Z", "-"]


def test_what_cannot_be_read_is_said_beside_the_lines(run, manager):
    problem = {"instance": "shop-1-1", "message": "host a does not answer"}
    manager.on("GET", "/shop/logs", Answer(body={"lines": [], "problems": [problem]}))
    result = run("logs", "shop", "--since", "10m")
    assert (result.stdout, result.stderr) == ("", "shop-1-1: host a does not answer\n")
    assert manager.asked("GET", "/shop/logs")[0].query == {"since": "10m"}


def test_following_events_shows_the_last_ones_and_goes_on_after_them(run, manager):
    begun = [("7", "begin", {}), ("8", "event", event("three", number=8))]
    followed = Answer(events=begun)
    manager.on("GET", "/shop/events", Answer(body={"events": [event("two", number=7), event("one")]}), followed)
    shown = run("events", "shop", "-f").stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in shown] == ["one", "two", "three"]
    assert manager.asked("GET", "/shop/events")[1].headers["last-event-id"] == "7"


def test_events_of_all_are_followed_each_with_its_deployment(run, manager):
    happened = event("deployed", number=3) | {"deployment": "shop"}
    manager.on("GET", "/api/v1/events", Answer(events=[("3", "event", happened)]))
    assert "  shop  info     engine: deployed" in run("events", "-f").stdout
    assert json.loads(run("events", "-f", "--json").stdout) == happened


@pytest.mark.parametrize("arguments", [("events",), ("events", "shop", "-f", "--before", "3")])
def test_events_asked_for_in_a_way_that_makes_no_sense_are_a_usage_error(run, manager, arguments):
    assert (run(*arguments).exit_code, manager.seen) == (2, [])


def test_the_output_of_hooks_is_followed_of_the_last_rollout(run, manager):
    manager.on("GET", "/shop/rollouts", Answer(body={"rollouts": [rollout("running")], "total": 1}))
    manager.on("GET", "/shop/rollouts/r-2/hooks", Answer(events=[{"phase": "pre_deploy", "line": "migrating"}]))
    assert run("hooks", "shop", "-f").stdout == "pre_deploy  migrating\n"


def test_the_list_without_a_limit_is_all_pages(run, manager):
    pages = [
        Answer(body={"deployments": [summary(name)], "total": 2, "limit": 1, "offset": at})
        for at, name in enumerate(["a", "b"])
    ]
    manager.on("GET", "", *pages)
    assert [line.split()[0] for line in run("list").stdout.splitlines()] == ["NAME", "a", "b"]


def test_options_of_the_connection_may_stand_before_and_after_the_command(manager):
    manager.on("GET", "/shop", Answer(body=status()))
    before = CliRunner().invoke(cli, ["--url", manager.url, "--token", "t", "--json", "status", "shop"])
    after = CliRunner().invoke(cli, ["status", "shop", "--url", manager.url, "--token", "t", "--json"])
    assert json.loads(before.stdout) == json.loads(after.stdout) == status()


def test_the_token_is_printed_from_the_data_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("LONGSHORE_TOKEN", raising=False)
    (tmp_path / "admin.token").write_text("abc\n")
    assert CliRunner().invoke(cli, ["token", "--data-dir", str(tmp_path)]).stdout == "abc\n"


def test_a_missing_token_says_where_it_would_be(tmp_path, monkeypatch):
    monkeypatch.delenv("LONGSHORE_TOKEN", raising=False)
    result = CliRunner().invoke(cli, ["token", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert f"{tmp_path}/admin.token does not exist" in result.stderr


def test_the_configuration_is_shown_with_secrets_masked(tmp_path, monkeypatch):
    monkeypatch.setenv("LONGSHORE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("LONGSHORE_TOKEN", "hush")
    file = tmp_path / "longshore.toml"
    file.write_text('[environments.live.defaults.configuration]\nAPI_TOKEN = "hush"\nCOLOUR = "blue"\n')
    result = CliRunner().invoke(cli, ["config", "--config", str(file), "--data-dir", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.stderr
    assert "hush" not in result.stdout
    shown = json.loads(result.stdout)
    assert shown["settings"]["data_dir"] == str(tmp_path)
    assert shown["settings"]["environments"]["live"]["defaults"]["configuration"]["COLOUR"] == "blue"
    assert shown["manager"]["from"] == "LONGSHORE_URL"


def test_endpoints_name_each_address_and_who_gets_how_much(run, manager):
    far = TARGET | {"instance": "shop-2-0", "version": "2.0", "host": "web1", "address": "10.0.0.5", "ready": False}
    pools = [*ENDPOINTS["pools"], {"pool": "candidate", "version": "2.0", "weight": 5, "targets": [far]}]
    pools[0] = pools[0] | {"weight": 95}
    manager.on("GET", "/shop/endpoints", Answer(body=ENDPOINTS | {"pools": pools}))
    lines = run("endpoints", "shop").stdout.splitlines()
    assert lines[0] == "port 8080, router none, revision ab12"
    assert lines[2].split() == ["stable", "95", "%", "shop-1-0", "1.0", "here", "127.0.0.1:20001", "ready"]
    assert lines[3].split() == ["candidate", "5", "%", "shop-2-0", "2.0", "web1", "10.0.0.5:20001", "not", "ready"]


def test_endpoints_say_where_nobody_is_to_get_requests(run, manager):
    manager.on("GET", "/shop/endpoints", Answer(body=ENDPOINTS | {"serves": False, "port": None, "pools": []}))
    assert run("endpoints", "shop").stdout == "no port, router none, revision ab12; nobody is to get requests now\n"
