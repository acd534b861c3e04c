"""What happens around every endpoint: who asks, how often, and one form of answer to whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from longshore.api.auth import authenticate, require
from longshore.api.context import Api
from longshore.api.problems import respond
from longshore.api.ratelimit import Allowance

if TYPE_CHECKING:
    from longshore.api.routes import Row

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def address_of(connection: HTTPConnection) -> str:
    return connection.client.host if connection.client is not None else "local"


def count(api: Api, connection: HTTPConnection, limited: str, key: str) -> None:
    """Count a request against a limit; its answer, whatever it becomes, then says what is left. Raises RateLimited."""
    connection.scope["longshore.allowance"] = api.limiter.hit(limited, key)


def guarded(api: Api, row: Row) -> Route:
    """The route of one row."""
    route = Route(row.path, _Endpoint(api, row), methods=[row.method], name=row.name)
    route.methods = {row.method}  # without the HEAD that comes with a GET
    return route


class _Endpoint:
    """One row as an ASGI application, made when it is first asked: FastAPI takes 2 ms to read a signature, and that of
    every endpoint would be a tenth of a manager's start."""

    def __init__(self, api: Api, row: Row) -> None:
        self._api, self._row = api, row

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    @cached_property
    def _app(self) -> ASGIApp:
        row = self._row
        return _route_class(self._api, row)(row.path, row.endpoint, methods=[row.method], response_model=None).app


def _route_class(api: Api, row: Row) -> type[APIRoute]:
    """Authenticates, counts, and turns errors into envelopes.

    A route class and not a dependency, so that it comes before the parameters are read (401 before 400) and is
    cheap; and not a middleware, so that nobody's disconnect cancels anything.
    "status" and "list" are counted here for each caller; deploys are counted by the endpoint, which knows the name.
    """

    least, limited, open_to_all, name = row.least_role, row.counted_by_caller, row.open_to_all, row.name

    def wrap(endpoint: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            scope = request.scope
            try:
                if not open_to_all:
                    caller = scope["longshore.caller"] = authenticate(
                        request.headers, address_of(request), api.settings
                    )
                    require(caller, least)
                    if limited is not None:
                        count(api, request, limited, caller.key)
                response = await endpoint(request)
            except Exception as exc:
                deployment = str(request.path_params.get("name", scope.get("longshore.deployment", "")))
                response = respond(exc, deployment=deployment, operation=name)
            allowance: Allowance | None = scope.get("longshore.allowance")
            if allowance is not None:
                response.raw_headers.extend(allowance.headers())
            api.metrics.request(name, response.status_code)
            return response

        return handle

    class Guarded(APIRoute):
        def get_route_handler(self) -> Handler:
            return wrap(super().get_route_handler())

    return Guarded
