"""Launches on real hosts (support/hosts.py), and drivers for them."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from longshore.drivers import DRIVERS
from longshore.drivers.base import Launch
from longshore.drivers.systemd.driver import SystemdDriver
from longshore.hosts import SshHost
from support.hosts import Host

#: where the tests' releases are, on a host
WORK = Path("/srv/shop")
RELEASE = WORK / "releases/1"
#: a program that says "up" and then only waits
WAITER = ("/usr/bin/python3", "-S", "-c", "import signal; print('up', flush=True); signal.pause()")


def launch_there(host: Host, command: str | tuple[str, ...] = WAITER, **changes: Any) -> Launch:
    """A launch on a host, whose directory is made; `changes` replace fields."""
    fields: dict[str, Any] = {
        "deployment": "shop",
        "instance": "shop-1-0",
        "launch_id": uuid.uuid4().hex,
        "command": command,
        "directory": RELEASE,
        "environment": {"RELEASE_VERSION": "1.0"},
        "log": Path("/unused"),
        "host": host.name,
        "service": "shop",
        "working_directory": WORK,
        **changes,
    }
    host.path(fields["directory"]).mkdir(parents=True, exist_ok=True)
    return Launch(**fields)


@asynccontextmanager
async def driver_for(
    *machines: Host,
    manager_id: str = "manager",
    epoch: int = 1,
    scope: Literal["system", "user"] = "system",
    user: str = "root",
    keepalive: str = "5s",
) -> AsyncIterator[SystemdDriver]:
    """A driver for these hosts, by SSH."""
    hosts = {
        each.name: SshHost(each.settings(user=user), each.ssh(keepalive=keepalive), scope, manager_id, epoch)
        for each in machines
    }
    driver = DRIVERS["systemd"](manager_id, hosts=hosts)
    assert isinstance(driver, SystemdDriver)
    try:
        yield driver
    finally:
        for host in hosts.values():
            await host.close()
