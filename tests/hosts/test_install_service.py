"""`longshore install-service` on a real systemd host: installed, repeated, changed, refused and taken back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.documents import blocks_of
from support.listening import listening
from support.systemd_host import DATA, Host, HostsMissing, open_host, until

pytestmark = pytest.mark.slow

UNIT = "/etc/systemd/system/longshore.service"
CONFIG = "/etc/longshore.toml"
#: below 1024: of a user who is not root
PORT = 80


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    try:
        with open_host(tmp_path_factory.mktemp("systemd")) as host:
            # What runs the tests may lie in root's home, which everybody has to get through here.
            host.shell("chmod 711 /root")
            yield host
    except HostsMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def host(machine: Host) -> Iterator[Host]:
    """Without the service, its user and its data, before and after."""
    yield machine
    machine.shell(
        "systemctl kill --signal=KILL longshore 2>/dev/null; systemctl disable --now longshore 2>/dev/null;"
        f"rm -rf {UNIT} {UNIT}.d {DATA} {CONFIG}; systemctl daemon-reload; systemctl reset-failed;"
        "userdel longshore 2>/dev/null || true"
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "longshore", *arguments]


def install(host: Host, *arguments: str) -> Any:
    return json.loads(host.ask(*command("install-service", "--json", *arguments)))


def refused(host: Host, *arguments: str) -> str:
    """The error."""
    done = subprocess.run(
        host.command(*command("install-service", *arguments)), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stdout
    return done.stderr


def deploy(host: Host, version: str, **fields: Any) -> Any:
    spec = {
        "name": "shop",
        "version": version,
        "artifact_path": f"/srv/app/{version}",
        "command": ["/usr/bin/python3", "app.py"],
        "health_check_url": f"http://127.0.0.1:{PORT}/health",
        "strategy": "rolling",
        "replicas": 2,
        "health_check": {"interval": "1s", "healthy_threshold": 1},
        **fields,
    }
    host.path("/srv/spec.json").write_text(json.dumps(spec))
    return json.loads(host.ask(*command("--data-dir", str(DATA), "--json", "deploy", "-f", "/srv/spec.json")))


def serves(host: Host) -> None:
    subprocess.run(host.network("curl", "--fail", "--silent", f"http://127.0.0.1:{PORT}/health"), check=True)


def owners(host: Host) -> set[str]:
    """Of all processes of the unit."""
    group = host.show("longshore", "ControlGroup")
    pids = host.shell(f"cat $(find /sys/fs/cgroup -path '*{group}*' -name cgroup.procs)").split()
    return set(host.ask("ps", "-o", "user=", "-p", ",".join(sorted(set(pids)))).split())


def test_it_runs_as_a_user_of_its_own_and_serves_on_port_80_through_restarts(host: Host) -> None:
    said = install(host)
    assert (said["user"], said["data_dir"], said["url"]) == ("longshore", str(DATA), "http://127.0.0.1:8300")
    assert [line.split()[0] for line in said["done"]] == ["made", "made", "wrote", "enabled", "started"]
    assert host.ask("systemctl", "is-enabled", "longshore").strip() == "enabled"
    deploy(host, "1")
    assert owners(host) == {"longshore"}
    host.ask("systemctl", "restart", "longshore")
    serves(host)
    deploy(host, "2")
    # What they run in is kept from the system, and from becoming somebody else.
    assert "Read-only" in in_unit(host, "touch /usr/x /etc/x /proc/sys/kernel/x")
    assert "NoNewPrivs:\t1" in in_unit(host, "cat /proc/self/status")

    # A drop-in gives back what hooks need.
    (block,) = blocks_of("docs/operations.md", "ini")
    host.path(f"{UNIT}.d").mkdir()
    host.path(f"{UNIT}.d/mine.conf").write_text(block)
    host.shell("systemctl daemon-reload && systemctl restart longshore")
    assert "NoNewPrivs:\t0" in in_unit(host, "cat  /proc/self/status")


def in_unit(host: Host, script: str) -> str:
    """What a hook prints."""
    deploy(host, f"h{len(script)}", artifact_path="/srv/app/1", pre_deploy_hooks=[f"({script}) 2>&1; true"])
    lines = json.loads(host.ask(*command("--data-dir", str(DATA), "--json", "hooks", "shop")))["lines"]
    return "\n".join(line["line"] for line in lines)


def test_repeated_it_changes_nothing_and_changed_it_restarts_the_manager_alone(host: Host) -> None:
    install(host)
    deploy(host, "1")
    before = host.show("longshore", "MainPID")
    assert install(host)["done"] == []
    assert host.show("longshore", "MainPID") == before
    said = install(host, "--listen", "127.0.0.1:8301")
    assert said["url"] == "http://127.0.0.1:8301"
    assert said["done"] == [f"wrote {UNIT}", "restarted it; applications went on"]
    assert host.show("longshore", "MainPID") != before
    serves(host)


def test_taken_back_it_leaves_applications_data_and_user(host: Host) -> None:
    install(host)
    deploy(host, "1")
    host.ask(*command("install-service", "--remove"))
    assert not host.path(UNIT).exists()
    assert host.show("longshore", "ActiveState") == "inactive"
    serves(host)
    assert "nothing to remove" in host.ask(*command("install-service", "--remove"))
    install(host)
    assert json.loads(host.ask(*command("--data-dir", str(DATA), "--json", "status", "shop")))["version"] == "1"


def test_it_is_back_after_a_reboot(host: Host) -> None:
    install(host)
    host.reboot()
    until(lambda: host.show("longshore", "ActiveState") == "active", "systemd has started it")


def test_run_by_root_it_runs_units_of_this_machine(host: Host) -> None:
    host.path(CONFIG).write_text('[environments.production]\ndriver = "systemd"\n')
    assert "--user root" in refused(host, "--config", CONFIG)
    install(host, "--config", CONFIG, "--user", "root")
    deploy(host, "1", environment="production")
    assert host.shell("systemctl list-units --plain --no-legend 'shop@*' | wc -l").strip() == "2"
    host.ask(*command("--data-dir", str(DATA), "delete", "shop", "--yes"))


def test_what_cannot_be_is_refused_and_changes_nothing(host: Host) -> None:
    host.path(UNIT).write_text("[Service]\nExecStart=/bin/true\n")
    assert "was not made by this command" in refused(host)
    assert "was not made by this command" in refused(host, "--remove")
    host.path(UNIT).unlink()
    host.shell(f"mkdir -p {DATA} && touch {DATA}/longshore.db")
    assert "--user root" in refused(host)
    host.shell(f"rm -r {DATA}")
    host.path(CONFIG).write_text("data_dri = 1\n")
    assert f"{CONFIG}:1" in refused(host, "--config", CONFIG)
    assert "useradd --system nope" in refused(host, "--user", "nope")
    host.path(CONFIG).write_text('listen = "127.0.0.1:8300"\n')
    host.shell(f"chmod 600 {CONFIG}")
    assert f"chgrp longshore {CONFIG}" in refused(host, "--config", CONFIG)
    assert not host.path(UNIT).exists()
    host.shell("chmod 700 /root")
    try:
        if Path(sys.base_prefix).is_relative_to("/root"):
            assert "where everybody may read it" in refused(host)
    finally:
        host.shell("chmod 711 /root")
    done = subprocess.run(
        host.command("setpriv", "--reuid=65534", "--clear-groups", *command("install-service")),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, "Only root" in done.stderr) == (1, True)


def test_a_manager_that_does_not_start_is_told_with_its_last_words(host: Host) -> None:
    with listening(host.command, "127.0.0.1:8300"):
        error = refused(host)
        assert "Cannot listen on 127.0.0.1:8300" in error
        assert "install-service --remove" in error
    until(lambda: host.show("longshore", "ActiveState") == "active", "it is started as soon as it can be")
