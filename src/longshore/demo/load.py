"""The clients: keep-alive connections that never stop asking, and long requests that are held through everything.

A request has failed if it got anything but the complete, right 2xx answer. There is no retry: a browser might try
again, but then the browser hid what the manager did.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from longshore.demo.ledger import OK, Ledger
from longshore.demo.wire import Answer, Connection, Failed, read_stream

#: bytes of a POST's body, which has to come back as it was sent
ECHO_BYTES = 64
#: after a failure, so that a client whose server is gone does not spin
BACK_OFF_S = 0.05


@dataclass(frozen=True, slots=True)
class Mix:
    """What the clients do. Times in seconds."""

    #: keep-alive connections, each asking again as soon as it was answered
    connections: int = 32
    #: each so-many-th request of a connection is a POST; 4 is 25 %
    post_every: int = 4
    websockets: int = 4
    streams: int = 4
    slow: int = 4
    #: how long each slow request, event stream and WebSocket lasts before the next one begins
    held_s: float = 4.0
    #: pause of a keep-alive connection between two requests; 0 is as fast as it goes
    pause_s: float = 0.0
    #: a request that takes longer has failed (held ones: that much longer than they should)
    timeout_s: float = 45.0


@dataclass
class Load:
    """`async with Load(host, port) as load:` asks until the block ends, then lets what is in flight come home.

    Every request is in `ledger`. Raises what a client itself (never a server) did wrong, at the end of the block.
    """

    host: str
    port: int
    mix: Mix = field(default_factory=Mix)
    ledger: Ledger = field(default_factory=Ledger)

    async def __aenter__(self) -> Load:
        self._stopping = False
        clients: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self._keep_asking, self.mix.connections),
            (self._keep_waiting, self.mix.slow),
            (self._keep_listening, self.mix.streams),
            (self._keep_talking, self.mix.websockets),
        ]
        self._tasks = [asyncio.ensure_future(client()) for client, count in clients for _ in range(count)]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopping = True
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        broken = next((r for r in results if isinstance(r, Exception)), None)
        if kind is None and broken is not None:
            raise broken

    async def _keep_asking(self) -> None:
        connection = Connection(self.host, self.port)
        body, count = os.urandom(ECHO_BYTES), 0
        try:
            while not self._stopping:
                count += 1
                if count % self.mix.post_every:
                    await self._one("get", connection.request("GET", "/"))
                else:
                    await self._one("post", connection.request("POST", "/echo", body), expect=body)
                if self.mix.pause_s:
                    await asyncio.sleep(self.mix.pause_s)
        finally:
            connection.close()

    async def _keep_waiting(self) -> None:
        connection = Connection(self.host, self.port)
        try:
            while not self._stopping:
                await self._one("slow", connection.request("GET", f"/slow?s={self.mix.held_s}"), extra=self.mix.held_s)
        finally:
            connection.close()

    async def _keep_listening(self) -> None:
        while not self._stopping:
            stream = read_stream(self.host, self.port, f"/events?s={self.mix.held_s}")
            await self._one("events", stream, extra=self.mix.held_s)

    async def _keep_talking(self) -> None:
        while not self._stopping:
            await self._one("websocket", self._talk(), extra=self.mix.held_s)

    async def _talk(self) -> Answer:
        """One WebSocket for `held_s` seconds: ten messages a second, each of which has to come back."""
        version = ""
        try:
            # Pings of the library's own would only blur who kept the connection alive.
            async with connect(
                f"ws://{self.host}:{self.port}/ws", proxy=None, ping_interval=None, open_timeout=None, compression=None
            ) as socket:
                version = socket.response.headers.get("X-Version", "") if socket.response else ""
                for number in range(max(1, round(self.mix.held_s * 10))):
                    await socket.send(f"message {number}")
                    if await socket.recv() != f"message {number}":
                        raise Failed("websocket echoed something else", version)
                    await asyncio.sleep(0.1)
        except InvalidStatus as error:
            raise Failed(f"status {error.response.status_code}") from error
        except WebSocketException as error:
            raise Failed("websocket cut", version) from error
        except OSError as error:
            raise Failed("refused" if isinstance(error, ConnectionRefusedError) else "reset", version) from error
        return Answer(200, version, b"")

    async def _one(
        self, kind: str, request: Awaitable[Answer], *, expect: bytes | None = None, extra: float = 0.0
    ) -> None:
        """Carry out one request and write down how it went."""
        started = time.monotonic()
        version = ""
        try:
            async with asyncio.timeout(self.mix.timeout_s + extra):
                answer = await request
            version = answer.version
            if not 200 <= answer.status < 300:
                outcome = f"status {answer.status}"
            elif expect is not None and answer.body != expect:
                outcome = "wrong body"
            else:
                outcome = OK
        except Failed as failure:
            outcome, version = failure.outcome, failure.version
        except TimeoutError:
            outcome = "timeout"
        self.ledger.record(kind, outcome, version, started)
        if outcome != OK:
            await asyncio.sleep(BACK_OFF_S)
