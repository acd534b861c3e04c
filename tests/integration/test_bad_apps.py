"""Applications that do not do what they should: what is said, what is undone, and that nothing of them is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.backends import free_port
from support.hostile import ROOT, Hostile, ask, hostile_manager, processes, until


@pytest.fixture(scope="module")
def manager() -> Iterator[Hostile]:
    with hostile_manager() as manager:
        yield manager


SHORT = {"interval": "100ms", "timeout": "500ms", "deadline": "2s", "healthy_threshold": 1}


def test_an_app_that_never_listens_is_told_that_it_does_not_listen_on_PORT(manager: Hostile) -> None:
    error = manager.refused(
        "silent", "1", 500, "HEALTH_CHECK_FAILED", mode="silent", port=free_port(), health_check=SHORT
    )
    assert "does not listen on its port" in error["message"]
    assert "within 2s" in error["message"]
    assert (error["details"]["operation"], error["details"]["rolled_back"]) == ("await_ready", True)
    assert error["details"]["cause"] == "I wait"
    assert not processes("silent-1-0")


def test_an_app_on_the_wrong_port_is_told_which_port_it_has_and_which_it_was_given(manager: Hostile) -> None:
    wrong = free_port()
    error = manager.refused(
        "wrong", "1", 500, "HEALTH_CHECK_FAILED",
        mode="wrong-port", port=free_port(), health_check=SHORT, configuration={"WRONG_PORT": str(wrong)},
    )  # fmt: skip
    assert f"it listens on {wrong}, but was given port" in error["message"]
    assert "PORT, which it ignores" in error["message"]


def test_an_app_that_ends_at_once_shows_its_last_lines_in_the_step_and_in_the_cause(manager: Hostile) -> None:
    error = manager.refused("exits", "1", 500, "HEALTH_CHECK_FAILED", mode="exits", port=free_port())
    assert "code 3" in error["message"]
    assert error["details"]["cause"].splitlines()[-1] == "no configuration file, giving up"
    assert "line 39" in error["details"]["cause"]
    failed = [step for step in error["details"]["steps"] if step["status"] == "failed"]
    assert [step["name"] for step in failed] == ["await_ready"]
    assert "line 39\nno configuration file, giving up" in failed[0]["error"]
    assert "\n" not in error["message"]
    assert all("\n" not in event["message"] for event in manager.status("exits")["events"])


def test_an_app_that_ignores_SIGTERM_is_killed_after_stop_timeout_and_that_is_said(manager: Hostile) -> None:
    port = free_port()
    for strategy in ("recreate", "rolling", "blue-green", "canary"):
        name = f"stubborn-{strategy}"
        manager.deployed(name, "1", mode="stubborn", port=port, strategy=strategy, stop_timeout="300ms")
        pid = int(ask(port, "/pid").split()[1])
        steps = manager.deployed(
            name, "2", mode="stubborn", port=port, strategy=strategy, stop_timeout="300ms",
            canary={"steps": [{"weight": 100, "pause": "0s"}]},
        )["steps"]  # fmt: skip
        said = "\n".join(step["message"] for step in steps)
        assert "ignored SIGTERM for 300ms" in said, (strategy, said)
        assert not Path(f"/proc/{pid}").exists(), strategy
        manager.take_down(name)


def test_an_app_that_forks_into_the_background_fails_and_leaves_no_daemon(manager: Hostile) -> None:
    error = manager.refused("daemon", "1", 500, "HEALTH_CHECK_FAILED", mode="daemon", port=free_port())
    assert "code 0" in error["message"]
    assert "foreground" in error["message"]
    assert not processes("RELEASE_VERSION=1\0MODE=daemon")
    assert not [pid for pid in processes("MODE=daemon") if str(manager.directory) in environ(pid)]


def environ(pid: int) -> str:
    return Path(f"/proc/{pid}/environ").read_text(errors="replace")


def test_an_app_that_answers_503_says_what_it_answered(manager: Hostile) -> None:
    port = free_port()
    error = manager.refused(
        "sick", "1", 500, "HEALTH_CHECK_FAILED",
        mode="unhealthy", health_check_url=f"http://localhost:{port}/health", health_check=SHORT,
    )  # fmt: skip
    assert "503" in error["message"]
    assert "the database is away" in error["message"]
    assert manager.status("sick")["state"] == "failed"


def test_a_program_that_does_not_exist_is_named(manager: Hostile) -> None:
    error = manager.refused("absent", "1", 500, "DEPLOYMENT_FAILED", command=["./nothing-here"], port=free_port())
    assert "nothing-here" in error["message"]
    assert error["details"]["rolled_back"] is True
    shell = manager.refused("absent", "1", 500, "HEALTH_CHECK_FAILED", command="./nothing-here", port=free_port())
    assert "not found" in shell["details"]["cause"]


def test_a_crash_is_restarted_and_a_crash_loop_backs_off_and_is_told(manager: Hostile) -> None:
    flag, port = manager.directory / "loop.flag", free_port()
    manager.deployed(
        "loop", "1", mode="loop", health_check_url=f"http://localhost:{port}/health",
        configuration={"FLAG": str(flag)},
    )  # fmt: skip
    ask(port, "/crash")
    manager.until_state("loop", "healthy", "healthy")
    assert "starting it again" in manager.events("loop")
    assert "code 7" in manager.events("loop")
    assert ask(port) == "200 1"

    flag.touch()
    ask(port, "/crash")
    manager.until_state("loop", "unhealthy", "unhealthy")
    assert manager.status("loop")["replicas"] == {"desired": 1, "available": 0, "ready": 0, "updated": 1}
    assert manager.health("loop")["overall"] == "unhealthy"
    until("the third restart", lambda: manager.events("loop").count("starting it again") >= 4, 20)
    assert "code 9" in manager.events("loop")
    assert "the next in 1 s" in manager.events("loop")
    flag.unlink()
    until("its recovery", lambda: manager.status("loop")["health"] == "healthy", 20)
    assert ask(port) == "200 1"


def test_an_instance_killed_from_outside_comes_back_and_status_tells_the_truth_meanwhile(manager: Hostile) -> None:
    port = free_port()
    manager.deployed("victim", "1", port=port, replicas=2)
    assert manager.status("victim")["replicas"] == {"desired": 2, "available": 2, "ready": 2, "updated": 2}
    ask(port, "/crash")
    until("two restarted instances", lambda: "starting it again" in manager.events("victim"))
    until("both ready", lambda: manager.status("victim")["replicas"]["ready"] == 2)
    listed = {row["name"]: row for row in manager.http.get(f"{ROOT}?limit=500").json()["deployments"]}
    assert (listed["victim"]["state"], listed["victim"]["health"]) == ("healthy", "healthy")
    assert manager.health("victim")["overall"] == "healthy"
