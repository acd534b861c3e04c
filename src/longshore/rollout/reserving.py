"""The row of a deployment that nothing is committed of yet: it says where that is to be, and reserves it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from longshore.errors import DeploymentInProgress, SpecInvalid
from longshore.model import Deployment, Spec
from longshore.store import Store


def expect_staying(name: str, deployment: Deployment | None) -> None:
    """Raise DeploymentInProgress for a deployment that is being deleted."""
    if deployment is not None and deployment.deleting is not None:
        raise DeploymentInProgress(
            f"{name} is being deleted: wait until it is gone.", deployment=name, cause="deletion"
        )


def reserve(store: Store, spec: Spec, *, runs: bool, now: float) -> Deployment:
    """Inside the transaction of what is to commit it. Returns the row; one that was committed stays as it is.

    runs    False: files only, so a port that the spec names is not this deployment's
    Raises  SpecInvalid where another deployment has taken the directory or the port
    """
    deployment = store.deployment(spec.name)
    if deployment is not None and deployment.current_version is not None:
        return deployment
    fresh = deployment or Deployment(spec.name, "", "", None, None, None, None, now, now)
    reserved = replace(
        fresh,
        environment=spec.environment,
        working_directory=spec.working_directory,
        public_port=spec.public_port if runs else None,
    )
    try:
        store.save_deployment(reserved)
    except sqlite3.IntegrityError as error:
        # Both had been looked at, but another deploy began at the same moment.
        raise SpecInvalid(
            f"Another deployment has just taken port {reserved.public_port} or {spec.working_directory!r}: "
            "choose another.",
            deployment=spec.name,
            operation="validate",
            cause=str(error),
        ) from error
    return reserved
