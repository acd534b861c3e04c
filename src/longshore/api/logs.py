"""Output of instances: the last lines, or those and whatever follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.api.context import Api, api_of
from longshore.api.deployments import Name, valid_name
from longshore.api.problems import json_response
from longshore.api.streams import TICK, EventStream, event
from longshore.api.wire import dumps
from longshore.drivers.logs import follow as follow_file
from longshore.drivers.logs import tail as tail_file
from longshore.errors import DeploymentNotFound, NotFound
from longshore.model import Instance

#: lines read ahead of a slow reader; the files keep the rest
_AHEAD = 500

#: lines sent in one piece
_TOGETHER = 200


async def logs(
    request: Request,
    name: Name,
    instance: Annotated[str | None, Query(description="Only of this instance.", examples=["shop-3-1"])] = None,
    tail: Annotated[int, Query(ge=0, le=10_000, description="Last lines of each instance.")] = 100,
    follow: Annotated[bool, Query(description="Go on with what is written, as server-sent events.")] = False,
) -> Response:
    """Output of the instances, oldest lines first within each."""
    api = api_of(request)
    chosen = _instances(api, valid_name(name), instance)
    if instance is not None and not chosen:
        raise NotFound(f"{name} has no instance {instance[:80]!r} now.")
    if follow:
        lines = _Follower(api, name, instance, tail).chunks()
        return EventStream(lines, keep_alive=api.settings.keep_alive, stopped=api.stopping.is_set)
    found = [
        _line(each.id, line)
        for each in chosen
        for line in await asyncio.to_thread(tail_file, api.service.log_path(each), tail)
    ]
    return json_response({"lines": found})


def _instances(api: Api, name: str, only: str | None) -> list[Instance]:
    return [each for each in api.service.instances(name) if only is None or each.id == only]


def _line(instance: str, line: str) -> dict[str, str]:
    return {"instance": instance, "line": line}


class _Follower:
    """Lines of a deployment's instances, also of those that start meanwhile. A slow reader slows only the reading."""

    def __init__(self, api: Api, name: str, only: str | None, tail: int) -> None:
        self._api, self._name, self._only, self._tail = api, name, only, tail
        self._queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue(_AHEAD)
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._gone: set[str] = set()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        looked = float("-inf")
        try:
            while True:
                if loop.time() - looked >= TICK:
                    if not self._look():
                        return
                    looked = loop.time()
                yield await self._next()
        finally:
            for pump in self._pumps.values():
                pump.cancel()
            await asyncio.gather(*self._pumps.values(), return_exceptions=True)

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(TICK):
                lines = [await self._queue.get()]
        except TimeoutError:
            return b""
        while len(lines) < _TOGETHER and not self._queue.empty():
            lines.append(self._queue.get_nowait())
        return b"".join(event(dumps(_line(*line))) for line in lines)

    def _look(self) -> bool:
        """Follow new instances; leave those gone since the look before, whose last lines are read. False: deleted."""
        try:
            now = {each.id: each for each in _instances(self._api, self._name, self._only)}
        except DeploymentNotFound:
            return False
        for gone in self._gone - now.keys():
            self._pumps.pop(gone).cancel()
        self._gone = self._pumps.keys() - now.keys()
        for fresh in now.keys() - self._pumps.keys():
            self._pumps[fresh] = asyncio.create_task(self._pump(now[fresh]), name=f"log of {fresh}")
        return True

    async def _pump(self, instance: Instance) -> None:
        path = self._api.service.log_path(instance)

        def open_log() -> tuple[list[str], AsyncIterator[str]]:
            return tail_file(path, self._tail), follow_file(path)

        last, rest = await asyncio.to_thread(open_log)
        for line in last:
            await self._queue.put((instance.id, line))
        async for line in rest:
            await self._queue.put((instance.id, line))
