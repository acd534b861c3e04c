"""The history an operator reads: page by page for one deployment, live for all of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.api.context import Api, api_of
from longshore.api.deployments import Limit, Name, valid_name
from longshore.api.problems import json_response
from longshore.api.streams import END, TICK, EventStream, event
from longshore.api.wire import dumps, event_json, progress_json
from longshore.errors import DeploymentNotFound, Issue, SpecInvalid
from longshore.model import Event, Progress

#: events that a reconnecting reader gets at most: of each of all deployments, of one; what is older stands in the pages
_CATCH_UP, _CATCH_UP_ONE = 200, 1000
_PAGE = 500

#: seconds between two looks at which deployments there are
_NAMES_EVERY = 10.0


async def list_events(
    request: Request,
    name: Name,
    limit: Limit = 50,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="Event id: only older ones.")] = None,
    follow: Annotated[bool, Query(description="Go on with what happens, as server-sent events.")] = False,
) -> Response:
    """Events of a deployment, newest first."""
    if follow:
        return _stream(request, name)
    service = api_of(request).service
    rows = service.events(valid_name(name), limit=limit, before=before)
    oldest = rows[-1].id if len(rows) == limit else None
    return json_response({"events": [event_json(row) for row in rows], "next_before": oldest})


async def stream_events(
    request: Request,
    deployment: Annotated[str | None, Query(description="Only of this deployment.", examples=["shop"])] = None,
) -> Response:
    """All deployments live, as server-sent events: `event` (a line of the history) and `progress`."""
    return _stream(request, deployment)


def _stream(request: Request, deployment: str | None) -> Response:
    api = api_of(request)
    last = request.headers.get("last-event-id", "")
    if last and not re.fullmatch(r"\d{1,18}", last):
        raise SpecInvalid(issues=[Issue("Last-Event-ID", "must be the id of the last event that was received")])
    if deployment is not None:
        api.service.deployment(valid_name(deployment))
    reader = _Reader(api, deployment, int(last) if last else None)
    return EventStream(reader.chunks(), keep_alive=api.settings.keep_alive, stopped=api.stopping.is_set)


class _Reader:
    """What one client has seen. Progress wakes it; what has no progress (a crash, a restart) is found within a TICK."""

    def __init__(self, api: Api, only: str | None, last: int | None) -> None:
        self._api, self._only = api, only
        self._stamps: dict[str, int] = {}
        self._current: list[str] = []
        self._named = float("-inf")
        if last is None:
            newest = [rows[0].id for name in self._names() if (rows := self._look(name, 1))]
            last = max(newest, default=0)
        self._last = last

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        subscription = self._api.service.watch(self._only or "", None, 0)
        try:
            # Whoever loses the connection before the first event can say from where to go on, too.
            yield event(b"{}", kind="begin", id=str(self._last))
            while True:
                yield self._fresh()
                if self._only is not None and self._is_gone(self._only):
                    yield END
                    return
                try:
                    async with asyncio.timeout(TICK):
                        message: Progress = await subscription.get()
                except TimeoutError:
                    continue
                if self._only is None and message.deployment not in self._current:
                    self._current.append(message.deployment)
                body = {"deployment": message.deployment, **progress_json(message)}
                yield event(dumps(body), kind="progress")
        finally:
            subscription.close()

    def _is_gone(self, name: str) -> bool:
        try:
            self._api.service.stamp(name)
        except DeploymentNotFound:
            return True
        return False

    def _known(self) -> list[str]:
        """Names, read again now and then: a new deployment is first heard of by its progress."""
        now = asyncio.get_running_loop().time()
        if now - self._named >= _NAMES_EVERY:
            self._current, self._named = self._names(), now
        return self._current

    def _fresh(self) -> bytes:
        """The events that nobody told this client yet, of the deployments that changed, in order."""
        fresh = sorted(
            (row for name in self._known() for row in self._changed(name) if row.id > self._last),
            key=lambda row: row.id,
        )
        if fresh:
            self._last = fresh[-1].id
        return b"".join(event(dumps(event_json(row)), kind="event", id=str(row.id)) for row in fresh)

    def _changed(self, name: str) -> Sequence[Event]:
        try:
            if self._stamps.get(name) == self._api.service.stamp(name):
                return []
        except DeploymentNotFound:
            return []
        return self._look(name, _CATCH_UP if self._only is None else _CATCH_UP_ONE)

    def _look(self, name: str, limit: int) -> Sequence[Event]:
        try:
            self._stamps[name] = self._api.service.stamp(name)
            return self._api.service.events(name, limit=limit, before=None)
        except DeploymentNotFound:
            self._stamps.pop(name, None)
            return []

    def _names(self) -> list[str]:
        if self._only is not None:
            return [self._only]
        names: list[str] = []
        total = 1
        while len(names) < total:
            rows, total = self._api.service.list(environment=None, state=None, limit=_PAGE, offset=len(names))
            if not rows:
                break
            names += [row.name for row in rows]
        return names
