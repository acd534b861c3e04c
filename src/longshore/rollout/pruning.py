"""Which releases are kept: pinning one for good, and removing those that nobody will go back to."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from longshore.concurrency import to_its_end
from longshore.errors import BackupNotFound, DeploymentInProgress, InternalError, sentence
from longshore.files import FilesError
from longshore.model import Deployment, Release, ReleaseState
from longshore.rollout.status import get_deployment
from longshore.rollout.terms import Terms
from longshore.rollout.world import World
from longshore.store.rollouts import in_progress


def pin(world: World, name: str, version: str, reason: str | None, terms: Terms) -> Release:
    """Never prune that release (reason, "" for none), or as any other one again (None). Harmless where it is so.

    Raises DeploymentNotFound, PreconditionFailed, BackupNotFound.
    """
    store = world.store
    with store.transaction():
        _staying(world, name, terms)
        release = store.release(name, version)
        if release is None or release.state is not ReleaseState.kept:
            raise BackupNotFound(
                f"{name} keeps no release {version}: its releases say which are kept.", deployment=name, operation="pin"
            )
        if release.pinned == reason:
            return release
        store.set_pinned(name, version, reason)
        store.count_change(name, terms.caller)
        done = f"unpinned {version}" if reason is None else f"pinned {version}" + (f": {reason}" if reason else "")
        world.event(name, "info", f"{terms.caller} {done}", source="control")
    return replace(release, pinned=reason)


def begin_pruning(world: World, name: str, terms: Terms) -> None:
    """Inside a transaction: that somebody may prune now.

    Raises DeploymentNotFound, PreconditionFailed, DeploymentInProgress while a rollout is open.
    """
    _staying(world, name, terms)
    if (holder := world.store.open_rollout_of(name)) is not None:
        raise in_progress(holder)
    world.store.count_change(name, terms.caller)


async def prune_now(world: World, name: str, keep: int | None, terms: Terms) -> list[Release]:
    """Do what begin_pruning has let pass. keep: None for as many as the manager keeps.

    Raises DeploymentNotFound, InternalError for what the disk does not allow.
    """
    async with world.lock(name):
        get_deployment(world, name)  # it may have been deleted meanwhile
        try:
            removed = await prune(world, name, world.keep_releases if keep is None else keep)
        except FilesError as error:
            raise InternalError(
                f"{name} is only pruned in part: {sentence(error)} Mend that and prune it again.",
                deployment=name,
                operation="prune",
            ) from error
        if removed:
            told = ", ".join(release.version for release in removed)
            world.event(name, "info", f"{terms.caller} pruned {told}", source="control")
    return removed


async def prune(world: World, name: str, keep: int) -> list[Release]:
    """Remove what is superfluous from the disk, and return it. Whoever calls holds the deployment's lock.

    With it goes what an earlier prune had no time for: between its word and its deed the manager may have been killed.
    Raises FilesError.
    """
    store, deployment = world.store, get_deployment(world, name)
    with store.transaction():
        # First the word, then the deed: a release half removed must never be offered for a rollback.
        for release in superfluous(world, deployment, keep):
            store.set_release_state(name, release.version, ReleaseState.pruned)
    directory = world.files_of(deployment)
    present = await asyncio.to_thread(directory.places)
    pruned = [r for r in store.releases(name) if r.state is ReleaseState.pruned and r.version in present]
    for release in pruned:
        await to_its_end(directory.remove_release, release.version)
    return pruned


def superfluous(world: World, deployment: Deployment, keep: int) -> list[Release]:
    """Kept releases beyond the newest `keep`, newest first.

    Never one that is pinned, serves, served before it, is the matter of a rollout that is not done with it, or that an
    instance still runs of. Pinned ones do not count as kept: pinning a release takes no other one's place.
    """
    store, name = world.store, deployment.name
    spared = {deployment.current_version, deployment.previous_version}
    spared |= {instance.version for instance in store.instances(name)}
    spared |= {rollout.version for rollout in store.left_behind(name)}
    if (opened := store.open_rollout_of(name)) is not None:
        spared.add(opened.version)
    kept = [r for r in store.releases(name) if r.state is ReleaseState.kept and r.pinned is None]
    return [release for release in kept[keep:] if release.version not in spared]


# --- private


def _staying(world: World, name: str, terms: Terms) -> None:
    """Raises unless it is there to stay, and as the caller takes it for."""
    deployment = get_deployment(world, name)
    terms.hold_for(name, deployment)
    if deployment.deleting is not None:
        raise DeploymentInProgress(f"{name} is being deleted.", deployment=name, cause="deletion")
