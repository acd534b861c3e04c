"""Removing releases that nobody will go back to."""

from __future__ import annotations

import asyncio

from longshore.concurrency import to_its_end
from longshore.model import Release, ReleaseState
from longshore.rollout.world import World


def superfluous(world: World, name: str, keep: int, *, spare: str = "") -> list[Release]:
    """Kept releases beyond the newest `keep`, newest first.

    Never one that is pinned, that serves or served before it, that an instance still runs of, or `spare`. Pinned ones
    do not count as kept: pinning a release takes no other one's place.
    """
    store = world.store
    deployment = store.deployment(name)
    assert deployment is not None
    spared = {deployment.current_version, deployment.previous_version, spare}
    spared |= {instance.version for instance in store.instances(name)}
    kept = [r for r in store.releases(name) if r.state is ReleaseState.kept and r.pinned is None]
    return [release for release in kept[keep:] if release.version not in spared]


async def prune(world: World, name: str, keep: int, *, spare: str = "") -> list[Release]:
    """Remove what is superfluous from the disk, and return it. Whoever calls holds the deployment's lock."""
    store, deployment = world.store, world.store.deployment(name)
    assert deployment is not None
    removed = superfluous(world, name, keep, spare=spare)
    with store.transaction():
        # First the word, then the deed: a release half removed must never be offered for a rollback.
        for release in removed:
            store.set_release_state(name, release.version, ReleaseState.pruned)
    directory = world.directory(deployment.working_directory)
    present = set(await asyncio.to_thread(directory.versions))
    # All that are pruned, not only these: between an earlier word and its deed the manager may have been killed.
    for release in store.releases(name):
        if release.state is ReleaseState.pruned and release.version in present:
            await to_its_end(directory.remove_release, release.version)
    return removed
