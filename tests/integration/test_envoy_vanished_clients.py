"""A client that is gone without a word: its machine lost power, or the way there is lost. No FIN comes, and no RST.

A network namespace of the test's own stands for that machine; it loses its address, and so answers nothing any more.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from longshore.connections import connected
from longshore.routers.base import Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.envoy import A, B, Events, needs_envoy, pool
from support.manager import until

pytestmark = [
    needs_envoy,
    pytest.mark.skipif(
        os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))),
        reason="needs root, and ip, unshare and nsenter (iproute2, util-linux)",
    ),
]

CLIENT = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
upgrade = "upgrade: websocket\\r\\nconnection: upgrade\\r\\n" if sys.argv[3] == "/ws" else ""
s.sendall(f"GET {sys.argv[3]} HTTP/1.1\\r\\nhost: x\\r\\n{upgrade}\\r\\n".encode())
print(s.recv(100)[:12].decode(), flush=True)
time.sleep(600)
"""


class Elsewhere:
    """Another machine, by a cable: 169.254.N.1 here, 169.254.N.2 there."""

    def __init__(self) -> None:
        number = 1 + os.getpid() % 250
        self.here, self._there = f"169.254.{number}.1", f"169.254.{number}.2"
        self._cable = f"ls{os.getpid() % 100000}"
        self._clients: list[subprocess.Popen[str]] = []
        self._machine = subprocess.Popen(["unshare", "--net", "sleep", "600"])

    def connect(self) -> None:
        """Raises CalledProcessError where this machine does not let one lay a cable."""
        deadline = time.monotonic() + 5.0
        own = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{self._machine.pid}/ns/net").readlink() == own:
            assert time.monotonic() < deadline, "unshare has made no namespace within 5 s"
            time.sleep(0.01)
        end = f"{self._cable}b"
        _run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", end, "netns", str(self._machine.pid))
        _run("ip", "address", "add", f"{self.here}/30", "dev", self._cable)
        _run("ip", "link", "set", self._cable, "up")
        self._inside("ip", "address", "add", f"{self._there}/30", "dev", end)
        self._inside("ip", "link", "set", end, "up")

    def client(self, port: int, path: str) -> str:
        """A client there that asks for something; returns the beginning of the answer."""
        command = ("nsenter", "--net", "--target", str(self._machine.pid), sys.executable, "-S", "-c", CLIENT)
        process = subprocess.Popen([*command, self.here, str(port), path], stdout=subprocess.PIPE, text=True)
        self._clients.append(process)
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def vanish(self) -> None:
        self._inside("ip", "address", "flush", "dev", f"{self._cable}b")

    def close(self) -> None:
        for process in (*self._clients, self._machine):
            process.kill()
            process.communicate()
        # Its namespace, and with it both ends of the cable, go with the last process in it; at once it is surer.
        subprocess.run(["ip", "link", "delete", self._cable], capture_output=True, check=False)

    def _inside(self, *command: str) -> None:
        _run("nsenter", "--net", "--target", str(self._machine.pid), *command)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    machine = Elsewhere()
    try:
        try:
            machine.connect()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespace can be connected here: {error.stderr.strip()}")
        yield machine
    finally:
        machine.close()


@pytest.fixture
async def router(tmp_path: Path, elsewhere: Elsewhere) -> AsyncIterator[EnvoyRouter]:
    router = EnvoyRouter(tmp_path / "envoy", listen_host=elsewhere.here, on_event=Events())
    try:
        await router.restore({})
        yield router
    finally:
        await router.shutdown()


async def test_a_quiet_client_that_vanished_is_found_by_keep_alive_and_its_instance_is_rid_of_it(
    router: EnvoyRouter, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longshore.routers.envoy.resources._KEEP_ALIVE", ((1, 9, 1), (6, 4, 1), (6, 5, 1), (6, 6, 2)))
    port = free_port()
    async with Backend("v1") as v1, Backend("v2") as v2:
        await router.apply("shop", Traffic(port, pool(A, v1)))
        assert await asyncio.to_thread(elsewhere.client, port, "/ws") == "HTTP/1.1 101"
        await router.apply("shop", Traffic(port, pool(B, v2)))
        assert connected([v1.target])
        elsewhere.vanish()
        await until(lambda: not connected([v1.target]), "the instance is rid of it", 15.0)


async def test_a_client_that_vanished_in_the_middle_of_a_stream_holds_up_a_drain_for_no_longer_than_its_bound(
    router: EnvoyRouter, elsewhere: Elsewhere
) -> None:
    port = free_port()
    async with Backend("v1") as v1, Backend("v2") as v2:
        await router.apply("shop", Traffic(port, pool(A, v1)))
        assert await asyncio.to_thread(elsewhere.client, port, "/events") == "HTTP/1.1 200"
        elsewhere.vanish()
        began = time.monotonic()
        await router.apply("shop", Traffic(port, pool(B, v2)))
        assert await router.drained("shop", (v1.target,), 1.0) == {v1.target}
        assert time.monotonic() - began < 10.0
        await v1.die()
        await until(lambda: not connected([v1.target]), "what was cut is gone")
