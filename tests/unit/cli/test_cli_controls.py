"""The controls of every day: what they ask of the manager, and what they say."""

import pytest
from click.testing import CliRunner

from longshore.cli.root import COMMANDS, cli
from support.fake_manager import TIME, Answer, envelope, rollout, status

RELEASE = {"version": "1.0", "state": "kept", "sha256": "ab" * 32, "size_bytes": 2048, "created_at": TIME}
#: commands that change a deployment
CHANGING = [
    "deploy", "pause", "resume", "promote", "abort", "approve", "rollback", "restart", "scale", "configure", "stop",
    "start", "delete", "pin", "unpin", "prune",
]  # fmt: skip


@pytest.fixture
def run(manager, monkeypatch):
    monkeypatch.setenv("LONGSHORE_URL", manager.url)
    monkeypatch.setenv("LONGSHORE_TOKEN", "secret")
    return lambda *args: CliRunner().invoke(cli, list(args), catch_exceptions=False)


def test_a_change_is_a_merge_patch_of_all_that_is_given(run, manager):
    manager.on("PATCH", "/shop", Answer(body=rollout(kind="change", version="1.1+c1")))
    result = run(
        "configure", "shop", "--set", "health_check.interval=2s", "--set", "replicas=3", "--unset", "resources.memory",
        "--env", "COLOUR=blue=green", "--env", "EMPTY=", "--unset-env", "OLD",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert manager.asked("PATCH", "/shop")[0].body == {
        "health_check": {"interval": "2s"},
        "replicas": 3,
        "resources": {"memory": None},
        "configuration": {"COLOUR": "blue=green", "EMPTY": "", "OLD": None},
    }
    assert result.stdout.endswith("shop 1.1+c1 serves after 2.5 s (before: 1.0)\n")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ((), "say what is to change"),
        (("--env", "COLOUR"), "write it as KEY=VALUE"),
        (("--env", "A=1", "--unset-env", "A"), "configuration.A is given twice"),
        (("--set", "port=1", "--unset", "port"), "port is given twice"),
        (("--unset", "rolling", "--set", "rolling.max_surge=1"), "rolling is None already"),
        (("--set", "replicas=3", "--set", "replicas.most=3"), "replicas is 3 already"),
        (("--unset", "rolling..max_surge"), "a field is written like"),
    ],
)
def test_a_change_that_says_nothing_or_two_things_is_a_usage_error(run, manager, line, complaint):
    result = run("configure", "shop", *line)
    assert (result.exit_code, manager.seen) == (2, [])
    assert complaint in result.stderr


def test_what_is_stopped_says_how_to_start_it(run, manager):
    manager.on("POST", "/shop/stop", Answer(body=rollout(kind="stop")))
    assert run("stop", "shop").stdout == "shop is stopped after 2.5 s: `longshore start shop` starts it\n"


def test_a_stop_that_is_not_waited_for_says_how_to_look(run, manager):
    manager.on("POST", "/shop/stop", Answer(202, rollout("running", kind="stop")))
    assert "longshore watch shop" in run("stop", "shop", "--no-wait").stdout


def test_status_shows_what_is_stopped_and_asks_no_probes(run, manager):
    found = status(state="unhealthy", health="unhealthy", stopped=True, revision=7, rollout_id=None)
    manager.on("GET", "/shop", Answer(body=found))
    out = run("status", "shop").stdout
    assert out.startswith("shop 1.1  stopped\n")
    assert "nothing runs: longshore start shop" in out
    assert "revision       7" in out
    assert manager.asked("GET", "/shop/health") == []


def test_releases_show_their_size_and_why_they_are_pinned(run, manager):
    listed = [RELEASE | {"pinned": True, "pinned_reason": "old schema"}, RELEASE | {"pinned": True}]
    manager.on("GET", "/shop/releases", Answer(body={"releases": listed}))
    header, first, second = run("releases", "shop").stdout.splitlines()
    assert "PINNED" in header
    assert ("old schema" in first, "2.0 KiB" in first, "  yes  " in second) == (True, True, True)


def test_pruning_says_what_was_removed_and_the_bytes_freed(run, manager):
    manager.on("POST", "/shop/prune", Answer(body={"removed": ["1.0", "0.9"], "freed_bytes": 4096}))
    result = run("prune", "shop", "--keep", "3")
    assert manager.asked("POST", "/shop/prune")[0].body == {"keep": 3}
    assert result.stdout.splitlines() == ["removed 1.0", "removed 0.9", "2 releases of shop removed, 4.0 KiB freed"]


def test_pruning_nothing_says_so(run, manager):
    manager.on("POST", "/shop/prune", Answer(body={"removed": [], "freed_bytes": 0}))
    assert run("prune", "shop").stdout == "shop has no release to remove\n"


def test_a_pin_brings_its_reason(run, manager):
    manager.on("POST", "/shop/releases/1.0%2Bc1/pin", Answer(body=RELEASE | {"version": "1.0+c1", "pinned": True}))
    manager.on("POST", "/shop/releases/1.0+c1/pin", Answer(body=RELEASE | {"version": "1.0+c1", "pinned": True}))
    result = run("pin", "shop", "1.0+c1", "--reason", "the old schema")
    assert (result.exit_code, manager.seen[0].body) == (0, {"reason": "the old schema"})
    assert result.stdout == "shop 1.0+c1 is pinned: it is never pruned\n"


@pytest.mark.parametrize("name", CHANGING)
def test_every_changing_command_takes_a_revision(name):
    assert "--if-revision" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_a_revision_that_is_past_is_told_with_what_to_do(run, manager):
    refusal = envelope("PRECONDITION_FAILED", "shop is at revision 8, not 7: …", deployment="shop", revision=8)
    manager.on("POST", "/shop/stop", Answer(412, refusal))
    result = run("stop", "shop", "--if-revision", "7")
    assert manager.seen[0].headers["if-match"] == '"7"'
    assert result.exit_code == 1
    assert result.stderr.startswith("error: shop is at revision 8, not 7: … [PRECONDITION_FAILED]")
    assert "longshore status shop" in result.stderr
