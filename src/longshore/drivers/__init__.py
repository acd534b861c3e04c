"""Drivers: what runs instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from longshore.drivers.base import Driver
from longshore.fence import Fence, unfenced

if TYPE_CHECKING:
    from longshore.hosts.base import Hosts


class Maker(Protocol):
    """Makes a driver: of the manager's id, which stays the same across restarts, of its fence, and of the hosts of the
    environment that it is for, where it has the capability "hosts"."""

    def __call__(self, manager_id: str, fence: Fence = unfenced, hosts: Hosts | None = None) -> Driver: ...


def _process(manager_id: str, fence: Fence = unfenced, hosts: Hosts | None = None) -> Driver:
    from longshore.drivers.process import ProcessDriver

    return ProcessDriver(manager_id, fence)


def _systemd(manager_id: str, fence: Fence = unfenced, hosts: Hosts | None = None) -> Driver:
    from longshore.drivers.systemd.driver import SystemdDriver

    if hosts is None:
        raise ValueError("driver systemd needs to know its hosts: longshore.hosts.make_hosts")
    return SystemdDriver(manager_id, fence, hosts)


def _mock(manager_id: str, fence: Fence = unfenced, hosts: Hosts | None = None) -> Driver:
    from longshore.drivers.mock import MockDriver, world_of

    return MockDriver(world_of(manager_id))


# To add a driver: a file here with a class that does what base.Driver says; a function above that imports it (only
# when it is used: its libraries cost time and memory) and a line below; a section in docs/guide/running-apps.md.
# tests/contracts/test_drivers.py then covers it. The fence is passed right before each start and each signal.
DRIVERS: dict[str, Maker] = {"process": _process, "systemd": _systemd, "mock": _mock}
