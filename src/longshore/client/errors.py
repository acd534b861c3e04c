"""What a call of the client can end in, besides its result.

ClientError
├── ManagerUnreachable     nobody answers at the URL, or no URL is known
├── ConnectionLost         the manager went away in the middle of a call
├── WaitTimeout            the caller's own bound on waiting passed; the rollout goes on
├── UnexpectedAnswer       something answered, but not as Longshore does
└── ApiError               the manager's own error; one subclass for each code, in API_ERRORS
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


class ClientError(Exception):
    """A call did not end in a result. `str()` of it is one sentence for people."""

    @property
    def message(self) -> str:
        return str(self)


class ManagerUnreachable(ClientError):
    """No manager answers. url: where it was looked for, "" where none is known; cause: what the system said."""

    def __init__(self, url: str, cause: str = "", *, hint: str = "") -> None:
        self.url = url
        self.cause = cause
        self.hint = hint or "start it with `longshore serve`, or name another one with --url or LONGSHORE_URL"
        where = f"no manager answers at {url}" if url else "no manager is known"
        super().__init__(f"{where}{f' ({cause})' if cause else ''}: {self.hint}")


class ConnectionLost(ClientError):
    """The connection ended before the answer was complete, so what the manager did is not known here."""

    def __init__(self, url: str, cause: str = "") -> None:
        self.url = url
        self.cause = cause
        super().__init__(
            f"the connection to the manager at {url} was lost{f' ({cause})' if cause else ''}; "
            "what it was asked to do may still be going on: look with `longshore status`"
        )


class WaitTimeout(ClientError):
    """The rollout was not over within the caller's bound. It goes on in the manager; nothing was aborted."""

    def __init__(self, deployment: str, rollout_id: str, seconds: float) -> None:
        self.deployment = deployment
        self.rollout_id = rollout_id
        super().__init__(
            f"rollout {rollout_id} of {deployment} was not over within {seconds:g} s; "
            f"it goes on: `longshore watch {deployment}`"
        )


class UnexpectedAnswer(ClientError):
    """What answered is not a Longshore manager, or one much newer or older than this client."""


class ApiError(ClientError):
    """An error that the manager answered with.

    status   the HTTP status; 500 for the failure of a rollout that was waited for
    code     such as "DEPLOYMENT_IN_PROGRESS"
    details  as in the envelope: `deployment`, `operation`, `cause`, and more by code
    retry_after   seconds, where the manager said so (429), else None
    """

    #: the status this code has by default, for errors that arrive without one (WebSocket, a rollout's record)
    default_status = 500

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.details: dict[str, Any] = dict(details or {})
        self.retry_after = retry_after
        super().__init__(message)

    @property
    def cause(self) -> str:
        """The lowest-level reason known, such as the last lines of a log; may be ""."""
        return str(self.details.get("cause") or "")

    def envelope(self) -> dict[str, Any]:
        """The error in the shape of the API: `{"error": {"code", "message", "details"}}`."""
        return {"error": {"code": self.code, "message": self.message, "details": self.details}}


class DeploymentNotFound(ApiError):
    default_status = 404


class DeploymentInProgress(ApiError):
    default_status = 409


class PreconditionFailed(ApiError):
    default_status = 412


class DeploymentLocked(ApiError):
    default_status = 423


class DeploymentsFrozen(ApiError):
    default_status = 423


class InvalidDeploymentSpec(ApiError):
    default_status = 400


class ArtifactNotFound(ApiError):
    default_status = 400


class DependencyFailed(ApiError): ...


class HealthCheckFailed(ApiError): ...


class RollbackFailed(ApiError): ...


class BackupNotFound(ApiError):
    default_status = 400


class Unauthorized(ApiError):
    default_status = 401


class Forbidden(ApiError):
    default_status = 403


class NotFound(ApiError):
    default_status = 404


class MethodNotAllowed(ApiError):
    default_status = 405


class RateLimited(ApiError):
    default_status = 429


class HookFailed(ApiError): ...


class DeploymentFailed(ApiError): ...


class DeploymentAborted(ApiError): ...


class InternalError(ApiError): ...


# To add an error: its class above, with default_status where that is not 500; a line here with the code of the API;
# a row in docs/guide/python-client.md. tests/unit/client/test_client_errors.py checks this dict against the server's.
# A code without a line is still an ApiError, so an older client understands a newer manager.
API_ERRORS: dict[str, type[ApiError]] = {
    "DEPLOYMENT_NOT_FOUND": DeploymentNotFound,
    "DEPLOYMENT_IN_PROGRESS": DeploymentInProgress,
    "PRECONDITION_FAILED": PreconditionFailed,
    "DEPLOYMENT_LOCKED": DeploymentLocked,
    "DEPLOYMENTS_FROZEN": DeploymentsFrozen,
    "INVALID_DEPLOYMENT_SPEC": InvalidDeploymentSpec,
    "ARTIFACT_NOT_FOUND": ArtifactNotFound,
    "DEPENDENCY_FAILED": DependencyFailed,
    "HEALTH_CHECK_FAILED": HealthCheckFailed,
    "ROLLBACK_FAILED": RollbackFailed,
    "BACKUP_NOT_FOUND": BackupNotFound,
    "UNAUTHORIZED": Unauthorized,
    "FORBIDDEN": Forbidden,
    "NOT_FOUND": NotFound,
    "METHOD_NOT_ALLOWED": MethodNotAllowed,
    "RATE_LIMITED": RateLimited,
    "HOOK_FAILED": HookFailed,
    "DEPLOYMENT_FAILED": DeploymentFailed,
    "DEPLOYMENT_ABORTED": DeploymentAborted,
    "INTERNAL_ERROR": InternalError,
}


def api_error(
    code: str,
    message: str,
    details: Mapping[str, Any] | None = None,
    *,
    status: int | None = None,
    retry_after: float | None = None,
) -> ApiError:
    """The error of a code, as the class of that code. status: None takes the code's own."""
    kind = API_ERRORS.get(code, ApiError)
    return kind(status or kind.default_status, code, message, details, retry_after=retry_after)


def error_of_envelope(body: object, *, status: int | None = None, retry_after: float | None = None) -> ApiError | None:
    """The error that a decoded body carries in the API's envelope, or None where it carries none."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(error.get("code"), str):
        return None
    details = error.get("details")
    return api_error(
        error["code"],
        str(error.get("message") or error["code"]),
        details if isinstance(details, Mapping) else None,
        status=status,
        retry_after=retry_after,
    )


def error_of_body(body: bytes, *, url: str, status: int, retry_after: float | None = None) -> ClientError:
    """The error that an HTTP answer other than success means, whatever its body is."""
    try:
        error = error_of_envelope(json.loads(body), status=status, retry_after=retry_after)
    except ValueError:
        error = None
    if error is not None:
        return error
    text = body[:200].decode("utf-8", "replace").strip()
    return UnexpectedAnswer(
        f"{url} answered {status} with something that is no answer of Longshore"
        f"{f': {text!r}' if text else ''}; is that the right URL?"
    )
