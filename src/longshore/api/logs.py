"""Output of instances: the last lines, or those and whatever follows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime
from heapq import merge
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.api.context import Api, api_of
from longshore.api.deployments import Name, valid_name
from longshore.api.following import Follower
from longshore.api.problems import json_response
from longshore.api.streams import EventStream
from longshore.api.wire import log_line_json
from longshore.drivers.base import DriverError, LogLine
from longshore.durations import parse_duration
from longshore.errors import Issue, NotFound, SpecInvalid

#: lines of each instance where nobody says how many, and most where they are asked for from a time on
TAIL, MOST = 100, 10_000

Since = Annotated[
    str | None,
    Query(description="Only what was written since: a time (RFC 3339), or how long ago.", examples=["10m"]),
]


async def logs(
    request: Request,
    name: Name,
    instance: Annotated[str | None, Query(description="Only of this instance.", examples=["shop-3-1"])] = None,
    tail: Annotated[
        int | None, Query(ge=0, le=MOST, description="Last lines of each instance: 100, with `since` all.")
    ] = None,
    since: Since = None,
    follow: Annotated[bool, Query(description="Go on with what is written, as server-sent events.")] = False,
) -> Response:
    """Output of the instances, in the order in which it was written; with `since` also of those that are gone."""
    api = api_of(request)
    begin = parse_since(since)
    chosen = _chosen(api, valid_name(name), instance, begin)
    if tail is None:
        tail = TAIL if begin is None else None
    if follow:
        lines = Follower(api, name, instance, chosen, tail=tail, since=begin).chunks()
        return EventStream(lines, keep_alive=api.settings.keep_alive, stopped=api.stopping.is_set)
    found: list[list[tuple[float, str, LogLine]]] = []
    problems: list[dict[str, str]] = []
    for each in chosen:
        of_it = found.append
        try:
            of_it(await _read(api, name, each, MOST if tail is None else tail, begin))
        except DriverError as error:
            problems.append({"instance": each, "message": str(error)})
    lines_in_order = merge(*found, key=lambda row: row[0])
    answer = {"lines": [log_line_json(line, instance=each) for _, each, line in lines_in_order], "problems": problems}
    return json_response(answer)


def parse_since(text: str | None) -> float | None:
    """Seconds since the epoch. Raises SpecInvalid."""
    if text is None:
        return None
    try:
        if "T" in text or "t" in text:
            # A plus sign that was not encoded arrives as a space.
            moment = datetime.fromisoformat(text.replace(" ", "+"))
            if moment.tzinfo is None:
                raise ValueError
            return moment.timestamp()
        ago = parse_duration(text)
        if ago < 0:
            raise ValueError
    except ValueError:
        issue = Issue("since", "must be a time such as 2026-01-31T09:15:00Z, or how long ago, such as 10m")
        raise SpecInvalid(issues=[issue]) from None
    return time.time() - ago


def _chosen(api: Api, name: str, only: str | None, since: float | None) -> Sequence[str]:
    """Ids, oldest first: of what is there, and from some time on of what was there."""
    there = [each.id for each in api.service.instances(name)]
    if only is None:
        return there if since is None else [*api.service.logged(name), *there]
    if only not in there and only not in api.service.logged(name):
        raise NotFound(f"{name} has no instance {only[:80]!r}, and no log of one is kept.")
    return [only]


async def _read(api: Api, name: str, instance: str, tail: int, since: float | None) -> list[tuple[float, str, LogLine]]:
    async with aclosing(api.service.log(name, instance, tail=tail, since=since, follow=False)) as lines:
        # A line of unknown time stays where it is among those of its instance.
        latest, found = 0.0, []
        async for line in lines:
            latest = max(latest, line.latest or 0.0)
            found.append((latest, instance, line))
        return found
