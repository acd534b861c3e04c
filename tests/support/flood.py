"""Flood: many client connections at once, on the loopback, gone with the block.

async with Flood(port, 300) as flood:      idle ones
    await flood.settled()                  until each is known to be open, or was closed by the other side
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType


class Flood:
    def __init__(self, port: int, count: int, *, host: str = "127.0.0.1", first: bytes = b"") -> None:
        """first: what each of them says at once, and then nothing more"""
        self.port, self.count, self.host, self.first = port, count, host, first
        self.open = 0
        #: answered or not, the other side has ended these
        self.closed = 0
        #: bytes of the first answers, by how often they came
        self.answers: list[bytes] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Flood:
        self._tasks = [asyncio.create_task(self._one()) for _ in range(self.count)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        wrong = [each for each in results if isinstance(each, Exception)]
        if kind is None and wrong:
            raise wrong[0]

    async def settled(self, closed: int, bound_s: float = 20.0) -> None:
        """Until exactly so many have been closed by the other side, and all others are open."""
        try:
            async with asyncio.timeout(bound_s):
                while (self.open, self.closed) != (self.count - closed, closed):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"waited {bound_s:g} s for {closed} closed ones of {self.count}: {self.open} open, {self.closed} closed"
            ) from None

    async def _one(self) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        self.open += 1
        self._changed.set()
        try:
            with suppress(OSError):
                writer.write(self.first)
                while said := await reader.read(65536):
                    self.answers.append(said)
            self.open -= 1
            self.closed += 1
            self._changed.set()
        finally:
            writer.transport.abort()
