"""Output of a rollout's hooks: what there is, or that and whatever follows until the rollout is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.api.context import Api, api_of
from longshore.api.deployments import Name, valid_name
from longshore.api.problems import json_response
from longshore.api.rollouts import RolloutId
from longshore.api.streams import END, TICK, EventStream, event
from longshore.api.wire import dumps, hook_line_json
from longshore.errors import DeploymentNotFound, NotFound
from longshore.model import RolloutStatus

#: lines answered with where nobody says how many, and at most
TAIL, MOST = 1000, 10_000
#: seconds between two looks while following, as for logs
_LOOK_S = 0.2


async def hooks(
    request: Request,
    name: Name,
    rollout_id: RolloutId,
    tail: Annotated[int, Query(ge=0, le=MOST, description="Last lines of all hooks together.")] = TAIL,
    follow: Annotated[bool, Query(description="Go on until the rollout is over, as server-sent events.")] = False,
) -> Response:
    """What the hooks of a rollout printed, and commands that check a canary, as far as their logs are kept."""
    api = api_of(request)
    output = api.service.hook_output(valid_name(name), rollout_id)
    if follow:
        lines = _follow(api, name, rollout_id, tail)
        return EventStream(lines, keep_alive=api.settings.keep_alive, stopped=api.stopping.is_set)
    found = await asyncio.to_thread(output.more, over=True)
    return json_response({"lines": [hook_line_json(line) for line in found[max(0, len(found) - tail) :]]})


async def _follow(api: Api, name: str, rollout_id: str, tail: int) -> AsyncGenerator[bytes, None]:
    loop, output, begun, skip = asyncio.get_running_loop(), None, 0, True
    spoke = loop.time()
    while True:
        try:
            rollout = api.service.rollout(name, rollout_id)
            status = rollout.status
            if output is None or rollout.number != begun:  # what waits gets its number when it begins
                output, begun = api.service.hook_output(name, rollout_id), rollout.number
        except (DeploymentNotFound, NotFound):
            break
        # Asked before the look: what is written until it is over is seen by the look that follows.
        over = status.is_over or status is RolloutStatus.committed
        found = await asyncio.to_thread(output.more, over=over)
        if skip:
            found, skip = found[max(0, len(found) - tail) :], False
        if found or loop.time() - spoke >= TICK:
            yield b"".join(event(dumps(hook_line_json(line))) for line in found)
            spoke = loop.time()
        if over:
            break
        await asyncio.sleep(_LOOK_S)
    yield END
