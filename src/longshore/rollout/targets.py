"""Which release a rollback goes to."""

from __future__ import annotations

from longshore.errors import BackupNotFound
from longshore.model import Deployment, Release, ReleaseState
from longshore.rollout.world import World


def kept_release(world: World, name: str, version: str) -> Release:
    """The release to go back to. Raises BackupNotFound: never deployed, never healthy, or pruned."""
    release = world.store.release(name, version)
    if release is not None and release.state is ReleaseState.kept and release.healthy_at is not None:
        return release
    if release is None:
        reason = f"{version} was never deployed"
    elif release.state is ReleaseState.pruned:
        reason = f"{version} has been pruned: only the newest {world.keep_releases} releases are kept"
    else:
        reason = f"{version} never was healthy"
    raise BackupNotFound(
        f"{name} cannot be rolled back to {version}: {reason}.",
        deployment=name,
        operation="rollback",
        cause=reason,
    )


def version_before(world: World, deployment: Deployment) -> str:
    """The version a rollback without a version goes to."""
    candidates = [deployment.previous_version] if deployment.previous_version else []
    candidates += [r.version for r in world.store.releases(deployment.name)]
    for version in candidates:
        release = world.store.release(deployment.name, version)
        if (
            release is not None
            and version != deployment.current_version
            and release.state is ReleaseState.kept
            and release.healthy_at is not None
        ):
            return version
    raise BackupNotFound(
        f"{deployment.name} has no earlier release that was ever healthy.",
        deployment=deployment.name,
        operation="rollback",
        cause="nothing to go back to",
    )
