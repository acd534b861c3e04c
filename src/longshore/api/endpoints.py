"""Where requests are to go, for a balancer that is not ours; and what runs, for whoever watches."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.api import wire
from longshore.api.context import api_of
from longshore.api.deployments import Name, valid_name
from longshore.api.problems import json_response
from longshore.api.waiting import unless_stopping

Wait = Annotated[
    str | None,
    Query(
        description="A `revision`: answer as soon as it is another one, or after 50 s.",
        pattern="^[0-9a-f]{16}$",
        examples=["3f9a2c1e81d0c4b7"],
    ),
]


async def endpoints(request: Request, name: Name, wait: Wait = None) -> Response:
    """The instances that requests are to go to, and which share each version gets."""
    api = api_of(request)
    found = await unless_stopping(api, api.service.endpoints(valid_name(name), wait))
    return json_response(wire.endpoints_json(found))


async def instances(request: Request, name: Name, wait: Wait = None) -> Response:
    """What runs of a deployment, and which share of the requests each version gets."""
    api = api_of(request)
    found = await unless_stopping(api, api.service.running_now(valid_name(name), wait))
    return json_response(wire.instances_json(found))
