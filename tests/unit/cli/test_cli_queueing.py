"""On the command line: what waits, supersedes, and is approved."""

import pytest
from click.testing import CliRunner

from longshore.cli.root import COMMANDS, cli
from support.fake_manager import ROOT, TIME, Answer, Socket, progress, rollout, status

LOCATION = {"Location": f"{ROOT}/shop/rollouts/r-2"}
MESSAGE = "Waits for its turn behind the deploy of 2.0 of ana, at most 1h0m0s."
WAITING = {
    "rollout_id": "r-2", "kind": "restart", "version": "1.1", "requested_by": "ben", "since": TIME, "expires_at": TIME,
    "waiting_for": "turn", "message": MESSAGE,
}  # fmt: skip


@pytest.fixture
def run(manager, monkeypatch):
    monkeypatch.setenv("LONGSHORE_URL", manager.url)
    monkeypatch.setenv("LONGSHORE_TOKEN", "secret")
    return lambda *args: CliRunner().invoke(cli, list(args), catch_exceptions=False)


@pytest.mark.parametrize("name", ["deploy", "restart", "scale", "configure", "stop", "start"])
def test_every_command_that_rolls_out_may_wait(name):
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--on-conflict", "--queue-timeout"} <= options


@pytest.mark.parametrize(
    ("line", "verb", "path"),
    [
        (("deploy", "--name", "shop", "--version", "1.1"), "POST", ""),
        (("restart", "shop"), "POST", "/shop/restart"),
        (("scale", "shop", "3"), "POST", "/shop/scale"),
        (("stop", "shop"), "POST", "/shop/stop"),
        (("start", "shop"), "POST", "/shop/start"),
        (("configure", "shop", "--set", "replicas=3"), "PATCH", "/shop"),
    ],
)
def test_what_is_to_become_of_a_conflict_is_handed_on(run, manager, line, verb, path):
    manager.on(verb, path, Answer(body=rollout()))
    result = run(*line, "--on-conflict", "supersede", "--queue-timeout", "30m")
    assert result.exit_code == 0, result.output
    (seen,) = manager.asked(verb, path)
    assert (seen.body["on_conflict"], seen.body["queue_timeout"]) == ("supersede", "30m")


def test_a_conflict_that_is_none_is_a_usage_error(run, manager):
    assert run("stop", "shop", "--on-conflict", "wait").exit_code == 2
    assert manager.seen == []


def test_who_waits_sees_behind_what(run, manager):
    manager.on("POST", "/shop/restart", Answer(202, rollout("queued", message=MESSAGE), LOCATION))
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=rollout(kind="restart")))
    manager.sockets = [Socket([progress(0, 0, step="queue", message=MESSAGE), progress(1, 100, status="success")])]
    result = run("restart", "shop", "--on-conflict", "queue")
    assert f"  0%  running  queue: {MESSAGE}" in result.stdout
    assert result.exit_code == 0


def test_what_is_not_waited_for_says_that_it_waits(run, manager):
    queued = rollout("queued", kind="restart", waiting_for="turn", message=MESSAGE)
    manager.on("POST", "/shop/restart", Answer(202, queued, LOCATION))
    assert run("restart", "shop", "--no-wait", "--on-conflict", "queue").stdout == (
        f"the restart of shop {queued['version']} is queued, as {queued['id']}. {MESSAGE}\n"
    )


def test_what_needs_an_approval_says_who_lets_it_begin_and_how(run, manager):
    queued = rollout("queued", waiting_for="approval", message="Waits for the approval of somebody else.")
    manager.on("POST", "/shop/stop", Answer(202, queued, LOCATION))
    result = run("stop", "shop")
    assert result.exit_code == 0
    assert result.stdout.endswith(f"somebody else lets it begin: `longshore approve shop {queued['id']}`\n")


def test_an_approval_says_what_it_lets_begin(run, manager):
    manager.on("POST", "/shop/rollouts/r-2/approve", Answer(body=rollout("running", requested_by="ana")))
    result = run("approve", "shop", "r-2", "--comment", "fine")
    assert result.stdout.startswith("the deploy of shop 1.1 of ana is approved: `longshore watch shop --rollout ")
    assert manager.seen[-1].body == {"comment": "fine"}


def test_an_abort_of_what_waits_says_that_it_will_not_begin(run, manager):
    manager.on("POST", "/shop/rollouts/r-2/abort", Answer(body=rollout("cancelled", success=False)))
    result = run("abort", "shop", "r-2")
    assert (result.exit_code, result.stdout) == (0, "the deploy of shop 1.1 will not begin\n")


def test_the_status_shows_who_waits_and_for_what(run, manager):
    approval = {**WAITING, "rollout_id": "r-3", "waiting_for": "approval", "message": "Waits for an approval."}
    manager.on("GET", "/shop", Answer(body=status(queue=[WAITING, approval])))
    out = run("status", "shop").stdout
    assert "\nwaits\n  restart of 1.1, by ben" in out
    assert f"    {MESSAGE}  `longshore abort shop r-2`\n" in out
    assert "    Waits for an approval.  `longshore approve shop r-3`\n" in out
