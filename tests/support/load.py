"""Load: closed-loop keep-alive clients over raw asyncio, and an honest count of what became of each request.

    async with Load(port) as load:                 8 connections, a quarter POST with an echoed 64-byte body
        await load.until_answered_by("v2")         bounded; raises with what was answered instead
    assert load.failures == []

A request is *dropped* if it gets anything but 2xx with the body that belongs to it. Each client sends its next request
when the last one was answered, and connects anew after a failure or a `connection: close`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

Kind = Literal["status", "body", "refused", "reset-fresh", "reset-reused", "truncated", "timeout"]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """One request that was not answered as it should have been. at: seconds since the load began."""

    kind: Kind
    method: str
    at: float
    detail: str


class RequestFailed(Exception):
    def __init__(self, kind: Kind, detail: str) -> None:
        self.kind: Kind = kind
        self.detail = detail
        super().__init__(f"{kind}: {detail}")


class Client:
    """One keep-alive connection, opened when it is needed."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._address = (host, port)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._used = False

    async def request(
        self,
        method: str = "GET",
        path: str = "/",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        timeout_s: float = 30.0,
    ) -> Answer:
        """Send one request and read all of its answer. Raises RequestFailed; the next request then connects anew."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(method, path, body, headers or {})
        except TimeoutError:
            self.close()
            raise RequestFailed("timeout", f"no answer within {timeout_s:g} s") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
        self._used = False

    async def _exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        if self._writer is None or self._reader is None:
            try:
                self._reader, self._writer = await asyncio.open_connection(*self._address)
            except OSError as error:
                raise RequestFailed("refused", str(error)) from None
        lines = [f"{method} {path} HTTP/1.1", "host: test", *(f"{name}: {value}" for name, value in headers.items())]
        if body or method == "POST":
            lines.append(f"content-length: {len(body)}")
        gone: Kind = "reset-reused" if self._used else "reset-fresh"
        try:
            self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise RequestFailed(gone, str(error)) from None
        status, found = _head(head)
        try:
            content = await self._body(method, status, found)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise RequestFailed("truncated", str(error)) from None
        self._used = True
        if found.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, found, content)

    async def _body(self, method: str, status: int, headers: dict[str, str]) -> bytes:
        assert self._reader is not None
        if method == "HEAD" or status in (204, 304):
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int(await self._reader.readuntil(b"\r\n"), 16):
                parts.append((await self._reader.readexactly(size + 2))[:-2])
            await self._reader.readuntil(b"\r\n")
            return b"".join(parts)
        return await self._reader.readexactly(int(headers.get("content-length", "0")))


async def ask(port: int, path: str = "/", *, method: str = "GET", body: bytes = b"", **headers: str) -> Answer:
    """One request on a connection of its own. Headers as keywords, with `_` for `-`. Raises RequestFailed."""
    client = Client(port)
    try:
        return await client.request(method, path, body, {name.replace("_", "-"): v for name, v in headers.items()})
    finally:
        client.close()


@dataclass
class Load:
    """Clients that ask without a pause from `start` to `stop` (or as a context manager)."""

    port: int
    host: str = "127.0.0.1"
    connections: int = 8
    path: str = "/"
    #: every so many requests of a client is a POST; 4 is a quarter, 0 none
    post_every: int = 4
    headers: dict[str, str] = field(default_factory=dict)
    #: the answer's header that names who answered
    version_header: str = "x-version"
    timeout_s: float = 30.0
    #: seconds a client waits between an answer and its next request
    pause_s: float = 0.0

    requests: int = 0
    by_version: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)
    failures: list[Dropped] = field(default_factory=list)
    #: seconds each answered request took, in the order they ended
    latencies: list[float] = field(default_factory=list)
    #: version → when (time.monotonic) it answered first, and when the last request it answered began
    first_answer: dict[str, float] = field(default_factory=dict)
    last_start: dict[str, float] = field(default_factory=dict)

    _tasks: list[asyncio.Task[None]] = field(default_factory=list, repr=False)
    _stopping: bool = False
    _began: float = 0.0

    def start(self) -> None:
        self._began, self._stopping = time.monotonic(), False
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(self.connections)]

    async def stop(self) -> None:
        """End each client after its request in flight; what has no answer within the timeout is counted as such."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def __aenter__(self) -> Load:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is not None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            return
        await self.stop()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def summary(self) -> str:
        """Counts in one line, for the message of an assertion."""
        kinds = Counter(f"{f.method} {f.kind} {f.detail}" for f in self.failures)
        return (
            f"{self.requests} requests, {len(self.failures)} dropped {dict(kinds)}, by version {dict(self.by_version)}"
        )

    async def until(self, requests: int, bound_s: float = 30.0) -> None:
        """Wait for so many more requests to have ended."""
        goal = self.requests + requests
        await self._until(lambda: self.requests >= goal, bound_s, f"{requests} more requests")

    async def until_answered_by(self, version: str, bound_s: float = 30.0) -> None:
        """Wait for one more answer by a version."""
        goal = self.by_version[version] + 1
        await self._until(lambda: self.by_version[version] >= goal, bound_s, f"an answer by {version}")

    async def until_waiting(self, bound_s: float = 10.0, quiet_s: float = 0.3) -> None:
        """Wait until no request has ended for a moment: they are held."""
        deadline = time.monotonic() + bound_s
        seen, since = self.requests, time.monotonic()
        while time.monotonic() - since < quiet_s:
            if time.monotonic() > deadline:
                raise AssertionError(f"requests still end after {bound_s:g} s: {self.summary()}")
            await asyncio.sleep(0.01)
            if self.requests != seen:
                seen, since = self.requests, time.monotonic()

    async def _until(self, reached: object, bound_s: float, what: str) -> None:
        assert callable(reached)
        deadline = time.monotonic() + bound_s
        while not reached():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {bound_s:g} s for {what}: {self.summary()}")
            await asyncio.sleep(0.002)

    async def _run(self, number: int) -> None:
        client = Client(self.port, self.host)
        try:
            # Clients begin at different places in the cycle, so that the share of POSTs is even at any moment.
            for turn in itertools.count(number):
                if self._stopping:
                    return
                await self._one(client, "POST" if self.post_every and turn % self.post_every == 0 else "GET")
                if self.pause_s:
                    await asyncio.sleep(self.pause_s)
        finally:
            client.close()

    async def _one(self, client: Client, method: str) -> None:
        body = os.urandom(32).hex().encode() if method == "POST" else b""
        began = time.monotonic()
        try:
            answer = await client.request(method, self.path, body, self.headers, self.timeout_s)
            self._count(answer, method, body, began)
        except RequestFailed as failed:
            self.failures.append(Dropped(failed.kind, method, began - self._began, failed.detail))
            # A refused connection fails in microseconds: without a pause one outage would be counted thousandfold.
            await asyncio.sleep(0.005)
        self.requests += 1

    def _count(self, answer: Answer, method: str, body: bytes, began: float) -> None:
        self.by_status[answer.status] += 1
        if not 200 <= answer.status < 300:
            detail = f"{answer.status} {answer.body[:80].decode(errors='replace')}"
            self.failures.append(Dropped("status", method, began - self._began, detail))
            return
        if method == "POST" and answer.body != body:
            detail = f"{len(answer.body)} bytes that were not sent"
            self.failures.append(Dropped("body", method, began - self._began, detail))
            return
        now = time.monotonic()
        version = answer.headers.get(self.version_header, "")
        self.by_version[version] += 1
        self.first_answer.setdefault(version, now)
        self.last_start[version] = max(began, self.last_start.get(version, 0.0))
        self.latencies.append(now - began)


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(first.split(" ", 2)[1]), headers
