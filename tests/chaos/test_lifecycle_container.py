"""`longshore serve` as PID 1 of a container: a PID namespace of its own is what makes one, no image is needed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from longshore.client import AsyncLongshore
from support.backends import free_port
from support.manager import bounded, until

pytestmark = pytest.mark.slow

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
#: an application as there are many: its children leave it, end, and nobody waits for them
LITTERER = """
import os, signal, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/litter":
            for _ in range(5):
                if os.fork() == 0:
                    if os.fork() == 0:
                        time.sleep(0.2)
                    os._exit(3)
                os.wait()
        if self.path == "/die":
            os._exit(7)
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *args): pass

def leave(*_):
    open("ended", "w").write("in peace")
    os._exit(0)

signal.signal(signal.SIGTERM, leave)
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def namespaces_missing() -> str:
    if shutil.which("unshare") is None:
        return "needs unshare (apt-get install util-linux)"
    if os.geteuid() != 0:
        return "needs root, to mount /proc for a PID namespace"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"this kernel allows no PID namespace: {tried.stderr.strip()}"


WHY_NOT = namespaces_missing()


@dataclass
class Container:
    """One with a manager as PID 1. Processes are looked at from outside, by what their NSpid says."""

    data: Path
    process: asyncio.subprocess.Process
    client: AsyncLongshore

    def pids(self) -> dict[int, tuple[int, str, str]]:
        """pid inside → (pid outside, state, command)."""
        space = Path(f"/proc/{self._outside()}/ns/pid").readlink()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if (entry / "ns/pid").readlink() != space:
                    continue
                lines = (entry / "status").read_text().splitlines()
                status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            found[int(status["NSpid"].split()[-1])] = (int(entry.name), status["State"][0], command)
        return found

    def zombies(self) -> list[int]:
        """Pids inside of those that have ended and that nobody has collected. A zombie has no namespace any more."""
        inside = [outside for outside, _, _ in self.pids().values()]
        return [child for pid in inside for child in _children(pid) if _state(child) == "Z"]

    def manager(self) -> int:
        """Pid outside of the manager, which is a child of PID 1."""
        return next(o for i, (o, _, command) in sorted(self.pids().items()) if i > 1 and "longshore" in command)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._outside(), number)

    def log(self) -> str:
        return (self.data.parent / "log").read_text()

    def _outside(self) -> int:
        """PID 1, seen from outside: the only child of unshare."""
        return _children(self.process.pid)[0]


@pytest.fixture
async def container(tmp_path: Path) -> AsyncIterator[Container]:
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    data = tmp_path / "data"
    quiet = {"LONGSHORE_ROUTER__LISTEN_HOST": "127.0.0.1", "LONGSHORE_RATE_LIMITS__DEPLOY": "0"}
    with (tmp_path / "log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(*UNSHARE, sys.executable, "-m", "longshore", "serve"),
            *("--data-dir", str(data), "--listen", f"127.0.0.1:{free_port()}"),
            env={**os.environ, **quiet},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        await until((data / "server.json").exists, "the manager is ready", 30.0)
        async with AsyncLongshore(data_dir=data) as client:
            yield Container(data, process, client)
    finally:
        if process.returncode is None:
            process.kill()  # --kill-child takes PID 1 with it, and the kernel all others
        await process.wait()


def spec(container: Container, port: int, **fields: Any) -> dict[str, Any]:
    artifact = container.data.parent / "artifact"
    artifact.mkdir(exist_ok=True)
    (artifact / "app.py").write_text(LITTERER)
    return {
        "name": "litterer",
        "version": "1",
        "artifact_path": str(artifact),
        "command": [sys.executable, "app.py"],
        "health_check_url": f"http://127.0.0.1:{port}/",
        "strategy": "rolling",
        "health_check": {"interval": "1s", "healthy_threshold": 1},
        **fields,
    }


async def ask(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
    answer = await bounded(reader.read(), 10.0, f"an answer to {path}")
    writer.close()
    return bytes(answer)


async def test_orphans_are_collected_and_exit_codes_are_not_taken_from_who_waits_for_them(container: Container) -> None:
    port = free_port()
    leaving = "sh -c 'sleep 0.1 & sleep 300 &' ; (setsid sleep 0.2 &) ; true"
    await container.client.deploy(spec(container, port, pre_deploy_hooks=[leaving]), timeout=60)
    for _ in range(5):
        assert b" 200 " in await ask(port, "/litter")
    await until(lambda: not container.zombies(), f"all are collected: {container.zombies()}")
    # The exit code of a hook and of an application are known: nobody else has collected them.
    failing = spec(container, port, version="2", pre_deploy_hooks=["exit 42"])
    rollout = await container.client.deploy(failing, wait=False)
    ended = await container.client.wait("litterer", rollout.id, timeout=60)
    assert "exited with code 42" in ended.message
    await ask(port, "/die")

    async def told() -> None:
        while True:
            events = (await container.client.events("litterer")).events
            if any("exited with code 7" in event.message for event in events):
                return
            await asyncio.sleep(0.05)

    await bounded(told(), 15.0, "the history says how it ended")
    await until(lambda: not container.zombies(), f"all are collected: {container.zombies()}")


async def test_sigterm_ends_the_container_in_time_and_applications_before_it_in_peace(container: Container) -> None:
    await container.client.deploy(spec(container, free_port()), timeout=60)
    container.signal(signal.SIGTERM)
    container.signal(signal.SIGTERM)
    assert await bounded(container.process.wait(), 10.0, f"it has ended\n{container.log()}") == 0
    assert (container.data / "apps/litterer/releases/1/ended").read_text() == "in peace"
    assert not (container.data / "server.json").exists()


async def test_a_killed_manager_is_started_again_and_applications_and_router_go_on(container: Container) -> None:
    port = free_port()
    await container.client.deploy(spec(container, port), timeout=60)
    before = container.pids()
    killed = container.manager()
    os.kill(killed, signal.SIGKILL)
    assert b" 200 " in await ask(port, "/")
    await until(lambda: container.log().count("listens on http") == 2, "another manager is ready", 30.0)
    assert container.manager() != killed
    after = container.pids()
    apart = {inside for inside, (outside, _, _) in before.items() if outside != killed}
    assert {inside: before[inside][0] for inside in apart} == {inside: after[inside][0] for inside in apart}
    assert b" 200 " in await ask(port, "/")
    async with AsyncLongshore(data_dir=container.data) as client:
        assert (await client.get("litterer")).version == "1"


async def test_a_manager_that_cannot_start_ends_the_container_with_its_exit_code(tmp_path: Path) -> None:
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    (tmp_path / "longshore.db").write_text("this is no database, and nothing mends that")
    process = await asyncio.create_subprocess_exec(
        *(*UNSHARE, sys.executable, "-m", "longshore", "serve", "--data-dir", str(tmp_path), "--listen", "127.0.0.1:0"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await bounded(process.communicate(), 30.0, "it gives up")
    assert process.returncode == 1
    assert b"is damaged" in said


def _children(pid: int) -> list[int]:
    """Of a process; none where it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
