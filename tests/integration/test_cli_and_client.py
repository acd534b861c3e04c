"""Command line and client with a real manager, deploying a worker without a port."""

import json
import signal
import threading

import pytest

from longshore.client import ApiError, Longshore
from support.managers import RealManager, until


@pytest.fixture
def manager(tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    real = RealManager(tmp_path / "data")
    real.start()
    yield real
    if real.process.poll() is not None:
        real.start()
    with Longshore(data_dir=real.data_dir) as client:
        for row in list(client.list_all()):
            client.delete(row.name)
    real.end(signal.SIGTERM)


@pytest.fixture
def worker(tmp_path):
    """A deploy file; its artifact is a shell script that says its version and stays."""
    (tmp_path / "app").mkdir()
    script = tmp_path / "app/worker"
    script.write_text('#!/bin/sh\necho "this is $RELEASE_VERSION"\nexec sleep 600\n')
    script.chmod(0o755)
    file = tmp_path / "longshore.toml"
    file.write_text('name = "worker"\nartifact_path = "app"\n[health_check]\nmin_ready = "100ms"\n')
    return str(file)


def test_the_life_of_a_deployment_on_the_command_line(manager, worker):
    first = manager.run("deploy", "-f", worker, "--version", "1.0", "--env", "COLOUR=blue")
    assert first.returncode == 0, first.stderr
    assert "worker 1.0 serves after" in first.stdout

    second = manager.run("deploy", "-f", worker, "--version", "1.1", "--json")
    assert json.loads(second.stdout)["previous_version"] == "1.0"

    broken = manager.run("deploy", "-f", worker, "--version", "1.2", "--command", "echo broken; exit 3")
    assert broken.returncode == 1
    assert "error: " in broken.stderr
    assert "rolled back" in broken.stderr
    assert "broken" in broken.stderr

    status = manager.run("status", "worker").stdout
    assert "worker 1.1  healthy" in status
    assert "deploy #3 to 1.2: unwound" in status

    back = manager.run("rollback", "worker")
    assert (back.returncode, back.stdout.splitlines()[-1]) == (0, "worker 1.0 serves again")
    assert "this is 1.0" in manager.run("logs", "worker").stdout
    assert [line.split()[1] for line in manager.run("history", "worker").stdout.splitlines()[1:5]] == [
        "succeeded", "unwound", "succeeded", "succeeded"]  # fmt: skip

    for line in ("list", "health worker", "releases worker", "events worker", "watch worker", "doctor", "config"):
        looked = manager.run(*line.split())
        assert looked.returncode == 0, looked.stdout + looked.stderr
        assert json.loads(manager.run(*line.split(), "--json").stdout.splitlines()[-1])

    assert manager.run("delete", "worker", "--yes").returncode == 0
    assert "[DEPLOYMENT_NOT_FOUND]" in manager.run("status", "worker").stderr


def test_validate_and_plan_change_nothing(manager, worker):
    assert manager.run("validate", "-f", worker).returncode == 1
    assert manager.run("validate", "-f", worker, "--version", "1.0").returncode == 0
    assert "fetch_artifact" in manager.run("plan", "-f", worker, "--version", "1.0").stdout
    assert manager.run("list").stdout == "there are no deployments\n"


def test_a_rollout_in_progress_is_named_and_can_be_aborted(manager, worker, tmp_path):
    held = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
    manager.run("deploy", "-f", worker, "--version", "1.0")
    begun = manager.run("deploy", "-f", worker, "--version", "1.1", "--pre-deploy-hook", held, "--no-wait")
    assert "began" in begun.stdout
    refused = manager.run("deploy", "-f", worker, "--version", "1.2")
    assert refused.returncode == 1
    assert "[DEPLOYMENT_IN_PROGRESS]" in refused.stderr
    assert "longshore abort worker" in refused.stderr
    aborted = manager.run("abort", "worker", "--reason", "not today")
    assert aborted.returncode == 0, aborted.stdout + aborted.stderr
    assert "worker 1.0  healthy" in manager.run("status", "worker").stdout


def test_a_manager_killed_in_the_middle_of_a_deploy_does_not_lose_its_outcome(manager, worker, tmp_path):
    held = f"touch {tmp_path}/held; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
    outcome = []

    def deploy():
        with Longshore(data_dir=manager.data_dir) as client:
            try:
                outcome.append(client.deploy(name="worker", version="1.0", artifact_path=str(tmp_path / "app"),
                                             pre_deploy_hooks=[held], timeout=60))  # fmt: skip
            except ApiError as error:
                outcome.append(error)

    waiting = threading.Thread(target=deploy)
    waiting.start()
    until("the hook", (tmp_path / "held").exists)
    manager.end(signal.SIGKILL)
    (tmp_path / "go").touch()
    manager.start()
    waiting.join(60)
    assert not waiting.is_alive()
    # Killed before its commit: whatever was done is undone, and the one who waits is told so.
    assert isinstance(outcome[0], ApiError)
    assert outcome[0].details["rolled_back"] is True
