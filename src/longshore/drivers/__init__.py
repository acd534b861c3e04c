"""Drivers: what runs instances."""

from __future__ import annotations

from collections.abc import Callable

from longshore.drivers.base import Driver


def _process(manager_id: str) -> Driver:
    from longshore.drivers.process import ProcessDriver

    return ProcessDriver(manager_id)


def _mock(manager_id: str) -> Driver:
    from longshore.drivers.mock import MockDriver, world_of

    return MockDriver(world_of(manager_id))


# To add a driver: a file here with a class that does what base.Driver says; a function above that imports it (only
# when it is used: its libraries cost time and memory) and a line below; a section in docs/guide/running-apps.md.
# tests/contracts/test_drivers.py then covers it. Called with the manager's id, which stays the same across restarts.
DRIVERS: dict[str, Callable[[str], Driver]] = {"process": _process, "mock": _mock}
