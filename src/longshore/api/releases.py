"""Releases as resources: look at them, keep one for good, remove the rest."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from starlette.requests import Request
from starlette.responses import Response

from longshore.api import wire
from longshore.api.bodies import read_json
from longshore.api.context import api_of
from longshore.api.deployments import Name, existing, valid_name
from longshore.api.problems import json_response
from longshore.api.terms import terms_of
from longshore.api.waiting import unless_stopping
from longshore.api.wire_request import parse_small
from longshore.errors import SpecInvalid

Version = Annotated[str, Path(description="Version of a kept release.", examples=["1.4.2"])]


async def releases(request: Request, name: Name) -> Response:
    """The versions that were deployed, newest first, and which of them can be rolled back to."""
    service = api_of(request).service
    deployment = service.deployment(valid_name(name))
    return json_response({"releases": [wire.release_json(row, deployment) for row in service.releases(name)]})


async def pin(request: Request, name: Name, version: Version) -> Response:
    """Never prune this release, however old it gets."""
    patch = await _body(request, name, "pin")
    return _pinned(request, name, version, patch.get("reason", ""))


async def unpin(request: Request, name: Name, version: Version) -> Response:
    """Let this release be pruned as any other."""
    await _body(request, name, "unpin")
    return _pinned(request, name, version, None)


async def prune(request: Request, name: Name) -> Response:
    """Remove now what is kept beyond the newest releases; never one that serves, is pinned or may be gone back to."""
    api = api_of(request)
    patch = await _body(request, name, "prune")
    pruning = api.service.prune(name, patch.get("keep"), terms=terms_of(request))
    removed = await unless_stopping(api, pruning)
    return json_response(
        {
            "removed": [release.version for release in removed],
            "freed_bytes": sum(release.size_bytes for release in removed),
        }
    )


def _pinned(request: Request, name: str, version: str, reason: str | None) -> Response:
    service = api_of(request).service
    release = service.pin(name, version, reason, terms=terms_of(request))
    return json_response(wire.release_json(release, service.deployment(name)))


async def _body(request: Request, name: str, route: str) -> dict[str, Any]:
    existing(request, name)
    patch, issues = parse_small(route, await read_json(request, api_of(request).settings.max_body))
    if issues:
        raise SpecInvalid(issues=issues, deployment=name, operation=route)
    return patch
