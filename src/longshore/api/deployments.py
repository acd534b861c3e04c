"""Endpoints of the seed contract, and plan and delete beside them."""

from __future__ import annotations

import difflib
import re
from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.api import wire
from longshore.api.bodies import read_json
from longshore.api.context import api_of
from longshore.api.guard import count
from longshore.api.problems import JSON, json_response
from longshore.api.terms import terms_of, with_conflict
from longshore.api.waiting import answer, start_once, unless_stopping
from longshore.api.wire_request import NAME_PATTERN, VERSION_PATTERN, parse_request, parse_small
from longshore.errors import BackupNotFound, DeploymentNotFound, Issue, SpecInvalid
from longshore.model import Rollout, State
from longshore.rollout.terms import Terms

_NAME = re.compile(NAME_PATTERN)
_VERSION = re.compile(VERSION_PATTERN)

#: rendered statuses remembered; a manager with more deployments renders some of them anew
_MOST_RENDERED = 2_000

Name = Annotated[str, Path(description="Deployment name.", examples=["shop"])]
Limit = Annotated[int, Query(ge=1, le=500, description="Most entries to answer with.")]
Offset = Annotated[int, Query(ge=0, le=2**31, description="Entries to leave out at the beginning.")]


async def deploy(request: Request) -> Response:
    """Deploy a version. Answers when the rollout is over; with `Prefer: respond-async` at once."""
    api = api_of(request)
    body = await read_json(request, api.settings.max_body)
    asked = parse_request(body)
    name = asked.fields.get("name", "")
    request.scope["longshore.deployment"] = name

    def counted() -> None:
        if name:
            count(api, request, "deploy", name)

    async def start(terms: Terms) -> Rollout:
        return await unless_stopping(api, api.service.deploy(asked, terms=with_conflict(terms, asked.conflict)))

    def succeeded(rollout: Rollout) -> Response:
        return json_response(wire.result_json(rollout, api.service.steps(rollout.id)), 201)

    rollout_id = await start_once(request, body, start, counted)
    return await answer(request, rollout_id, name, succeeded)


async def rollback(request: Request, name: Name) -> Response:
    """Go back to a kept release. Answers when the rollout is over. Never rate limited."""
    api = api_of(request)
    existing(request, name)
    body = await read_json(request, api.settings.max_body)
    patch, issues = parse_small("rollback", body)
    if issues:
        raise SpecInvalid(issues=issues)
    version = patch.get("version")
    if version is not None and not _VERSION.fullmatch(version):
        raise BackupNotFound(f"{version[:80]!r} cannot be the version of a release.")

    async def start(terms: Terms) -> Rollout:
        return await unless_stopping(api, api.service.rollback(name, version, terms=terms))

    def succeeded(rollout: Rollout) -> Response:
        return json_response(wire.rollback_json(rollout))

    rollout_id = await start_once(request, body, start)
    return await answer(request, rollout_id, name, succeeded)


async def status(request: Request, name: Name) -> Response:
    """What serves and how it is. From memory and the store, never by probing."""
    api = api_of(request)
    cached = api.rendered.get(name)
    if cached is not None and cached[0] == api.service.stamp(name):
        return Response(cached[1], media_type=JSON, headers={"ETag": cached[2]})
    valid_name(name)
    # The stamp is read first: what changes while rendering then only costs rendering once more.
    stamp = api.service.stamp(name)
    current = api.service.status(name)
    rendered, etag = wire.dumps(wire.status_json(current)), f'"{current.deployment.revision}"'
    expires = current.lock is not None and current.lock.expires_at is not None
    if current.replicas.available == current.replicas.ready and not expires:
        # Else an instance becomes available, or a lock ends, by mere time, which moves no stamp.
        if len(api.rendered) >= _MOST_RENDERED:
            api.rendered.clear()
        api.rendered[name] = (stamp, rendered, etag)
    return Response(rendered, media_type=JSON, headers={"ETag": etag})


async def list_deployments(
    request: Request,
    environment: Annotated[str | None, Query(description="Only of this environment.", examples=["production"])] = None,
    state: Annotated[
        str | None,
        Query(description="Only in this state.", json_schema_extra={"enum": [str(state) for state in State]}),
    ] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    """All deployments, by name."""
    rows, total = api_of(request).service.list(
        environment=environment or None, state=_state(state), limit=limit, offset=offset
    )
    return json_response(
        {"deployments": [wire.summary_json(row) for row in rows], "total": total, "limit": limit, "offset": offset}
    )


async def validate(request: Request) -> Response:
    """Everything a deploy would refuse, and what would surprise. Changes nothing."""
    api = api_of(request)
    report = await api.service.validate(parse_request(await read_json(request, api.settings.max_body)))
    return json_response(wire.validation_json(report), 200 if report.valid else 400)


async def plan(request: Request) -> Response:
    """What a deploy would do, step by step, and how it differs from what serves. Changes nothing."""
    api = api_of(request)
    asked = parse_request(await read_json(request, api.settings.max_body))
    request.scope["longshore.deployment"] = asked.fields.get("name", "")
    preview = await api.service.plan(asked)
    if preview.issues:
        raise SpecInvalid(issues=preview.issues)
    return json_response(wire.preview_json(preview))


async def health(request: Request, name: Name) -> Response:
    """Probe now, all instances at once."""
    valid_name(name)
    api = api_of(request)
    return json_response(wire.health_json(await unless_stopping(api, api.service.health(name))))


async def delete(
    request: Request,
    name: Name,
    keep_files: Annotated[bool, Query(description="Leave the working directory as it is.")] = False,
) -> Response:
    """Stop all instances, take the deployment out of the routing, forget it."""
    api = api_of(request)
    existing(request, name)
    await unless_stopping(api, api.service.delete(name, keep_files=keep_files, terms=terms_of(request)))
    api.rendered.pop(name, None)
    return json_response({"message": f"{name} is deleted"})


def valid_name(name: str) -> str:
    """The name. Raises DeploymentNotFound for what no deployment can be called."""
    if not _NAME.fullmatch(name):
        raise DeploymentNotFound(f"There is no deployment {name[:80]!r}: that is no valid name.", deployment=name[:80])
    return name


def existing(request: Request, name: str) -> None:
    """Raises DeploymentNotFound unless there is a deployment of this name."""
    api_of(request).service.deployment(valid_name(name))


def _state(given: str | None) -> State | None:
    if not given:
        return None
    try:
        return State(given)
    except ValueError:
        near = difflib.get_close_matches(given, list(State), n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(State)}"
        raise SpecInvalid(issues=[Issue("state", f"{given[:80]!r} is no state; {hint}")]) from None
