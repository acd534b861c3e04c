"""The ASGI application, put together from the table of routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from longshore.access.locks import Locks
from longshore.access.tokens import Tokens
from longshore.api.auth import authenticate
from longshore.api.context import Api, api_of
from longshore.api.documents import Documents
from longshore.api.guard import address_of, guarded
from longshore.api.metrics import Metrics
from longshore.api.problems import respond
from longshore.api.progress import nowhere, progress
from longshore.api.ratelimit import Limiter
from longshore.api.routes import PROGRESS_PATH, ROUTES, methods_of
from longshore.api.service import Service
from longshore.api.settings import ApiSettings
from longshore.doctor import Doctor
from longshore.errors import LongshoreError, MethodNotAllowed
from longshore.webhooks.desk import Desk


def create_app(
    service: Service,
    webhooks: Desk,
    tokens: Tokens,
    locks: Locks,
    doctor: Doctor,
    settings: ApiSettings,
    *,
    ready: Callable[[], bool],
    version: str,
) -> FastAPI:
    """The API as an ASGI application.

    ready    whether the manager has recovered and takes requests (/readyz)
    version  of Longshore, for the documents
    `app.state.stopping` is an asyncio.Event: set it when the manager stops, and everything that waits answers at once
    (server.Server does).
    """
    api = Api(
        service=service,
        webhooks=webhooks,
        tokens=tokens,
        locks=locks,
        doctor=doctor,
        settings=settings,
        limiter=Limiter(settings.rate_limits),
        metrics=Metrics(service),
        ready=ready,
        version=version,
        stopping=asyncio.Event(),
    )
    app = FastAPI(
        openapi_url=None,  # it is made by openapi.py when it is asked for: here it would cost every start
        redirect_slashes=False,
        lifespan=_lifespan,
        exception_handlers={
            LongshoreError: _problem,
            RequestValidationError: _problem,
            HTTPException: _problem,
            Exception: _problem,
        },
    )
    app.state.api, app.state.stopping = api, api.stopping
    app.router.routes.extend(guarded(api, row) for row in ROUTES)
    app.router.add_websocket_route(PROGRESS_PATH, progress, name="progress")
    app.router.add_websocket_route("/{path:path}", nowhere, name="nowhere")
    app.state.documents = Documents(version)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    api: Api = app.state.api
    try:
        yield
    finally:
        api.stopping.set()
        for task in list(api.tasks):
            task.cancel()
        await asyncio.gather(*api.tasks, return_exceptions=True)


async def _problem(request: Request, exc: Exception) -> Response:
    """What no endpoint has answered: unknown paths and methods. Who may not ask does not learn which there are."""
    api = api_of(request)
    try:
        authenticate(request.headers, address_of(request), api.settings)
    except LongshoreError as refusal:
        return respond(refusal)
    if isinstance(exc, HTTPException) and exc.status_code == 405:
        exc = MethodNotAllowed(headers={"Allow": ", ".join(methods_of(request.scope["path"]))})
    api.metrics.request("none", getattr(exc, "status_code", getattr(exc, "status", 500)))
    return respond(exc)
