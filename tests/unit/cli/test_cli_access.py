"""Tokens, locks and overrides on the command line."""

import json

import pytest
from click.testing import CliRunner

from longshore.cli.root import COMMANDS, cli
from support.fake_manager import LATER, TIME, Answer, envelope, rollout, status

TOKEN = {"name": "ci", "role": "deploy", "environments": ["staging"], "created_by": "admin", "created_at": TIME}
LOCK = {"scope": "deployment", "name": "shop", "holder": "ben", "message": "migration", "since": TIME}
LIVE = LOCK | {"scope": "environment", "name": "live", "expires_at": LATER}
#: commands that a lock or a freeze window can refuse
REFUSABLE = ["deploy", "restart", "scale", "configure", "stop", "start", "delete", "prune"]
#: command line → (method, path, answer)
LINES = {
    ("token", "create", "ci", "--role", "deploy"): ("POST", "/api/v1/tokens", TOKEN | {"token": "lsh_text"}),
    ("token", "list"): ("GET", "/api/v1/tokens", {"tokens": [TOKEN]}),
    ("token", "revoke", "ci"): ("DELETE", "/api/v1/tokens/ci", TOKEN | {"revoked_at": LATER}),
    ("lock", "shop"): ("PUT", "/shop/lock", LOCK),
    ("lock", "--environment", "live"): ("PUT", "/api/v1/environments/live/lock", LIVE),
    ("unlock", "shop"): ("DELETE", "/shop/lock", LOCK),
    ("locks",): ("GET", "/api/v1/locks", {"locks": [LOCK, LIVE]}),
}


@pytest.fixture
def run(manager, monkeypatch):
    monkeypatch.setenv("LONGSHORE_URL", manager.url)
    monkeypatch.setenv("LONGSHORE_TOKEN", "secret")
    return lambda *args: CliRunner().invoke(cli, list(args), catch_exceptions=False)


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_command_answers_in_plain_lines_or_in_the_json_of_the_api(run, manager, line):
    method, path, body = LINES[line]
    manager.on(method, path, Answer(body=body))
    plain, as_json, before = run(*line), run(*line, "--json"), run("--json", *line)
    assert (plain.exit_code, as_json.exit_code) == (0, 0)
    assert plain.stdout.strip()
    assert json.loads(as_json.stdout) == json.loads(before.stdout) == body


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_command_that_is_refused_exits_with_1_and_says_what_another_token_may(run, manager, line):
    method, path, _ = LINES[line]
    manager.on(method, path, Answer(403, envelope("FORBIDDEN", "ci has the role read; this takes admin.")))
    result = run(*line)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ci has the role read; this takes admin. [FORBIDDEN]")
    assert "longshore token list" in result.stderr


def test_the_group_of_a_command_takes_the_options_of_all(run, manager):
    manager.on("GET", "/api/v1/tokens", Answer(body={"tokens": []}))
    assert json.loads(run("token", "--json", "list").stdout) == {"tokens": []}


def test_token_alone_prints_what_it_always_did(run, tmp_path):
    assert run("token").stdout == "secret\n"
    assert run("token", "--data-dir", str(tmp_path), "--path").stdout == f"{tmp_path}/admin.token\n"


def test_a_new_token_is_all_that_standard_output_gets(run, manager):
    manager.on("POST", "/api/v1/tokens", Answer(201, TOKEN | {"token": "lsh_text", "expires_at": LATER}))
    result = run("token", "create", "ci", "--role", "deploy", "--environment", "staging", "--expires", "720h")
    assert result.stdout == "lsh_text\n"
    assert "ci may change deployments in staging, until 2026-03-01T12:00:02Z" in result.stderr
    expected = {"name": "ci", "role": "deploy", "environments": ["staging"], "expires_in": "720h"}
    assert manager.seen[0].body == expected


def test_the_list_of_tokens_says_who_may_what_until_when(run, manager):
    revoked = TOKEN | {"name": "old", "environments": None, "revoked_at": LATER, "last_used_at": TIME}
    manager.on("GET", "/api/v1/tokens", Answer(body={"tokens": [TOKEN, revoked]}))
    header, first, second = run("token", "list").stdout.splitlines()
    assert "ENVIRONMENTS" in header
    assert ("staging" in first, "until it is revoked" in first, "never" in first) == (True, True, True)
    assert ("revoked 2026-03-01T12:00:02Z" in second, "all" in second) == (True, True)


def test_a_lock_says_how_to_take_it_away(run, manager):
    manager.on("PUT", "/shop/lock", Answer(body=LOCK))
    manager.on("PUT", "/api/v1/environments/live/lock", Answer(body=LIVE))
    result = run("lock", "shop", "--message", "migration", "--for", "2h", "--if-revision", "7")
    assert result.stdout == "shop is locked until it is unlocked: `longshore unlock shop`\n"
    assert manager.seen[0].body == {"message": "migration", "expires_in": "2h"}
    assert manager.seen[0].headers["if-match"] == '"7"'
    assert run("lock", "--environment", "live").stdout == (
        "the environment live is locked until 2026-03-01T12:00:02Z: `longshore unlock --environment live`\n"
    )


def test_to_force_is_said(run, manager):
    manager.on("DELETE", "/shop/lock", Answer(body=LOCK))
    assert run("unlock", "shop", "--force").stdout == "shop is unlocked\n"
    assert manager.seen[0].query == {"force": "true"}


def test_nothing_that_is_locked_is_said(run, manager):
    manager.on("GET", "/api/v1/locks", Answer(body={"locks": []}))
    assert run("locks").stdout == "nothing is locked\n"


@pytest.mark.parametrize("line", [("lock",), ("unlock",), ("lock", "shop", "--environment", "live"), ("token", "make")])
def test_what_says_nothing_or_two_things_is_a_usage_error(run, manager, line):
    assert (run(*line).exit_code, manager.seen) == (2, [])


@pytest.mark.parametrize(("lock", "shown"), [
    (LOCK, "locked         by ben, 2026-03-01T12:00:00Z: migration"),
    (LIVE, "locked         with live by ben, 2026-03-01T12:00:00Z, until 2026-03-01T12:00:02Z: migration"),
])  # fmt: skip
def test_status_shows_a_lock(run, manager, lock, shown):
    manager.on("GET", "/shop", Answer(body=status(lock=lock)))
    assert shown in run("status", "shop").stdout


@pytest.mark.parametrize("name", REFUSABLE)
def test_every_command_that_can_be_refused_takes_an_override(name):
    assert "--override" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_an_override_is_sent_with_its_reason(run, manager):
    manager.on("POST", "/shop/restart", Answer(body=rollout()))
    assert run("restart", "shop", "--override", "the site is down").exit_code == 0
    assert manager.seen[0].headers["longshore-override"] == "the site is down"


@pytest.mark.parametrize("reason", ["", " ", "two\nlines"])
def test_an_override_without_a_reason_is_a_usage_error(run, manager, reason):
    assert (run("restart", "shop", "--override", reason).exit_code, manager.seen) == (2, [])


def test_what_is_locked_says_how_to_pass(run, manager):
    manager.on("POST", "/shop/restart", Answer(423, envelope("DEPLOYMENT_LOCKED", "shop is locked by ben …")))
    result = run("restart", "shop")
    assert result.exit_code == 1
    assert "longshore locks" in result.stderr
    assert "--override" in result.stderr
