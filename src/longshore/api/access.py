"""Tokens and locks as resources."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from longshore.api import wire
from longshore.api.auth import require
from longshore.api.bodies import read_json
from longshore.api.context import api_of, caller_of
from longshore.api.deployments import Name, existing
from longshore.api.problems import json_response
from longshore.api.terms import terms_of
from longshore.api.wire_request import parse_small
from longshore.errors import SpecInvalid
from longshore.model import LockScope, Role

TokenName = Annotated[str, Path(description="Name of a token.", examples=["ci"])]
EnvironmentName = Annotated[str, Path(description="Name of an environment.", examples=["production"])]
Force = Annotated[bool, Query(description="Also where somebody else has locked it; takes an admin's token.")]


# --------------------------------------------------------------------------------------------- tokens


async def create_token(request: Request) -> Response:
    """Make a token. Its text is in this answer and nowhere else."""
    patch = await _body(request, "create_token")
    token, text = api_of(request).tokens.create(
        patch["name"], Role(patch["role"]), patch.get("environments"), patch.get("expires_in"),
        by=caller_of(request).name,
    )  # fmt: skip
    return json_response({**wire.token_json(token), "token": text}, 201, {"Cache-Control": "no-store"})


async def list_tokens(request: Request) -> Response:
    """Every token that was ever made, by name; never its text."""
    return json_response({"tokens": [wire.token_json(token) for token in api_of(request).tokens.all()]})


async def revoke_token(request: Request, token: TokenName) -> Response:
    """It opens nothing any more, from now on."""
    return json_response(wire.token_json(api_of(request).tokens.revoke(token, by=caller_of(request).name)))


# --------------------------------------------------------------------------------------------- locks


async def list_locks(request: Request) -> Response:
    """All locks that hold now."""
    return json_response({"locks": [wire.lock_json(lock) for lock in api_of(request).locks.all()]})


async def get_lock(request: Request, name: Name) -> Response:
    """The lock of a deployment."""
    existing(request, name)
    return json_response(wire.lock_json(api_of(request).locks.get("deployment", name)))


async def lock(request: Request, name: Name) -> Response:
    """Let nobody change a deployment but with an override. Rolling back and aborting stay possible."""
    existing(request, name)
    return await _lock(request, "deployment", name)


async def unlock(request: Request, name: Name, force: Force = False) -> Response:
    """Let everybody change it again."""
    existing(request, name)
    return _unlock(request, "deployment", name, force)


async def get_environment_lock(request: Request, environment: EnvironmentName) -> Response:
    """The lock of an environment."""
    return json_response(wire.lock_json(api_of(request).locks.get("environment", environment)))


async def lock_environment(request: Request, environment: EnvironmentName) -> Response:
    """Let nobody change any deployment of an environment but with an override."""
    return await _lock(request, "environment", environment)


async def unlock_environment(request: Request, environment: EnvironmentName, force: Force = False) -> Response:
    """Let everybody change its deployments again."""
    return _unlock(request, "environment", environment, force)


async def _lock(request: Request, scope: LockScope, name: str) -> Response:
    patch = await _body(request, "lock")
    lock = api_of(request).locks.put(
        scope, name, patch.get("message", ""), patch.get("expires_in"), terms=terms_of(request)
    )
    return json_response(wire.lock_json(lock))


def _unlock(request: Request, scope: LockScope, name: str, force: bool) -> Response:
    if force:
        require(caller_of(request), Role.admin)
    lock = api_of(request).locks.remove(scope, name, force=force, terms=terms_of(request))
    return json_response(wire.lock_json(lock))


async def _body(request: Request, route: str) -> dict[str, Any]:
    patch, issues = parse_small(route, await read_json(request, api_of(request).settings.max_body))
    if issues:
        raise SpecInvalid(issues=issues)
    return patch
