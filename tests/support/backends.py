"""Backend: a small real HTTP/1.1 server in the test's own loop, that can misbehave as applications do.

GET  /            200, `x-version` says who; POST echoes its body
GET  /health      200
GET  /slow?S      answers after S seconds
GET  /headers     the request's headers, as lines
GET  /status?N    that status
GET  /ws          101, then echoes what it gets
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import deque
from contextlib import suppress

from longshore.ports import PortRange
from longshore.routers.base import Target

#: Workers of pytest-xdist take ports from ranges of their own, and none takes the same soon again. They are below the
#: ephemeral ports, so that neither a connection nor who listens on port 0 gets one before it is bound.
_FIRST = 10000 + 2000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5)
_RANGE = PortRange(_FIRST, _FIRST + 1999)
_given: deque[int] = deque(maxlen=1000)


def free_port() -> int:
    """A port that nobody has, and that nobody else gets who has not asked for it."""
    port = _RANGE.free(set(_given))
    _given.append(port)
    return port


class Backend:
    def __init__(self, version: str, *, idle_close_s: float | None = None, port: int | None = None) -> None:
        self.version = version
        self.port = port or free_port()
        self.requests = 0
        self.idle_close_s = idle_close_s
        #: status of /health
        self.health = 200
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def target(self) -> Target:
        return Target("127.0.0.1", self.port)

    async def __aenter__(self) -> Backend:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.die()

    async def start(self) -> Backend:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self

    async def die(self) -> None:
        """Abruptly, as an application does that ends at once on SIGTERM: every connection is cut."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        # A client that goes away is no error of the server.
        try:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.CancelledError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), self.idle_close_s)
        except TimeoutError:
            writer.close()
            return False
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines if line}
        _, target, _ = first.split(" ", 2)
        path, _, query = target.partition("?")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if path == "/health":
            return await self._reply(writer, self.health, b"ok", headers)
        self.requests += 1
        if path == "/ws":
            await self._upgrade(reader, writer)
            return False
        if path == "/events":
            await self._stream(writer)
        if path == "/slow":
            await asyncio.sleep(float(query))
        if path == "/headers":
            body = "\n".join(lines).encode()
        return await self._reply(writer, int(query) if path == "/status" else 200, body or b"hello", headers)

    async def _reply(self, writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> bool:
        keep = headers.get("connection", "").lower() != "close"
        writer.write(
            f"HTTP/1.1 {status} X\r\nx-version: {self.version}\r\nserver: backend\r\ncontent-length: {len(body)}\r\n"
            f"connection: {'keep-alive' if keep else 'close'}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        return keep

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in itertools.count():
            event = f"data: {number}\n\n"
            writer.write(f"{len(event):x}\r\n{event}\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.05)

    async def _upgrade(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = ("HTTP/1.1 101 Switching", "upgrade: websocket", "connection: upgrade", f"x-version: {self.version}")
        writer.write("\r\n".join([*head, "", ""]).encode())
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
