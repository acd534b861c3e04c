"""Which release a rollback goes to."""

from __future__ import annotations

from longshore.errors import BackupNotFound, SpecInvalid
from longshore.model import Deployment, Release, ReleaseState, RolloutStatus
from longshore.rollout.status import get_deployment
from longshore.rollout.world import World


def rollback_target(world: World, name: str, version: str | None, *, undone: bool = False) -> Release:
    """The release that a rollback goes to.

    version   None or "": what served before, or, where something was undone for this, what serves
    undone    a rollout in progress was; as one that is held or stuck will be
    Raises    BackupNotFound, SpecInvalid for the version that serves already
    """
    deployment, last = get_deployment(world, name), world.store.last_rollout_of(name)
    current = deployment.current_version
    undone = undone or (last is not None and last.status in (RolloutStatus.held, RolloutStatus.stuck))
    if undone and current is not None and version in (None, "", current):
        return kept_release(world, name, current)
    if version and version == current:
        raise SpecInvalid(
            f"{name} is stopped on {version}: start it instead."
            if deployment.stopped
            else f"{name} serves {version} already: there is nothing to roll back.",
            deployment=name,
            operation="rollback",
            cause=f"{version} is the committed version",
        )
    return kept_release(world, name, version or version_before(world, deployment))


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
    releases = {release.version: release for release in world.store.releases(deployment.name)}
    current = releases.get(deployment.current_version or "")
    # What was released after what serves is never gone back to: it is what somebody has just fled from.
    older = [r for r in releases.values() if current is not None and r.created_at < current.created_at]
    before = releases.get(deployment.previous_version or "")
    for release in (*([before] if before is not None else []), *older):
        if release.state is ReleaseState.kept and release.healthy_at is not None:
            return release.version
    raise BackupNotFound(
        f"{deployment.name} has no earlier release that was ever healthy.",
        deployment=deployment.name,
        operation="rollback",
        cause="nothing to go back to",
    )
