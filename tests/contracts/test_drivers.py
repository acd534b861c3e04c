"""What every driver of DRIVERS keeps of the promises in drivers/base.py."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from longshore.drivers import DRIVERS, Maker
from longshore.drivers.base import Driver, Handle, Launch
from longshore.hosts import SshHost
from support.backends import free_port
from support.hosts import HostSet, HostsMissing, open_hosts
from support.launching import launch_of
from support.units import launch_there

KNOWN_CAPABILITIES = {"ports", "limits", "user", "logs", "replicas", "hosts", "existing", "notify"}


@dataclass
class Host:
    """Where instances of the tests run, and how a driver for it is made."""

    make: Maker
    directory: Path
    #: the real machine that they run on, where that is another one
    there: HostSet | None = None
    manager_id: str = field(default_factory=lambda: f"contract-{uuid.uuid4().hex}")
    handles: list[Handle] = field(default_factory=list)
    connected: list[SshHost] = field(default_factory=list)
    epoch: int = 1

    def driver(self) -> Driver:
        """A driver as a manager gets it that has just been (re)started."""
        if self.there is None:
            return self.make(self.manager_id)
        machine = self.there[0]
        self.connected.append(SshHost(machine.settings(), machine.ssh(), "system", self.manager_id, self.epoch))
        return self.make(self.manager_id, hosts={"host1": self.connected[-1]})

    def launch(self, **changes: Any) -> Launch:
        if self.there is None:
            return launch_of(self.directory, **changes)
        return launch_there(self.there[0], **changes)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, HostSet]]:
    """Those that were asked for in this run: each driver that needs one brings it up once."""
    with ExitStack() as stack:
        yield _Machines(tmp_path_factory, stack)


class _Machines(dict[str, HostSet]):
    def __init__(self, factory: pytest.TempPathFactory, stack: ExitStack) -> None:
        self._factory, self._stack = factory, stack

    def __missing__(self, name: str) -> HostSet:
        hosts = self._stack.enter_context(open_hosts(self._factory.mktemp(name), 1))
        self[name] = hosts
        return hosts


@pytest.fixture(params=DRIVERS)
async def host(request: pytest.FixtureRequest, tmp_path: Path, machines: Mapping[str, HostSet]) -> AsyncIterator[Host]:
    with ExitStack() as stack:
        there = None
        if request.param == "systemd":
            try:
                there = machines["systemd"]
            except HostsMissing as error:
                pytest.skip(str(error))
            stack.enter_context(there.inside())
        found = Host(DRIVERS[request.param], tmp_path, there)
        yield found
        driver = found.driver()
        for handle in [*found.handles, *(await driver.survey()).values()]:
            await driver.stop(handle, 0)
        for each in found.connected:
            await each.close()


def ignore(handle: Handle) -> None:
    """The persist of a manager that was killed before it wrote."""


async def test_a_driver_has_the_name_it_is_registered_by(host: Host) -> None:
    assert DRIVERS[host.driver().name] is host.make


async def test_capabilities_are_of_the_known_words(host: Host) -> None:
    assert host.driver().capabilities() <= KNOWN_CAPABILITIES


async def test_a_fingerprint_says_why(host: Host) -> None:
    found = await host.driver().fingerprint()
    assert (found.usable, bool(found.reason)) == (True, True)


async def test_what_was_started_runs_and_was_persisted_first(host: Host) -> None:
    driver = host.driver()
    handle = await driver.start(host.launch(), host.handles.append)
    assert host.handles == [handle]
    assert (await driver.inspect(handle)).state == "running"


async def test_what_cannot_be_persisted_does_not_run(host: Host) -> None:
    def full_disk(handle: Handle) -> None:
        host.handles.append(handle)
        raise OSError("disk full")

    driver = host.driver()
    with pytest.raises(OSError, match="disk full"):
        await driver.start(host.launch(), full_disk)
    assert (await driver.inspect(host.handles[0])).state == "exited"
    assert await driver.survey() == {}


async def test_a_fresh_driver_finds_an_instance_by_its_handle(host: Host) -> None:
    handle = await host.driver().start(host.launch(), host.handles.append)
    assert (await host.driver().inspect(handle)).state == "running"


async def test_a_fresh_driver_stops_an_instance_by_its_handle(host: Host) -> None:
    handle = await host.driver().start(host.launch(), host.handles.append)
    fresh = host.driver()
    await fresh.stop(handle, 5)
    assert (await fresh.inspect(handle)).state == "exited"


async def test_a_survey_finds_an_instance_whose_handle_was_never_stored(host: Host) -> None:
    launch = host.launch()
    handle = await host.driver().start(launch, ignore)
    assert await host.driver().survey() == {launch.launch_id: handle}


async def test_a_survey_finds_only_what_exists(host: Host) -> None:
    driver = host.driver()
    await driver.stop(await driver.start(host.launch(), host.handles.append), 5)
    assert await driver.survey() == {}


async def test_a_polite_instance_is_not_killed(host: Host) -> None:
    driver = host.driver()
    stopped = await driver.stop(await driver.start(host.launch(), host.handles.append), 10)
    assert not stopped.killed


async def test_stopping_what_has_ended_is_harmless(host: Host) -> None:
    driver = host.driver()
    handle = await driver.start(host.launch(), host.handles.append)
    await driver.stop(handle, 5)
    assert not (await driver.stop(handle, 5)).killed


async def test_exited_waits_until_it_is_stopped(host: Host) -> None:
    driver = host.driver()
    handle = await driver.start(host.launch(), host.handles.append)
    ended = asyncio.create_task(driver.exited(handle))
    await asyncio.sleep(0)
    assert not ended.done()
    stopped = await driver.stop(handle, 5)
    assert await ended == stopped.exit


async def test_exited_of_what_has_ended_returns_at_once(host: Host) -> None:
    driver = host.driver()
    handle = await driver.start(host.launch(), host.handles.append)
    await driver.stop(handle, 5)
    async with asyncio.timeout(1):
        await driver.exited(handle)


async def test_an_instance_that_does_not_listen_has_no_ports(host: Host) -> None:
    driver = host.driver()
    handle = await driver.start(host.launch(), host.handles.append)
    assert await driver.ports(handle) == frozenset()


async def test_an_instance_that_nobody_is_connected_to_has_no_connections(host: Host) -> None:
    driver = host.driver()
    handle = await driver.start(host.launch(), host.handles.append)
    assert await driver.connections(handle, free_port()) in (0, None)


async def test_a_log_that_does_not_exist_has_no_lines(host: Host, tmp_path: Path) -> None:
    assert host.driver().logs(tmp_path / "none.log", 10) == []
