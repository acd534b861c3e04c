"""From a launch to the text of its unit."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from longshore.drivers.base import DriverError, Launch
from longshore.drivers.systemd.units import existing_name, files, managed_name, template
from longshore.model import Resources, Systemd

ENVIRONMENT = PurePosixPath("/var/lib/longshore-host/environment/shop@12-0.service")


def launch_of(**changes: Any) -> Launch:
    fields: dict[str, Any] = {
        "deployment": "shop",
        "instance": "shop-12-0",
        "launch_id": "abc",
        "command": ("./server", "--port", "80"),
        "directory": Path("/srv/shop/releases/2"),
        "environment": {"PORT": "20000"},
        "log": Path("/unused"),
        "service": "shop",
        "working_directory": Path("/srv/shop"),
    }
    return Launch(**(fields | changes))


def drop_in(scope: Any = "system", version: int = 252, **changes: Any) -> list[str]:
    launch = launch_of(**changes)
    made = files(
        launch,
        managed_name(launch),
        manager_id="m1",
        scope=scope,
        version=version,
        environment_file=ENVIRONMENT,
    )
    return made.drop_in.splitlines()


def value(lines: list[str], key: str) -> str:
    (found,) = [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]
    return found


def keys(lines: list[str]) -> set[str]:
    return {line.partition("=")[0] for line in lines if "=" in line}


@pytest.mark.parametrize(
    ("service", "instance", "unit"),
    [
        ("shop", "shop-12-0", "shop@12-0.service"),
        ("shop.service", "shop-12-0", "shop@12-0.service"),
        ("", "shop-12-0", "shop@12-0.service"),
        ("web", "shop-12-3", "web@12-3.service"),
    ],
)
def test_an_instance_is_named_by_its_service_rollout_and_slot(service: str, instance: str, unit: str) -> None:
    assert str(managed_name(launch_of(service=service, instance=instance))) == unit


@pytest.mark.parametrize("service", ["shop@", "a b", "-x", "a/b", "a\\b", "x" * 250])
def test_a_service_that_cannot_name_a_template_is_refused(service: str) -> None:
    with pytest.raises(DriverError, match=r"service_name|longer than"):
        managed_name(launch_of(service=service))


@pytest.mark.parametrize(
    ("service", "unit"), [("shop", "shop.service"), ("shop.service", "shop.service"), ("shop@1", "shop@1.service")]
)
def test_a_unit_of_the_users_own_is_named_as_it_is(service: str, unit: str) -> None:
    assert existing_name(launch_of(service=service)) == unit


@pytest.mark.parametrize("service", ["shop@", "../shop", "@x"])
def test_what_is_no_service_of_the_users_own_is_refused(service: str) -> None:
    with pytest.raises(DriverError, match="does not name a service"):
        existing_name(launch_of(service=service))


@pytest.mark.parametrize(
    ("command", "version", "written"),
    [
        ("exec ./server $PORT", 252, ':"/bin/sh" "-c" "exec ./server $PORT"'),
        (("./server", "a b"), 252, ':"/srv/shop/releases/2/server" "a b"'),
        (("bin/../server",), 252, ':"/srv/shop/releases/2/server"'),
        (("/usr/bin/node", "x.js"), 252, ':"/usr/bin/node" "x.js"'),
        (("node", "x.js"), 252, ':"node" "x.js"'),
        (("node", "x.js"), 247, ':"node" "x.js"'),
        (("-odd",), 252, ':"/usr/bin/env" "--" "-odd"'),
        (("./my server",), 252, ':"/bin/sh" "-c" "exec \\"$0\\" \\"$@\\"" "/srv/shop/releases/2/my server"'),
    ],
)
def test_a_command_is_executed_as_it_is(command: Any, version: int, written: str) -> None:
    assert value(drop_in(command=command, version=version), "ExecStart") == written


def test_a_name_is_looked_for_in_the_search_path_of_the_application() -> None:
    environment = {"PATH": "/opt/node/bin:relative:/usr/bin"}
    lines = drop_in(command=("node",), environment=environment)
    assert value(lines, "ExecSearchPath") == "/opt/node/bin:/usr/bin"


def test_an_older_systemd_leaves_looking_for_a_name_to_env() -> None:
    lines = drop_in(command=("node",), environment={"PATH": "/opt/node/bin"}, version=247)
    assert (value(lines, "ExecStart"), "ExecSearchPath" in keys(lines)) == (':"/usr/bin/env" "--" "node"', False)


def test_secrets_are_in_no_unit_file() -> None:
    lines = drop_in(environment={"PASSWORD": "hunter2"})
    assert "hunter2" not in "\n".join(lines)
    assert value(lines, "EnvironmentFile") == str(ENVIRONMENT)


def test_a_drop_in_carries_the_mark_of_its_launch() -> None:
    assert "Environment=LONGSHORE_LAUNCH=m1/abc" in drop_in()


def test_limits_are_systemds() -> None:
    lines = drop_in(resources=Resources(memory=1 << 20, cpu=0.5, tasks=7, files=9))
    found = {key: value(lines, key) for key in ("MemoryMax", "CPUQuota", "TasksMax", "LimitNOFILE")}
    assert found == {"MemoryMax": "1048576", "CPUQuota": "50.00%", "TasksMax": "7", "LimitNOFILE": "9"}


def test_without_limits_there_are_none() -> None:
    assert not keys(drop_in()) & {"MemoryMax", "CPUQuota", "TasksMax", "LimitNOFILE"}


def test_an_application_that_says_when_it_is_ready_may_take_its_time() -> None:
    lines = drop_in(systemd=Systemd(type="notify", watchdog=2.5))
    found = [value(lines, key) for key in ("Type", "WatchdogSec", "NotifyAccess", "TimeoutStartSec")]
    assert found == ["notify", "2.5s", "all", "infinity"]


def test_a_user_is_named() -> None:
    assert value(drop_in(user="deploy"), "User") == "deploy"


def test_a_users_own_systemd_runs_nobody_else() -> None:
    with pytest.raises(DriverError, match='scope = "user"'):
        drop_in(scope="user", user="deploy")


def test_the_full_sandbox_leaves_its_own_directories_to_be_written() -> None:
    lines = drop_in()
    assert value(lines, "ProtectSystem") == "strict"
    assert value(lines, "ReadWritePaths") == '"-/srv/shop/releases/2" "-/srv/shop/shared"'


def test_the_strict_sandbox_has_all_of_the_full_one() -> None:
    assert keys(drop_in()) < keys(drop_in(systemd=Systemd(sandbox="strict")))


def test_without_a_sandbox_nothing_is_taken_away() -> None:
    left = keys(drop_in(systemd=Systemd(sandbox="off")))
    assert not any(key.startswith(("Protect", "Private", "Restrict", "NoNew", "ReadWrite")) for key in left)


def test_a_users_own_systemd_gets_what_needs_no_file_system_of_its_own() -> None:
    found = keys(drop_in(scope="user"))
    assert "NoNewPrivileges" in found
    assert not found & {"ProtectSystem", "PrivateTmp", "ReadWritePaths"}


def test_a_release_below_tmp_is_not_hidden_from_itself() -> None:
    assert "PrivateTmp" not in keys(drop_in(directory=Path("/tmp/x")))


def test_a_release_in_a_home_is_not_hidden_by_the_strict_sandbox() -> None:
    lines = drop_in(directory=Path("/home/deploy/shop"), systemd=Systemd(sandbox="strict"))
    assert value(lines, "ProtectHome") == "read-only"


@pytest.mark.parametrize("directory", ["/srv/x\nUser=root", "/srv/x\\"])
def test_a_directory_cannot_say_more_than_where(directory: str) -> None:
    with pytest.raises(DriverError, match="cannot be a path of a unit"):
        drop_in(directory=Path(directory))


def test_a_template_says_whose_it_is_and_comes_back_after_a_reboot() -> None:
    lines = template("web", "shop", "m1", "system", 252).splitlines()
    assert lines[0] == "# Longshore: m1 shop"
    assert {"Restart=always", "WantedBy=multi-user.target", "SyslogIdentifier=web"} <= set(lines)


def test_a_users_own_template_comes_back_with_their_systemd() -> None:
    lines = template("web", "shop", "m1", "user", 252).splitlines()
    assert "WantedBy=default.target" in lines
    assert not any("network-online" in line for line in lines)


def test_a_newer_systemd_pauses_longer_and_longer_between_restarts() -> None:
    assert "RestartMaxDelaySec=60" in template("web", "shop", "m1", "system", 254)
    assert "RestartMaxDelaySec" not in template("web", "shop", "m1", "system", 253)
