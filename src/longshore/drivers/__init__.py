"""Drivers: what runs instances."""

from __future__ import annotations

from typing import Protocol

from longshore.drivers.base import Driver
from longshore.fence import Fence, unfenced


class Maker(Protocol):
    """Makes a driver: of the manager's id, which stays the same across restarts, and of its fence."""

    def __call__(self, manager_id: str, fence: Fence = unfenced) -> Driver: ...


def _process(manager_id: str, fence: Fence = unfenced) -> Driver:
    from longshore.drivers.process import ProcessDriver

    return ProcessDriver(manager_id, fence)


def _mock(manager_id: str, fence: Fence = unfenced) -> Driver:
    from longshore.drivers.mock import MockDriver, world_of

    return MockDriver(world_of(manager_id))


# To add a driver: a file here with a class that does what base.Driver says; a function above that imports it (only
# when it is used: its libraries cost time and memory) and a line below; a section in docs/guide/running-apps.md.
# tests/contracts/test_drivers.py then covers it. The fence is passed right before each start and each signal.
DRIVERS: dict[str, Maker] = {"process": _process, "mock": _mock}
