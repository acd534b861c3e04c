"""Following the output of a deployment's instances, over restarts and rollouts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from longshore.api.context import Api
from longshore.api.streams import END, TICK, event
from longshore.api.wire import dumps, log_line_json
from longshore.drivers.base import DriverError, LogLine
from longshore.errors import DeploymentNotFound

#: lines read ahead of a slow reader; the logs keep the rest
_AHEAD = 500
#: lines sent in one piece
_TOGETHER = 200
#: seconds between two tries to read what could not be read
_AGAIN_S = 5.0


class Follower:
    """Lines of a deployment's instances, also of those that start meanwhile. A slow reader slows only the reading.

    first         ids that are read from the start on; those of them that are gone are read to their end
    tail, since   of those, as Driver.logs says; of what starts later each line is read
    """

    def __init__(
        self, api: Api, name: str, only: str | None, first: Sequence[str], *, tail: int | None, since: float | None
    ) -> None:
        self._api, self._name, self._only, self._first = api, name, only, first
        self._tail, self._since = tail, since
        #: finished events
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._followed: set[str] = set()
        #: those of them that were gone at the last look
        self._gone: set[str] = set()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        looked = float("-inf")
        try:
            there = {each.id for each in self._api.service.instances(self._name)}
            for id in self._first:
                self._begin(id, self._tail, self._since, follow=id in there)
            while True:
                if loop.time() - looked >= TICK:
                    if not self._look():
                        yield END
                        return
                    looked = loop.time()
                yield await self._next()
        except DeploymentNotFound:
            yield END
        finally:
            for pump in self._pumps.values():
                pump.cancel()
            await asyncio.gather(*self._pumps.values(), return_exceptions=True)

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(TICK):
                events = [await self._queue.get()]
        except TimeoutError:
            return b""
        while len(events) < _TOGETHER and not self._queue.empty():
            events.append(self._queue.get_nowait())
        return b"".join(events)

    def _look(self) -> bool:
        """Follow what is new; leave what was gone at the look before, and whose last lines are read by now. False: it
        is over, for the one instance that was asked for is gone and read, or all of the deployment is gone."""
        now = {each.id for each in self._api.service.instances(self._name)}
        for gone in self._gone - now:
            self._followed.discard(gone)
            self._pumps[gone].cancel()
        self._gone = self._followed - now
        if self._only is not None:
            return not (self._pumps[self._only].done() and self._queue.empty())
        for fresh in now - self._pumps.keys():
            self._begin(fresh, None, None, follow=True)
        return True

    def _begin(self, id: str, tail: int | None, since: float | None, *, follow: bool) -> None:
        if follow:
            self._followed.add(id)
        self._pumps[id] = asyncio.create_task(self._pump(id, tail, since, follow), name=f"log of {id}")

    async def _pump(self, id: str, tail: int | None, since: float | None, follow: bool) -> None:
        problem = ""
        while True:
            try:
                async with aclosing(
                    self._api.service.log(self._name, id, tail=tail, since=since, follow=follow)
                ) as lines:
                    async for line in lines:
                        problem, since = "", _after(line, since)
                        await self._queue.put(event(dumps(log_line_json(line, instance=id))))
                return
            except DeploymentNotFound:
                return
            except DriverError as error:
                if str(error) != problem:
                    problem = str(error)
                    told = {"instance": id, "message": f"{problem}; it is tried again"}
                    await self._queue.put(event(dumps(told), kind="problem"))
                tail = None if since is not None else tail
                await asyncio.sleep(_AGAIN_S)


def _after(line: LogLine, since: float | None) -> float | None:
    """From where to go on once this line is read: 1 µs after it, the step in which runtimes count."""
    return line.latest + 1e-6 if line.latest is not None else since
