"""Every error a client can meet: one class for each code of the API contract.

    LongshoreError
    ├── DeploymentNotFound      404  DEPLOYMENT_NOT_FOUND
    ├── NotFound                404  NOT_FOUND
    ├── DeploymentInProgress    409  DEPLOYMENT_IN_PROGRESS
    ├── PreconditionFailed      412  PRECONDITION_FAILED
    ├── DeploymentLocked        423  DEPLOYMENT_LOCKED
    ├── DeploymentsFrozen       423  DEPLOYMENTS_FROZEN
    ├── SpecInvalid             400  INVALID_DEPLOYMENT_SPEC
    │   ├── ArtifactNotFound    400  ARTIFACT_NOT_FOUND
    │   └── DependencyUnknown   400  DEPENDENCY_FAILED
    ├── BackupNotFound          400  BACKUP_NOT_FOUND
    ├── Unauthorized            401  UNAUTHORIZED
    ├── Forbidden               403  FORBIDDEN
    ├── MethodNotAllowed        405  METHOD_NOT_ALLOWED
    ├── RateLimited             429  RATE_LIMITED
    ├── InternalError           500  INTERNAL_ERROR
    └── RolloutFailed           500  DEPLOYMENT_FAILED     what a step raises; carries what failed
        ├── DependencyUnhealthy 500  DEPENDENCY_FAILED
        ├── HealthCheckFailed   500  HEALTH_CHECK_FAILED
        ├── HookFailed          500  HOOK_FAILED
        ├── RollbackFailed      500  ROLLBACK_FAILED
        └── RolloutAborted      500  DEPLOYMENT_ABORTED

The docstring of a class is its default message. `message` says the fact, the number and the remedy; `cause` is the
lowest-level reason known (a refused connection, the last lines of a log).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing wrong with a specification. field: dotted path, such as `health_check.interval`; "" for the whole."""

    field: str
    message: str
    severity: str = "error"


class LongshoreError(Exception):
    """The request could not be carried out."""

    code: ClassVar[str] = "INTERNAL_ERROR"
    status: ClassVar[int] = 500

    def __init__(
        self,
        message: str | None = None,
        *,
        deployment: str = "",
        operation: str = "",
        cause: str = "",
        headers: dict[str, str] | None = None,
        **details: Any,
    ) -> None:
        self.message = message or (type(self).__doc__ or "").splitlines()[0]
        self.deployment = deployment
        self.operation = operation
        self.cause = cause
        self.headers = headers or {}
        self.details = details
        super().__init__(self.message)


class DeploymentNotFound(LongshoreError):
    """Deployment does not exist."""

    code, status = "DEPLOYMENT_NOT_FOUND", 404


class NotFound(LongshoreError):
    """There is nothing at this path."""

    code, status = "NOT_FOUND", 404


class DeploymentInProgress(LongshoreError):
    """Another rollout of this deployment is in progress."""

    code, status = "DEPLOYMENT_IN_PROGRESS", 409


class PreconditionFailed(LongshoreError):
    """The deployment is at another revision than the request says."""

    code, status = "PRECONDITION_FAILED", 412


class DeploymentLocked(LongshoreError):
    """Somebody has locked this."""

    code, status = "DEPLOYMENT_LOCKED", 423


class DeploymentsFrozen(LongshoreError):
    """Nothing is changed in this window of time."""

    code, status = "DEPLOYMENTS_FROZEN", 423


class SpecInvalid(LongshoreError):
    """The deployment specification is invalid."""

    code, status = "INVALID_DEPLOYMENT_SPEC", 400

    def __init__(self, message: str | None = None, *, issues: Sequence[Issue] = (), **details: Any) -> None:
        self.issues = tuple(issues)
        if message is None and self.issues:
            message = "; ".join(f"{i.field}: {i.message}" if i.field else i.message for i in self.issues)
        if self.issues:
            details["issues"] = [{"field": i.field, "message": i.message, "severity": i.severity} for i in self.issues]
        super().__init__(message, **details)


class ArtifactNotFound(SpecInvalid):
    """The artifact is missing or cannot be read."""

    code = "ARTIFACT_NOT_FOUND"


class DependencyUnknown(SpecInvalid):
    """A dependency names a deployment that does not exist."""

    code = "DEPENDENCY_FAILED"


class BackupNotFound(LongshoreError):
    """There is no kept release of that version to roll back to."""

    code, status = "BACKUP_NOT_FOUND", 400


class Unauthorized(LongshoreError):
    """A token is needed: send `Authorization: Bearer TOKEN` (it is in admin.token of the data directory)."""

    code, status = "UNAUTHORIZED", 401


class Forbidden(LongshoreError):
    """This token may not do that."""

    code, status = "FORBIDDEN", 403


class MethodNotAllowed(LongshoreError):
    """This path does not take that method."""

    code, status = "METHOD_NOT_ALLOWED", 405


class RateLimited(LongshoreError):
    """Too many requests: try again after the seconds that Retry-After says."""

    code, status = "RATE_LIMITED", 429


class InternalError(LongshoreError):
    """Something went wrong inside the manager; its log says what."""


class RolloutFailed(LongshoreError):
    """The rollout failed."""

    code, status = "DEPLOYMENT_FAILED", 500


class DependencyUnhealthy(RolloutFailed):
    """A deployment this one depends on is not healthy."""

    code = "DEPENDENCY_FAILED"


class HealthCheckFailed(RolloutFailed):
    """The new version did not become healthy."""

    code = "HEALTH_CHECK_FAILED"


class HookFailed(RolloutFailed):
    """A hook failed."""

    code = "HOOK_FAILED"


class RollbackFailed(RolloutFailed):
    """The rollback failed; what served keeps serving."""

    code = "ROLLBACK_FAILED"


class RolloutAborted(RolloutFailed):
    """The rollout was aborted."""

    code = "DEPLOYMENT_ABORTED"


class LeaseLost(LongshoreError):
    """Another manager has taken over this data directory; this one may no longer write."""


#: code of the API → class, for rollouts whose failure is read back from the store.
FAILURES: dict[str, type[RolloutFailed]] = {
    cls.code: cls
    for cls in (RolloutFailed, DependencyUnhealthy, HealthCheckFailed, HookFailed, RollbackFailed, RolloutAborted)
}


def sentence(error: Exception | str) -> str:
    """What it says, such that another sentence can follow."""
    said = str(error) or type(error).__name__
    return said if said.endswith((".", "!", "?")) else f"{said}."
