"""An SSH server in this process, on loopback, that runs real shells: `async with serving(directory) as sshd: …`.

It can be made to refuse, to lose its connections, and, behind `Cable`, to hear and say nothing any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from longshore.hosts.settings import HostSettings, SshSettings

USER = "deploy"


@dataclass
class Sshd:
    """directory: `home` is that of whoever logs in, `key` and `known_hosts` are what a client needs."""

    directory: Path
    port: int = 0
    #: connections that there were, and those that there are
    accepted: int = 0
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: shells that run, and the most that ever did at once
    running: set[int] = field(default_factory=set)
    most: int = 0
    #: what login scripts do before a command, and what is run instead of any
    before: str = ""
    #: seconds that each shell is still there after it has ended
    lingers_s: float = 0.0
    instead: Callable[[asyncssh.SSHServerProcess[bytes]], Awaitable[None]] | None = None

    @property
    def home(self) -> Path:
        return self.directory / "home"

    def settings(self, **more: Any) -> HostSettings:
        given = {
            "name": "there",
            "address": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "key": self.directory / "key",
        }
        return HostSettings(**{**given, **more})

    def ssh(self, **more: Any) -> SshSettings:
        return SshSettings(**{"known_hosts": self.directory / "known_hosts", **more})

    def lose(self) -> None:
        """Every connection is gone at once; what runs is not told."""
        for connection in self.connections:
            connection.abort()

    async def connected(self, count: int) -> None:
        """Wait until there are so many connections."""
        async with asyncio.timeout(5):
            while len(self.connections) != count:
                self.changed.clear()
                await self.changed.wait()

    async def idle(self) -> None:
        """Wait until no shell runs any more."""
        await self.at_most(0)

    async def at_most(self, count: int) -> None:
        """Wait until no more than so many shells run."""
        async with asyncio.timeout(5):
            while len(self.running) > count:
                self.changed.clear()
                await self.changed.wait()

    async def handle(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        if self.instead is not None:
            await self.instead(process)
            return
        child = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", f"{self.before} {process.command}"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
            cwd=self.home,
            env={
                "HOME": str(self.home),
                "XDG_RUNTIME_DIR": str(self.directory / "run"),
                "PATH": f"{self.directory / 'bin'}:/usr/bin:/bin",
            },
        )
        self.running.add(child.pid)
        self.most = max(self.most, len(self.running))
        feeding = asyncio.create_task(_carry(process.stdin, child.stdin))
        try:
            await asyncio.gather(_carry(child.stdout, process.stdout), _carry(child.stderr, process.stderr))
            code = await child.wait()
            await asyncio.sleep(self.lingers_s)
        finally:
            self.running.discard(child.pid)
            self.changed.set()
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        if code < 0:
            process.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
        else:
            process.exit(code)


async def _carry(source: Any, sink: Any) -> None:
    """From one stream to another, and its end where that is a program's input; nobody is told of what was lost."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while block := await source.read(65536):
            sink.write(block)
            await sink.drain()
    if isinstance(sink, asyncio.StreamWriter):
        sink.close()


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Sshd]:
    """For USER alone, with `directory / "key"`."""
    sshd = Sshd(directory)
    for name in ("home", "run", "bin"):
        (directory / name).mkdir(exist_ok=True)
    host_key, key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    key.write_private_key(directory / "key")
    key.write_public_key(directory / "authorized_keys")

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            self.connection = conn
            sshd.accepted += 1
            sshd.connections.append(conn)

        def connection_lost(self, exc: Exception | None) -> None:
            sshd.connections.remove(self.connection)
            sshd.changed.set()

        def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
            return True  # a jump host

    server = await asyncssh.listen(
        *("127.0.0.1", 0),
        server_factory=Server,
        server_host_keys=[host_key],
        authorized_client_keys=str(directory / "authorized_keys"),
        process_factory=sshd.handle,
        encoding=None,
    )
    sshd.port = server.sockets[0].getsockname()[1]
    known = host_key.export_public_key("openssh").decode().split()[:2]
    (directory / "known_hosts").write_text(f"[127.0.0.1]:{sshd.port} {' '.join(known)}\n")
    try:
        yield sshd
    finally:
        sshd.lose()
        server.close()
        await server.wait_closed()
        for pid in list(sshd.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        await sshd.idle()


class Cable:
    """Between a client and a server on loopback; `cut` is a pulled plug: nothing is heard of it."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, 0
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def __aenter__(self) -> Cable:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            task = asyncio.create_task(self._carry(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while block := await source.read(65536):
                await self._whole.wait()
                sink.write(block)
                await sink.drain()
            await self._whole.wait()
        except ConnectionError:
            pass
        finally:
            sink.close()
