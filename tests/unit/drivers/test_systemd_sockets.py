"""The sockets of a host, counted by the real scripts: with ss, and where that is not there."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from longshore.drivers.systemd.driver import SystemdDriver
from longshore.drivers.systemd.sockets import Sockets
from longshore.hosts.base import Done, HostUnreachable
from support.sh_host import Cut, ShHost

#: of this process, as its host knows it
NAME = Path("/proc/self/comm").read_text().strip()
#: all that the scripts need where there is no ss
PROGRAMS = ("grep", "sed", "ls", "find", "head")


class Bare(ShHost):
    """One that has only these programs."""

    async def run(self, *script: str, environment: Mapping[str, str] | None = None, **more: object) -> Done:
        return await super().run(*script, environment={"PATH": str(self.home / "bin")}, **more)  # type: ignore[arg-type]


@pytest.fixture(params=["with ss", "without ss"])
def sockets(request: pytest.FixtureRequest, tmp_path: Path) -> Sockets:
    if request.param == "with ss":
        if shutil.which("ss") is None:
            pytest.skip("ss is not installed (apt: iproute2)")
        return Sockets(ShHost(tmp_path))
    (tmp_path / "bin").mkdir()
    for name in PROGRAMS:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return Sockets(Bare(tmp_path))


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as listener:
        yield listener


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


async def test_each_connection_is_counted_until_it_is_closed(sockets: Sockets, listener: socket.socket) -> None:
    port, address = port_of(listener), listener.getsockname()[:2]
    assert await sockets.connections(port) == 0
    with socket.create_connection(address):
        one, _ = listener.accept()
        assert await sockets.connections(port) == 1
        with socket.create_connection(address):
            other, _ = listener.accept()
            assert await sockets.connections(port) == 2
            assert await sockets.connections(port + 1 if port < 65535 else port - 1) == 0
            other.close()
        one.close()
    assert await sockets.connections(port) == 0


async def test_a_connection_that_came_as_ipv4_is_counted_at_a_listener_of_both(sockets: Sockets) -> None:
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        socket.create_connection(("127.0.0.1", port_of(listener))),
    ):
        accepted, _ = listener.accept()
        assert await sockets.connections(port_of(listener)) == 1
        accepted.close()


async def test_a_listener_is_a_stranger_to_all_but_its_own_process(sockets: Sockets, listener: socket.socket) -> None:
    assert await sockets.stranger(port_of(listener), [os.getpid()]) == ""
    assert await sockets.stranger(port_of(listener), []) == f"{NAME} (pid {os.getpid()})"


async def test_where_nobody_listens_there_is_no_stranger(sockets: Sockets, listener: socket.socket) -> None:
    listener.close()
    assert await sockets.stranger(9, [os.getpid()]) == ""


async def test_connections_on_a_host_that_cannot_be_asked_are_not_told_as_none_left(tmp_path: Path) -> None:
    host = ShHost(tmp_path)
    host.comes_back = False
    host.cut(Cut(0))
    driver = SystemdDriver("manager", lambda: None, {host.name: host})  # type: ignore[dict-item]
    with pytest.raises(HostUnreachable, match=host.name):
        await driver.connections({"host": host.name, "unit": "shop@1.service"}, 8111)
