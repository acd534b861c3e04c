"""A manager on a real systemd host that runs its instances as units beside it: by the machine's own systemd."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import longshore
from support.systemd_host import DATA, Host, HostsMissing, open_host, until

pytestmark = pytest.mark.slow

PORT = 8080


def spec(version: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": "shop",
        "version": version,
        "environment": "production",
        "artifact_path": f"/srv/app/{version}",
        "command": ["/usr/bin/python3", "app.py"],
        "health_check_url": f"http://127.0.0.1:{PORT}/health",
        "strategy": "rolling",
        "replicas": 2,
        "health_check": {"interval": "1s", "healthy_threshold": 1},
        **fields,
    }


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    try:
        with open_host(tmp_path_factory.mktemp("here")) as host:
            source = Path(longshore.__file__).parents[1]
            host.path("/etc/longshore.toml").write_text(
                f'data_dir = "{DATA}"\n[rate_limits]\ndeploy = 0\n[environments.production]\ndriver = "systemd"\n'
            )
            host.path("/etc/systemd/system/longshore.service").write_text(
                f"[Service]\nType=notify\nNotifyAccess=all\nKillMode=process\nEnvironment=PYTHONPATH={source}\n"
                f"ExecStart={sys.executable} -m longshore serve --config /etc/longshore.toml\n"
                "Restart=always\n[Install]\nWantedBy=multi-user.target\n"
            )
            host.ask("systemctl", "daemon-reload")
            host.ask("systemctl", "enable", "--now", "longshore")
            yield host
    except HostsMissing as error:
        pytest.skip(str(error))


def deploy(host: Host, version: str, **fields: Any) -> None:
    host.path("/srv/spec.json").write_text(json.dumps(spec(version, **fields)))
    host.longshore("deploy", "-f", "/srv/spec.json")


def units(host: Host) -> list[str]:
    said = host.ask("systemctl", "list-units", "--plain", "--no-legend", "--state=active", "shop@*")
    return [line.split()[0] for line in said.splitlines()]


def healthy(host: Host) -> bool:
    """As a manager says that is there, and was not just killed."""
    if host.show("longshore", "ActiveState") != "active":
        return False
    said = host.ask(*host.longshore_command("status", "shop"), expect=None)
    return bool(said) and json.loads(said).get("health") == "healthy"


def test_instances_are_units_that_outlive_the_manager_and_a_reboot(host: Host) -> None:
    deploy(host, "1")
    assert len(units(host)) == 2
    before = units(host)
    host.ask("systemctl", "kill", "--kill-who=main", "--signal=KILL", "longshore")
    until(lambda: healthy(host), "a new manager has found them")
    assert units(host) == before
    deploy(host, "2")
    assert len(units(host)) == 2
    assert set(units(host)).isdisjoint(before)
    host.kit("reboot", "1")
    until(lambda: healthy(host), "it serves again after a reboot", 60.0)
    assert host.longshore("status", "shop")["version"] == "2"


def test_what_is_deleted_leaves_no_unit(host: Host) -> None:
    deploy(host, "2")
    host.longshore("delete", "shop", "--yes")
    assert units(host) == []
    assert host.ask("sh", "-c", "ls -d /etc/systemd/system/shop@* 2>/dev/null || true") == ""
