"""HTTP/1.1 as the load generator speaks it: raw streams, so that how a request failed is known exactly.

A client library would retry, pool or dress up what happened; here a reset is a reset. It reads what the demo's
application and the proxy send (a Content-Length, or chunks), no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass


class Failed(Exception):
    """A request without a complete answer. outcome: a few words, the key under which it is counted."""

    def __init__(self, outcome: str, version: str = "") -> None:
        self.outcome, self.version = outcome, version
        super().__init__(outcome)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    #: of the application, as its header X-Version says; "" where somebody else answered
    version: str
    body: bytes


class Connection:
    """One keep-alive connection, opened when it is needed and again when the server has closed it.

    headers   sent with each request, besides Host and Content-Length
    """

    def __init__(self, host: str, port: int, headers: Mapping[str, str] | None = None) -> None:
        self.host, self.port = host, port
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answered = 0

    async def request(self, method: str, target: str, body: bytes | None = None) -> Answer:
        """One request, one answer. Raises Failed; the connection is then closed, and the next request opens another."""
        head = f"{method} {target} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{self._headers}"
        length = "" if body is None else f"Content-Length: {len(body)}\r\n"
        complete = False
        try:
            reader, writer = await self._open()
            writer.write(f"{head}{length}\r\n".encode() + (body or b""))
            status, version, headers = await self._head(reader)
            try:
                answer = Answer(status, version, await reader.readexactly(int(headers.get("content-length", "0"))))
            except (asyncio.IncompleteReadError, OSError) as error:
                raise Failed("truncated", version) from error
            self._answered += 1
            complete = headers.get("connection", "").lower() != "close"
            return answer
        finally:
            if not complete:
                self.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await open_stream(self.host, self.port)
            self._answered = 0
        return self._reader, self._writer

    async def _head(self, reader: asyncio.StreamReader) -> tuple[int, str, dict[str, str]]:
        try:
            return await read_head(reader)
        except Failed as failure:
            if failure.outcome == "reset" and self._answered:
                raise Failed("reset (reused connection)") from failure
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


async def open_stream(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(host, port)
    except ConnectionRefusedError as error:
        raise Failed("refused") from error
    except OSError as error:
        raise Failed("no connection") from error


async def read_head(reader: asyncio.StreamReader) -> tuple[int, str, dict[str, str]]:
    """Status, version and headers (names in lower case) of the next answer."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise Failed("truncated" if error.partial else "reset") from error
    except OSError as error:
        raise Failed("reset") from error
    line, *fields = head[:-4].decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return int(line.split(" ")[1]), headers.get("x-version", ""), headers


async def read_stream(host: str, port: int, target: str) -> Answer:
    """A server-sent event stream from its first to its last event, on a connection of its own.

    The answer's body is the whole stream. Raises Failed where an event is missing or `event: end` never came.
    """
    reader, writer = await open_stream(host, port)
    try:
        writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        status, version, headers = await read_head(reader)
        if status != 200:
            return Answer(status, version, b"")
        if headers.get("transfer-encoding") != "chunked":
            raise Failed("stream not chunked", version)
        body = await _read_chunks(reader, version)
    finally:
        writer.close()
    numbers = [int(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]
    if numbers != list(range(len(numbers))) or not body.endswith(b"event: end\ndata:\n\n"):
        raise Failed("events missing", version)
    return Answer(status, version, body)


async def _read_chunks(reader: asyncio.StreamReader, version: str) -> bytes:
    pieces = []
    try:
        while size := int((await reader.readline()).strip() or b"-", 16):
            pieces.append((await reader.readexactly(size + 2))[:-2])
        await reader.readline()
    except (asyncio.IncompleteReadError, OSError, ValueError) as error:
        raise Failed("truncated", version) from error
    return b"".join(pieces)
