"""Python client of the Longshore API, sync and async.

    with Longshore() as longshore:
        longshore.deploy(name="shop", version="1.4.0", artifact_path="/srv/shop-1.4.0.tar.gz")

Imports nothing of the server. docs/guide/python-client.md is its guide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from longshore.client.discovery import Endpoint, discover
from longshore.client.errors import (
    API_ERRORS,
    ApiError,
    ArtifactNotFound,
    BackupNotFound,
    ClientError,
    ConnectionLost,
    DependencyFailed,
    DeploymentAborted,
    DeploymentFailed,
    DeploymentInProgress,
    DeploymentLocked,
    DeploymentNotFound,
    DeploymentsFrozen,
    Forbidden,
    HealthCheckFailed,
    HookFailed,
    InternalError,
    InvalidDeploymentSpec,
    ManagerUnreachable,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    RateLimited,
    RollbackFailed,
    Unauthorized,
    UnexpectedAnswer,
    WaitTimeout,
)

if TYPE_CHECKING:
    from longshore.client.aio import AsyncLongshore
    from longshore.client.sync import Longshore

__all__ = [
    "API_ERRORS",
    "ApiError",
    "ArtifactNotFound",
    "AsyncLongshore",
    "BackupNotFound",
    "ClientError",
    "ConnectionLost",
    "DependencyFailed",
    "DeploymentAborted",
    "DeploymentFailed",
    "DeploymentInProgress",
    "DeploymentLocked",
    "DeploymentNotFound",
    "DeploymentsFrozen",
    "Endpoint",
    "Forbidden",
    "HealthCheckFailed",
    "HookFailed",
    "InternalError",
    "InvalidDeploymentSpec",
    "Longshore",
    "ManagerUnreachable",
    "MethodNotAllowed",
    "NotFound",
    "PreconditionFailed",
    "RateLimited",
    "RollbackFailed",
    "Unauthorized",
    "UnexpectedAnswer",
    "WaitTimeout",
    "discover",
]


def __getattr__(name: str) -> Any:
    """The two clients are imported when they are named: each would otherwise pay for the other's event loop."""
    if name == "Longshore":
        from longshore.client.sync import Longshore

        return Longshore
    if name == "AsyncLongshore":
        from longshore.client.aio import AsyncLongshore

        return AsyncLongshore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
