"""A receiver of webhooks: a real HTTP server on loopback that keeps what it was sent, and answers as it is told.

async with receiving() as receiver:            # on a port of its own; receiver.stop() and .start(): the same again
    receiver.answers = [status(503), hanging]  # to the next messages; 200 to all after them
    await receiver.arrived(3)
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Message:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def told(self) -> tuple[str, str]:
        """Such as ("rollout.started", "1.0")."""
        return self.json["type"], self.json["data"]["version"]

    def is_signed_with(self, secret: str) -> bool:
        """Worked out anew from the specification, not by the code that is tested."""
        content = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        key = base64.b64decode(secret.removeprefix("whsec_"))
        expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
        return self.headers.get("webhook-signature") == f"v1,{expected}"


def status(code: int, text: str = "", **headers: str) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {code} Because", f"Content-Length: {len(text.encode())}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", text]).encode())

    return answer


async def hanging(writer: asyncio.StreamWriter) -> None:
    """Never says a word."""
    await asyncio.Event().wait()


async def dripping(writer: asyncio.StreamWriter) -> None:
    """Always has another byte of its head to send."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"z")
        await writer.drain()
        await asyncio.sleep(0.02)


async def endless(writer: asyncio.StreamWriter) -> None:
    """An error, and no end of words about it."""
    writer.write(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        await writer.drain()


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff this is no HTTP\r\n\r\n")


class Receiver:
    def __init__(self) -> None:
        self.received: list[Message] = []
        self.answers: list[Answer] = []
        #: once `answers` are used up
        self.otherwise: Answer = status(200)
        self._port = 0
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/services/T0SECRETPATH"

    @property
    def told(self) -> list[tuple[str, str]]:
        return [message.told for message in self.received]

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Connections are refused from here on."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def arrived(self, number: int, bound_s: float = 10.0) -> list[Message]:
        """Once so many have arrived, all of them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(bound_s):
                while len(self.received) < number:
                    self._arrived.clear()
                    await self._arrived.wait()
        assert len(self.received) >= number, f"{len(self.received)} of {number} messages within {bound_s:g} s"
        return self.received

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.append(Message(first.split()[1], headers, body))
                self._arrived.set()
                await (self.answers.pop(0) if self.answers else self.otherwise)(writer)
                await writer.drain()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    await receiver.start()
    try:
        yield receiver
    finally:
        await receiver.stop()
