"""Endpoints that change what serves without a new artifact: each is a rollout, answered as a deploy is."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from longshore.api import wire
from longshore.api.bodies import read_json
from longshore.api.context import api_of
from longshore.api.deployments import Name, existing
from longshore.api.problems import json_response
from longshore.api.service import Service
from longshore.api.terms import with_conflict
from longshore.api.waiting import answer, start_once, unless_stopping
from longshore.api.wire_request import parse_change, parse_small
from longshore.errors import SpecInvalid
from longshore.model import Rollout
from longshore.rollout.terms import Terms

Begin = Callable[[Service, dict[str, Any], Terms], Coroutine[Any, Any, Rollout]]


async def change(request: Request, name: Name) -> Response:
    """Change anything but the artifact, by a merge patch (RFC 7396): a release of its own, of the same files."""
    existing(request, name)
    body = await read_json(request, api_of(request).settings.max_body)
    asked = parse_change(body)
    return await _roll(
        request,
        name,
        body,
        lambda service, terms: service.change(name, asked, terms=with_conflict(terms, asked.conflict)),
    )


async def restart(request: Request, name: Name) -> Response:
    """Replace every instance by a new one of the same release. Answers when the rollout is over."""
    return await _small(request, name, "restart", lambda service, _, terms: service.restart(name, terms=terms))


async def scale(request: Request, name: Name) -> Response:
    """More or fewer instances of what serves. Answers when the rollout is over."""
    return await _small(
        request, name, "scale", lambda service, patch, terms: service.scale(name, patch["replicas"], terms=terms)
    )


async def stop(request: Request, name: Name) -> Response:
    """Stop every instance: clients are answered 503 until the next start, deploy or rollback."""
    return await _small(request, name, "stop", lambda service, _, terms: service.stop(name, terms=terms))


async def start(request: Request, name: Name) -> Response:
    """Start what was stopped: the same release, as many instances."""
    return await _small(request, name, "start", lambda service, _, terms: service.start(name, terms=terms))


async def _small(request: Request, name: str, verb: str, begin: Begin) -> Response:
    existing(request, name)
    body = await read_json(request, api_of(request).settings.max_body)
    patch, issues = parse_small(verb, body)

    async def checked(service: Service, terms: Terms) -> Rollout:
        if issues:
            raise SpecInvalid(issues=issues, deployment=name, operation=verb)
        return await begin(service, patch, with_conflict(terms, patch))

    return await _roll(request, name, body, checked)


async def _roll(
    request: Request, name: str, body: Any, begin: Callable[[Service, Terms], Coroutine[Any, Any, Rollout]]
) -> Response:
    """A rollout of the release that serves, answered as a deploy is."""
    api = api_of(request)

    async def start(terms: Terms) -> Rollout:
        return await unless_stopping(api, begin(api.service, terms))

    def succeeded(rollout: Rollout) -> Response:
        return json_response(wire.result_json(rollout, api.service.steps(rollout.id)))

    return await answer(request, await start_once(request, body, start), name, succeeded)
