"""The guides name everything there is, and their examples run."""

import re
from pathlib import Path

import pytest

from longshore.cli.checks import CHECKS
from longshore.cli.root import COMMANDS
from longshore.cli.spec import read_file
from longshore.client import API_ERRORS, Longshore
from support.fake_manager import (
    ROOT,
    Answer,
    FakeManager,
    Socket,
    event,
    failed_rollout,
    progress,
    rollout,
    status,
    summary,
)

GUIDES = Path(__file__).parents[2] / "docs/guide"
CLI, CLIENT = ((GUIDES / name).read_text("utf-8") for name in ("cli.md", "python-client.md"))
FOLLOWED, STEERED = ((GUIDES / name).read_text("utf-8") for name in ("logs-and-events.md", "steering.md"))
EXAMPLES, OF_FOLLOWING, OF_STEERING = (
    re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL) for text in (CLIENT, FOLLOWED, STEERED)
)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section(name):
    assert f"\n### `{name}`\n" in CLI


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_of_doctor_is_listed(name):
    assert f"\n| `{name}` |" in CLI


@pytest.mark.parametrize("option", sorted({o for p in COMMANDS["deploy"].params for o in p.opts if o.startswith("--")}))
def test_every_flag_of_deploy_is_named(option):
    assert option in CLI or option in ("--file", "--json")


@pytest.mark.parametrize(("code", "kind"), API_ERRORS.items())
def test_every_error_is_listed(code, kind):
    assert f"| `{kind.__name__}` | `{code}`" in CLIENT


@pytest.mark.parametrize("method", [name for name in dir(Longshore) if name[0] != "_" and name != "close"])
def test_every_method_is_listed(method):
    assert re.search(rf"`{method}[(`]", CLIENT)


def test_the_specification_of_the_guide_is_one(tmp_path):
    (tmp_path / "longshore.toml").write_text(re.search(r"```toml\n(.*?)```", CLI, re.DOTALL)[1])
    spec = read_file(str(tmp_path / "longshore.toml"), local=True)
    assert (spec["artifact_path"], spec["replicas"]) == (f"{tmp_path}/dist/shop.tar.gz", 3)


@pytest.fixture
def manager(monkeypatch):
    fake = FakeManager()
    fake.start()
    monkeypatch.setenv("LONGSHORE_URL", fake.url)
    monkeypatch.setenv("LONGSHORE_TOKEN", "t")
    location = {"Location": f"{ROOT}/shop/rollouts/r-2"}
    warning = {"field": "health_check_url", "message": "there is none"}
    fake.on("POST", "", Answer(202, rollout("running"), location))
    fake.on("POST", "/validate", Answer(body={"valid": True, "issues": [], "warnings": [warning]}))
    fake.on("GET", "/shop/rollouts/r-2", Answer(body=rollout()))
    fake.on("GET", "/shop", Answer(body=status()))
    fake.on("GET", "/shop/logs", Answer(events=[{"instance": "shop-1-0", "line": "hello"}]))
    fake.on("GET", "", Answer(body={"deployments": [summary("shop")], "total": 1, "limit": 200, "offset": 0}))
    fake.sockets = [Socket([progress(1, 50), progress(2, 100, status="success")])]
    yield fake
    fake.stop()


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_client_runs(manager, number, capsys):
    exec(compile(EXAMPLES[number], "python-client.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("number", range(len(OF_FOLLOWING)))
def test_an_example_of_following_runs(manager, number, capsys):
    followed = Answer(events=[("8", "event", event("three", number=8))])
    manager.on("GET", "/shop/events", Answer(body={"events": [event("two", number=7)]}), followed)
    manager.on("GET", "/shop/rollouts", Answer(body={"rollouts": [rollout()], "total": 1}))
    manager.on("GET", "/shop/rollouts/r-2/hooks", Answer(body={"lines": [{"phase": "pre_deploy", "line": "hello"}]}))
    exec(compile(OF_FOLLOWING[number], "logs-and-events.md", "exec"), {"__name__": "example"})
    assert re.search("hello|three", capsys.readouterr().out)


@pytest.mark.parametrize("number", range(len(OF_STEERING)))
def test_an_example_of_steering_runs(manager, number, capsys):
    steps, changes = [{"name": "fetch", "description": "unpack"}], [{"field": "replicas", "from": "1", "to": "2"}]
    manager.on("POST", "/plan", Answer(body={"steps": steps, "changes": changes}))
    manager.on("POST", "/shop/rollouts/r-2/promote", Answer(body=rollout("running")))
    exec(compile(OF_STEERING[number], "steering.md", "exec"), {"__name__": "example"})
    assert re.search("replicas 1 → 2|r-2 running", capsys.readouterr().out)


def test_the_example_of_a_failure_handles_it(manager, capsys):
    manager.on("GET", "/shop/rollouts/r-2", Answer(body=failed_rollout()))
    exec(compile(EXAMPLES[1], "python-client.md", "exec"), {"__name__": "example"})
    assert "rolled back: True" in capsys.readouterr().out
