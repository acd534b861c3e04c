"""Longshore as a unit of a real systemd: restarted, killed, stopped and started, and the whole host rebooted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import longshore
from support.systemd_host import DATA, Host, HostsMissing, open_host, until

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
UNIT = REPOSITORY / "examples/systemd/longshore.service"
LOADER = REPOSITORY / "tests/support/loader.py"
PORT = 8080


def spec(version: str) -> dict[str, Any]:
    return {
        "name": "shop",
        "version": version,
        "artifact_path": f"/srv/app/{version}",
        "command": [sys.executable, "app.py"],
        "health_check_url": f"http://127.0.0.1:{PORT}/health",
        "strategy": "rolling",
        "replicas": 2,
        "health_check": {"interval": "1s", "healthy_threshold": 1},
    }


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """With Longshore running and version 1 of the shop deployed."""
    try:
        with open_host(tmp_path_factory.mktemp("systemd")) as host:
            source = Path(longshore.__file__).parents[1]
            unit = UNIT.read_text().replace("/opt/longshore/.venv/bin/longshore", f"{sys.executable} -m longshore")
            unit = unit.replace("[Service]\n", f"[Service]\nEnvironment=PYTHONPATH={source}\n")
            host.path("/etc/systemd/system/longshore.service").write_text(unit)
            host.path("/etc/longshore.toml").write_text(f'data_dir = "{DATA}"\n')
            host.ask("systemctl", "daemon-reload")
            host.ask("systemctl", "enable", "--now", "longshore")
            deploy(host, "1")
            yield host
    except HostsMissing as error:
        pytest.skip(str(error))


def deploy(host: Host, version: str) -> None:
    host.path("/srv/spec.json").write_text(json.dumps(spec(version)))
    host.longshore("deploy", "-f", "/srv/spec.json")


@contextmanager
def load(host: Host) -> Iterator[dict[str, Any]]:
    """Clients of the shop for as long as the block; what became of their requests is in the dict afterwards."""
    found: dict[str, Any] = {}
    clients = subprocess.Popen(
        host.network(sys.executable, str(LOADER), str(PORT)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert clients.stdin is not None
    assert clients.stdout is not None
    try:
        assert clients.stdout.readline() == "asking\n"
        yield found
        said, _ = clients.communicate(timeout=60)
        found.update(json.loads(said))
    finally:
        clients.kill()
        clients.communicate()


def nothing_lost(found: dict[str, Any]) -> None:
    assert found["failed"] == 0, found["losses"]
    assert found["sent"] > 100


def main_pid(host: Host) -> int:
    return int(host.show("longshore", "MainPID"))


def of_applications(host: Host) -> set[int]:
    """Pids on the host of the instances and of Envoy: what is in the unit besides its main process."""
    cgroup = host.show("longshore", "ControlGroup")
    listed = host.ask("sh", "-c", f"cat $(find /sys/fs/cgroup -path '*{cgroup}*' -name cgroup.procs)")
    return {int(pid) for pid in listed.split()} - {main_pid(host)}


def active(host: Host) -> bool:
    return host.show("longshore", "ActiveState") == "active"


def test_it_is_started_when_it_is_ready(host: Host) -> None:
    for _ in range(2):
        host.ask("systemctl", "restart", "longshore")
        # No waiting: who comes after the unit finds the API there.
        assert host.longshore("list")["total"] == 1
    assert "listens on http://127.0.0.1:8300" in host.show("longshore", "StatusText")


def test_applications_go_on_through_restart_kill_stop_and_start_without_a_request_lost(host: Host) -> None:
    before = of_applications(host)
    assert len(before) >= 3
    with load(host) as found:
        host.ask("systemctl", "restart", "longshore")
        assert of_applications(host) == before
        killed = main_pid(host)
        host.ask("systemctl", "kill", "--kill-who=main", "--signal=KILL", "longshore")
        until(lambda: active(host) and main_pid(host) not in (0, killed), "systemd has started it again")
        assert of_applications(host) == before
        host.ask("systemctl", "stop", "longshore")
        assert not active(host)
        host.ask("systemctl", "start", "longshore")
        assert of_applications(host) == before
        deploy(host, "2")
        deploy(host, "1")
    nothing_lost(found)
    assert set(found["versions"]) == {"1", "2"}


def test_one_that_hangs_is_replaced_by_the_watchdog_and_applications_go_on(host: Host) -> None:
    drop_in = host.path("/etc/systemd/system/longshore.service.d")
    drop_in.mkdir()
    (drop_in / "watchdog.conf").write_text("[Service]\nWatchdogSec=2\n")
    host.ask("systemctl", "daemon-reload")
    host.ask("systemctl", "restart", "longshore")
    before, hung = of_applications(host), main_pid(host)
    with load(host) as found:
        host.ask("kill", "-STOP", str(hung))
        until(lambda: active(host) and main_pid(host) not in (0, hung), "the watchdog has it started again")
    nothing_lost(found)
    assert of_applications(host) == before
    (drop_in / "watchdog.conf").unlink()
    host.ask("systemctl", "daemon-reload")


def test_after_a_reboot_the_manager_and_its_applications_are_back(host: Host) -> None:
    host.reboot()
    until(lambda: active(host), "systemd has started it: " + host.ask("journalctl", "-u", "longshore", "-n", "40"))

    def healthy() -> bool:
        status = host.longshore("status", "shop")
        return bool(status["health"] == "healthy" and status["version"] == "1")

    until(healthy, "the shop is healthy again")
    with load(host) as found:
        host.ask("systemctl", "restart", "longshore")
    nothing_lost(found)
