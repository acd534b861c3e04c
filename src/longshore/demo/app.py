"""The application that the demo deploys: raw HTTP/1.1 on asyncio, one file, nothing but the standard library needed.

    GET  /              the version                      POST /echo   the body comes back
    GET  /health        200, or 503 where a file BROKEN lies beside this one
    GET  /slow?s=4      answers after so many seconds
    GET  /events?s=4    server-sent events for so long, then `event: end`
    GET  /ws            a WebSocket that echoes

It does nothing about SIGTERM: the process is gone at once, with whatever it was answering. An application that closes
politely would hide a manager that stops instances too early; this one shows it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

VERSION = os.environ.get("RELEASE_VERSION", "unknown")
BROKEN = (Path(__file__).parent / "BROKEN").exists()
#: seconds between two events of /events
EVENT_INTERVAL_S = 0.1
#: bytes of a request's header, or of one WebSocket frame, that are taken
MAX_PIECE = 64 * 1024
#: RFC 6455, section 1.3
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def answer(body: bytes, status: str = "200 OK", kind: str = "text/plain") -> bytes:
    """A complete response. Every one names the version that gave it."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nX-Version: {VERSION}\r\n\r\n"
    return head.encode() + body


HOME = answer(f"{VERSION}\n".encode())
HEALTH = answer(b"broken\n", "503 Service Unavailable") if BROKEN else answer(b"ok\n")
NOT_FOUND = answer(b"nothing here\n", "404 Not Found")


class Connection(asyncio.Protocol):
    """One client connection: requests are answered one after the other, in order."""

    def __init__(self) -> None:
        self.buffer = b""
        self.transport: asyncio.Transport | None = None
        #: an answer that takes its time; until it is given the next request waits in the buffer
        self.pending: asyncio.Task[None] | None = None
        self.upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its base class

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.pending is not None:
            self.pending.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self.proceed()

    def proceed(self) -> None:
        take = self.take_frame if self.upgraded else self.take_request
        while self.pending is None and self.transport is not None and take():
            take = self.take_frame if self.upgraded else self.take_request

    def send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()
            self.transport = None

    # ------------------------------------------------------------------------------------------------ HTTP

    def take_request(self) -> bool:
        """Answer the request at the front of the buffer; False where it is not complete yet."""
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            if len(head) > MAX_PIECE:
                self.send(answer(b"header too large\n", "431 Request Header Fields Too Large"))
                self.close()
            return False
        line, *fields = head.split(b"\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (f.partition(b":") for f in fields)}
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit():
            self.send(answer(b"send a Content-Length\n", "411 Length Required"))
            self.close()
            return False
        if len(rest) < int(length):
            return False
        body, self.buffer = rest[: int(length)], rest[int(length) :]
        self.respond(line.split(b" ")[0], line.split(b" ")[1].decode("latin-1"), headers, body)
        if headers.get(b"connection", b"").lower() == b"close" and self.pending is None:
            self.close()
        return True

    def respond(self, method: bytes, target: str, headers: dict[bytes, bytes], body: bytes) -> None:
        url = urlsplit(target)
        seconds = float(parse_qs(url.query).get("s", ["1"])[0])
        match method, url.path:
            case b"GET", "/":
                self.send(HOME)
            case b"GET", "/health":
                self.send(HEALTH)
            case b"POST", "/echo":
                self.send(answer(body, kind="application/octet-stream"))
            case b"GET", "/slow":
                self.later(self.slow(seconds))
            case b"GET", "/events":
                self.later(self.events(seconds))
            case b"GET", "/ws" if b"sec-websocket-key" in headers:
                self.upgrade(headers[b"sec-websocket-key"])
            case _:
                self.send(NOT_FOUND)

    def later(self, work: Coroutine[None, None, None]) -> None:
        self.pending = asyncio.ensure_future(work)
        self.pending.add_done_callback(self.done)

    def done(self, task: asyncio.Task[None]) -> None:
        self.pending = None
        if not task.cancelled():
            task.result()
            self.proceed()

    async def slow(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.send(HOME)

    async def events(self, seconds: float) -> None:
        self.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
            b"Transfer-Encoding: chunked\r\nX-Version: " + VERSION.encode() + b"\r\n\r\n"
        )
        for number in range(max(1, round(seconds / EVENT_INTERVAL_S))):
            self.send(chunk(b"data: %d\n\n" % number))
            await asyncio.sleep(EVENT_INTERVAL_S)
        self.send(chunk(b"event: end\ndata:\n\n") + chunk(b""))

    # ------------------------------------------------------------------------------------------- WebSocket

    def upgrade(self, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + WEBSOCKET_GUID, usedforsecurity=False).digest())
        self.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\nX-Version: " + VERSION.encode() + b"\r\n\r\n"
        )
        self.upgraded = True

    def take_frame(self) -> bool:
        """Answer the frame at the front of the buffer (RFC 6455, section 5.2); False where it is not complete yet."""
        if len(self.buffer) < 2:
            return False
        opcode, size, at = self.buffer[0] & 0x0F, self.buffer[1] & 0x7F, 2
        if size == 126:
            size, at = int.from_bytes(self.buffer[2:4], "big"), 4
        if size == 127 or not self.buffer[1] & 0x80:
            self.send(frame(0x8, (1009 if size == 127 else 1002).to_bytes(2, "big")))
            self.close()
            return False
        if len(self.buffer) < at + 4 + size:
            return False
        mask, start = self.buffer[at : at + 4], at + 4
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(self.buffer[start : start + size]))
        final, self.buffer = self.buffer[0] & 0x80, self.buffer[start + size :]
        match opcode:
            case 0x0 | 0x1 | 0x2:
                self.send(frame(opcode, payload, final))
            case 0x8:
                self.send(frame(0x8, payload[:2]))
                self.close()
            case 0x9:
                self.send(frame(0xA, payload))
        return True


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def frame(opcode: int, payload: bytes, final: int = 0x80) -> bytes:
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes([final | opcode]) + size + payload


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(
        Connection, os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]), backlog=1024
    )
    async with server:
        await server.serve_forever()


def event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # a third of the speed, the same answers
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=event_loop) as runner:
        runner.run(serve())
