"""The connection to a host is lost after each single thing that was asked of it, before its answer has come.

Lost before it was asked is lost after the one before that: it is not tried twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from longshore.drivers.base import Handle, Launch
from longshore.drivers.systemd.driver import SystemdDriver
from longshore.hosts import HostUnreachable, SshHost
from longshore.model import Systemd
from support.hosts import Host, HostSet, HostsMissing, open_hosts
from support.units import WORK, launch_there

pytestmark = pytest.mark.slow

#: more than any of the works below asks
MOST = 60


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    try:
        with open_hosts(tmp_path_factory.mktemp("lost"), 1) as hosts, hosts.inside():
            yield _prepared(hosts)
    except HostsMissing as error:
        pytest.skip(str(error))


def _prepared(hosts: HostSet) -> Host:
    host: Host = hosts[0]
    host.path("/etc/systemd/system/own.service").write_text(
        "[Service]\nType=exec\nExecStart=/bin/sh -c 'echo run >> /srv/shop/runs; exec sleep 600'\n"
    )
    host.path(WORK).mkdir(parents=True, exist_ok=True)
    host.ask("systemctl", "daemon-reload")
    return host


class Losing(SshHost):
    """Loses its connection at the `at`-th thing asked of it."""

    at: int = 0
    asked: int = 0

    def lose(self) -> None:
        self.asked += 1
        if self.asked == self.at:
            raise HostUnreachable(self.name, "the test has cut it off", passing=True)

    async def run(self, *arguments: Any, **more: Any) -> Any:
        done = await super().run(*arguments, **more)
        self.lose()
        return done

    async def bus(self) -> Any:
        bus = await super().bus()
        if not getattr(bus, "losing", False):
            call = bus.call

            async def losing(message: Any) -> Any:
                try:
                    reply = await call(message)
                    self.lose()
                except HostUnreachable:
                    bus.disconnect()
                    raise
                return reply

            bus.call, bus.losing = losing, True  # type: ignore[method-assign, attr-defined]
        return bus


@asynccontextmanager
async def losing(host: Host, at: int) -> AsyncIterator[tuple[SystemdDriver, Losing]]:
    there = Losing(host.settings(), host.ssh(), "system", "manager", 1)
    there.at = at
    try:
        yield SystemdDriver("manager", lambda: None, {host.name: there}), there
    finally:
        await there.close()


def own_launch(host: Host) -> Launch:
    release = WORK / "releases/1"
    return launch_there(host, service="own", systemd=Systemd(unit="existing"), directory=release)


@pytest.mark.parametrize("kind", ["managed", "existing"])
async def test_started_once_and_stopped_wherever_the_connection_is_lost(host: Host, kind: str) -> None:
    reached = 0
    for at in range(1, MOST):
        runs = host.path(WORK / "runs")
        runs.unlink(missing_ok=True)
        launch = (
            own_launch(host) if kind == "existing" else launch_there(host, _counting(), systemd=Systemd(sandbox="off"))
        )
        handles: list[Handle] = []
        async with losing(host, at) as (driver, there):
            handle = await driver.start(launch, handles.append)
            assert handles == [handle]
            assert (await driver.inspect(handle)).state == "running", f"at {at}"
            assert await driver.survey() == {launch.launch_id: handle}, f"at {at}"
            await driver.stop(handle, 5)
            assert await driver.survey() == {}, f"at {at}"
            reached = there.asked
        assert runs.read_text() == "run\n", f"at {at}: it was started {len(runs.read_text()) // 4} times"
        assert not host.path("/etc/systemd/system/shop@.service").exists()
        if at > reached:
            return
    raise AssertionError(f"it asks more than {MOST} things")


def _counting() -> str:
    return "echo run >> /srv/shop/runs; exec sleep 600"
