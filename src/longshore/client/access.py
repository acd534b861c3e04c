"""Tokens, locks and environments, as flows."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from longshore.client import results as r
from longshore.client.calls import WAIT_TIMEOUT, at_revision, fetch, path_of, send
from longshore.client.decode import decode
from longshore.client.effects import Flow, Request

TOKENS = "/api/v1/tokens"
LOCKS = "/api/v1/locks"


def create_token(
    name: str, role: str, environments: Sequence[str] | None, expires_in: str | float | None
) -> Flow[r.Token]:
    listed = None if environments is None else list(environments)
    given = {"name": name, "role": role, "environments": listed, "expires_in": expires_in}
    body = {key: value for key, value in given.items() if value is not None}
    return decode(r.Token, (yield from send(Request("POST", TOKENS, json=body))))


def revoke_token(name: str) -> Flow[r.Token]:
    return decode(r.Token, (yield from send(Request("DELETE", f"{TOKENS}/{quote(name, safe='')}"))))


def lock(
    name: str | None,
    environment: str | None,
    message: str,
    expires_in: str | float | None,
    if_revision: int | None,
) -> Flow[r.Lock]:
    body = {"message": message, **({} if expires_in is None else {"expires_in": expires_in})}
    request = Request("PUT", _path(name, environment), json=body, headers=at_revision(if_revision))
    return decode(r.Lock, (yield from send(request)))


def unlock(name: str | None, environment: str | None, force: bool, if_revision: int | None) -> Flow[r.Lock]:
    params = {"force": "true"} if force else {}
    request = Request("DELETE", _path(name, environment), params, headers=at_revision(if_revision))
    return decode(r.Lock, (yield from send(request)))


def doctor(environment: str) -> Flow[r.Diagnosis]:
    path = f"/api/v1/environments/{quote(environment, safe='')}/doctor"
    return decode(r.Diagnosis, (yield from fetch(Request("GET", path, timeout=WAIT_TIMEOUT))))


def _path(name: str | None, environment: str | None) -> str:
    """Raises ValueError unless exactly one of them is given."""
    if (name is None) == (environment is None):
        raise ValueError("give the name of a deployment, or an environment")
    return (
        path_of(name, "lock") if name is not None else f"/api/v1/environments/{quote(environment or '', safe='')}/lock"
    )
