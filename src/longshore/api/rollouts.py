"""Rollouts as resources: look at them, and steer the one in progress."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from longshore.api.bodies import read_json
from longshore.api.context import api_of
from longshore.api.deployments import Limit, Name, Offset, existing, valid_name
from longshore.api.problems import json_response
from longshore.api.terms import terms_of, with_conflict
from longshore.api.waiting import full, unless_stopping
from longshore.api.wire_request import parse_small
from longshore.errors import SpecInvalid

RolloutId = Annotated[str, Path(description="Rollout id.", examples=["019a3f0e-7c44-7d6a-9a51-0d6f3c1f2b7e"])]


async def list_rollouts(request: Request, name: Name, limit: Limit = 50, offset: Offset = 0) -> Response:
    """Rollouts of a deployment, newest first."""
    api = api_of(request)
    rows, total = api.service.rollouts(valid_name(name), limit=limit, offset=offset)
    return json_response(
        {"rollouts": [full(api, row) for row in rows], "total": total, "limit": limit, "offset": offset}
    )


async def rollout(request: Request, name: Name, rollout_id: RolloutId) -> Response:
    """A rollout as it stands."""
    api = api_of(request)
    return json_response(full(api, api.service.rollout(valid_name(name), rollout_id)))


async def abort(request: Request, name: Name, rollout_id: RolloutId) -> Response:
    """End a rollout that has not committed; what it did is undone."""
    api = api_of(request)
    patch = await _body(request, name, "abort")
    reason: str = patch.get("reason", "")
    aborting = api.service.abort(name, rollout_id, terms=terms_of(request), reason=reason)
    aborted = await unless_stopping(api, aborting)
    return json_response(full(api, aborted))


async def approve(request: Request, name: Name, rollout_id: RolloutId) -> Response:
    """Let begin what waits for approval, as soon as it is its turn. Not with the token that asked for it."""
    api = api_of(request)
    patch = await _body(request, name, "approve")
    comment: str = patch.get("comment", "")
    terms = with_conflict(terms_of(request), patch)
    approved = await api.service.approve(name, rollout_id, terms=terms, comment=comment)
    return json_response(full(api, approved))


async def pause(request: Request, name: Name, rollout_id: RolloutId) -> Response:
    """Stop before the next step, until resumed, promoted or aborted."""
    api = api_of(request)
    return json_response(full(api, await api.service.pause(valid_name(name), rollout_id, terms=terms_of(request))))


async def resume(request: Request, name: Name, rollout_id: RolloutId) -> Response:
    """Go on with a paused rollout."""
    api = api_of(request)
    return json_response(full(api, await api.service.resume(valid_name(name), rollout_id, terms=terms_of(request))))


async def promote(request: Request, name: Name, rollout_id: RolloutId) -> Response:
    """Skip the pauses that are left: the new version gets all the traffic as soon as it is healthy."""
    api = api_of(request)
    return json_response(full(api, await api.service.promote(valid_name(name), rollout_id, terms=terms_of(request))))


async def _body(request: Request, name: str, route: str) -> dict[str, Any]:
    existing(request, name)
    patch, issues = parse_small(route, await read_json(request, api_of(request).settings.max_body))
    if issues:
        raise SpecInvalid(issues=issues)
    return patch
