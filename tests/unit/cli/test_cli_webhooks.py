"""Webhooks on the command line: who is told, what did not arrive, and to have it sent again."""

import json

import pytest
from click.testing import CliRunner

from longshore.cli.checks import CHECKS
from longshore.cli.root import cli
from longshore.cli.session import Session
from support.fake_manager import TIME, Answer, envelope

HOOKS = "/api/v1/webhooks"
CHAT = f"{HOOKS}/chat/deliveries"


def delivery(id, state="dead", answer="500 Broken"):
    return {
        "id": id, "webhook": "chat", "event": "rollout.failed", "deployment": "shop", "state": state,
        "created_at": TIME, "next_at": TIME if state == "pending" else None, "ended_at": None, "attempts": 11,
        "answer": answer, "body": "{}",
    }  # fmt: skip


def page(*rows, total=None):
    return {"deliveries": list(rows), "total": len(rows) if total is None else total, "limit": 50, "offset": 0}


@pytest.fixture
def run(manager, monkeypatch):
    monkeypatch.setenv("LONGSHORE_URL", manager.url)
    monkeypatch.setenv("LONGSHORE_TOKEN", "secret")
    return lambda *args: CliRunner().invoke(cli, list(args), catch_exceptions=False)


def seen(manager, method):
    return [(one.path.removeprefix(HOOKS), one.query) for one in manager.seen if one.method == method]


def test_only_what_was_given_up_is_listed_where_that_is_asked(run, manager):
    manager.on("GET", CHAT, Answer(body=page(delivery("msg_1"), total=3)))
    result = run("webhooks", "deliveries", "chat", "--state", "dead", "--limit", "1")
    assert seen(manager, "GET") == [("/chat/deliveries", {"state": "dead", "limit": "1", "offset": "0"})]
    assert "msg_1  rollout.failed  shop" in result.stdout
    assert "500 Broken" in result.stdout
    assert result.stdout.endswith("3 in all: --offset 1 shows more\n")


def test_where_there_is_nothing_that_is_said(run, manager):
    manager.on("GET", CHAT, Answer(body=page()))
    manager.on("GET", HOOKS, Answer(body={"webhooks": []}))
    assert run("webhooks", "deliveries", "chat", "--state", "dead").stdout == "chat has no dead deliveries\n"
    assert run("webhooks", "redeliver", "chat", "--dead").stdout == "chat has no dead deliveries\n"
    assert "[[webhooks]]" in run("webhooks").stdout


def test_those_named_are_sent_again(run, manager):
    manager.on("POST", f"{CHAT}/msg_1/redeliver", Answer(body=delivery("msg_1", "pending")))
    result = run("webhooks", "redeliver", "chat", "msg_1")
    assert result.stdout.startswith("1 message on the way to chat")


def test_all_that_were_given_up_are_sent_again_the_oldest_first(run, manager):
    manager.on("GET", CHAT, Answer(body=page(delivery("msg_2"), delivery("msg_1"))), Answer(body=page()))
    for id in ("msg_1", "msg_2"):
        manager.on("POST", f"{CHAT}/{id}/redeliver", Answer(body=delivery(id, "pending")))
    result = run("webhooks", "--json", "redeliver", "chat", "--dead")
    assert [row["id"] for row in json.loads(result.stdout)["deliveries"]] == ["msg_1", "msg_2"]
    assert [path for path, _ in seen(manager, "POST")] == [
        "/chat/deliveries/msg_1/redeliver", "/chat/deliveries/msg_2/redeliver"
    ]  # fmt: skip


@pytest.mark.parametrize("line", [(), ("msg_1", "--dead")])
def test_what_to_send_again_is_said_in_one_way(run, manager, line):
    result = run("webhooks", "redeliver", "chat", *line)
    assert (result.exit_code, manager.seen) == (2, [])


@pytest.mark.parametrize(("state", "answer", "status"), [("delivered", "200 OK", 0), ("dead", "404 Not Found", 1)])
def test_a_test_waits_for_what_is_answered(run, manager, state, answer, status):
    manager.on("POST", f"{HOOKS}/chat/test", Answer(body=delivery("msg_1", "pending", "")))
    manager.on(
        "GET",
        f"{CHAT}/msg_1",
        Answer(body=delivery("msg_1", "pending", "")),
        Answer(body=delivery("msg_1", state, answer)),
    )
    result = run("webhooks", "test", "chat")
    assert (result.exit_code, result.stdout) == (status, f"chat: {answer}\n")


def test_a_webhook_that_is_not_known_is_said(run, manager):
    manager.on("GET", CHAT, Answer(404, envelope("NOT_FOUND", "There is no webhook 'chat': known are audit.")))
    result = run("webhooks", "deliveries", "chat")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (
        1, "error: There is no webhook 'chat': known are audit. [NOT_FOUND]"
    )  # fmt: skip


def test_the_doctor_warns_of_what_was_given_up(manager):
    manager.on("GET", "/readyz", Answer(body={"status": "ready"}))
    manager.on("GET", "", Answer(body={"deployments": [], "total": 0, "limit": 1, "offset": 0}))
    hook = {"name": "chat", "dead": 2}
    manager.on("GET", HOOKS, Answer(body={"webhooks": [hook, hook | {"name": "audit", "dead": 0}]}))
    (warning,) = [found for found in CHECKS["manager"](Session(manager.url, "secret")) if found.level != "ok"]
    assert (warning.level, warning.text) == ("warn", "webhook chat did not take 2 messages")
    assert "longshore webhooks redeliver chat --dead" in warning.remedy
