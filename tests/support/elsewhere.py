"""A network namespace of the test's own, that stands for another machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

needs_elsewhere = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare", "nsenter"))),
    reason="needs root, and ip, unshare and nsenter (iproute2, util-linux)",
)

CLIENT = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
upgrade = "upgrade: websocket\\r\\nconnection: upgrade\\r\\n" if sys.argv[3] == "/ws" else ""
s.sendall(f"GET {sys.argv[3]} HTTP/1.1\\r\\nhost: x\\r\\n{upgrade}\\r\\n".encode())
print(s.recv(100)[:12].decode(), flush=True)
time.sleep(600)
"""


class Elsewhere:
    """Another machine, by a cable: 169.254.N.1 here, 169.254.N.2 and .3 there."""

    def __init__(self) -> None:
        number = 1 + os.getpid() % 250
        self.here, *self.there = (f"169.254.{number}.{last}" for last in (1, 2, 3))
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
        _run("ip", "address", "add", f"{self.here}/29", "dev", self._cable)
        _run("ip", "link", "set", self._cable, "up")
        for address in self.there:
            self._inside("ip", "address", "add", f"{address}/29", "dev", end)
        self._inside("ip", "link", "set", end, "up")

    def client(self, port: int, path: str) -> str:
        """A client there that asks for something; returns the beginning of the answer."""
        command = ("nsenter", "--net", "--target", str(self._machine.pid), sys.executable, "-S", "-c", CLIENT)
        process = subprocess.Popen([*command, self.here, str(port), path], stdout=subprocess.PIPE, text=True)
        self._clients.append(process)
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def program(self, *command: str, **environment: str) -> None:
        """Run it there until the end of the test."""
        inside = ("nsenter", "--net", "--target", str(self._machine.pid), *command)
        self._clients.append(subprocess.Popen(inside, env={**os.environ, **environment}, text=True))

    def vanish(self, address: str = "") -> None:
        """That address of it, or the whole of it, answers no more."""
        if address:
            self._inside("ip", "address", "delete", f"{address}/29", "dev", f"{self._cable}b")
        else:
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
