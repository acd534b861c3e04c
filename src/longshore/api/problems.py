"""Errors → answers: whatever goes wrong, the client gets the envelope, and only what it may know."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from longshore.api.wire import dumps, error_json
from longshore.errors import (
    InternalError,
    Issue,
    LongshoreError,
    MethodNotAllowed,
    NotFound,
    RolloutFailed,
    SpecInvalid,
    Unauthorized,
)

log = logging.getLogger(__name__)

JSON = "application/json"


class NotReady(InternalError):
    """The manager is not ready yet: it is still recovering what its predecessor left."""

    status = 503


#: statuses the framework itself answers with
_HTTP: dict[int, type[LongshoreError]] = {401: Unauthorized, 404: NotFound, 405: MethodNotAllowed}


def problem_of(exc: Exception) -> LongshoreError:
    """The error a client is told of; an unforeseen exception is logged with its traceback and told in general."""
    match exc:
        case LongshoreError():
            return exc
        case RequestValidationError():
            return SpecInvalid(issues=[_issue(error) for error in exc.errors()])
        case HTTPException():
            headers = dict(exc.headers or {})
            if exc.status_code in _HTTP:
                return _HTTP[exc.status_code](headers=headers)
            kind = SpecInvalid if exc.status_code < 500 else InternalError
            return kind(str(exc.detail) or None, headers=headers)
        case _:
            log.error("unforeseen error in a request", exc_info=exc, extra={"action": "request_failed"})
            return InternalError()


def respond(exc: Exception, *, deployment: str = "", operation: str = "") -> Response:
    """The envelope. deployment, operation: what the request was about, where the error does not say it itself."""
    problem = problem_of(exc)
    problem.deployment = problem.deployment or deployment
    problem.operation = problem.operation or operation
    if problem.status >= 500 and not isinstance(problem, RolloutFailed):
        log.warning("answered %s: %s", problem.code, problem.message, extra={"action": "request_failed"})
    return json_response(error_json(problem, time.time()), problem.status, problem.headers)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(dumps(body), status, headers=headers, media_type=JSON)


def _issue(error: Mapping[str, object]) -> Issue:
    """A complaint of the framework about a parameter, without its ("query", …) prefix."""
    where = error.get("loc")
    names = [str(part) for part in where[1:]] if isinstance(where, tuple) else []
    return Issue(".".join(names), str(error.get("msg", "is not valid")))
