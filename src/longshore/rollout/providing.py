"""Having on each host what is to be there: for rollouts, and for hosts that were out of reach when one went by."""

from __future__ import annotations

import asyncio
from typing import cast

from longshore.files.far import FarDirectory, Stock
from longshore.hosts.base import Host
from longshore.model import Deployment, ReleaseState, Spec
from longshore.rollout.world import World

#: seconds that a host which was lost may take to say that it is there
ASK_S = 15.0


async def provide(world: World, spec: Spec, host: str, *, replacing: bool = False) -> bool:
    """The release that an instance is to run from stands on its host, with the content that it has here.

    replacing   as FarDirectory.ship() has it
    Returns whether anything had to be sent. Raises DriverError, FilesError.
    """
    if not world.is_far(spec.environment):
        return False
    directory = far_directory(world, spec, host)
    stock, user, owner = Stock(world.files_of(spec)), world.user_of(spec) or "", world.claim_of(spec.name)
    shipped = await directory.ship(stock, spec.version, spec.shared_paths, user, owner=owner, replacing=replacing)
    return shipped.sent_bytes > 0


async def catch_up(world: World, deployment: Deployment, host: str) -> bool:
    """What is committed stands on the host, `current` names it, and nothing else is kept there than here.

    Returns whether anything was to be done. Raises DriverError, FilesError.
    """
    version = deployment.current_version
    release = world.store.release(deployment.name, version) if version is not None else None
    if release is None:
        return False
    directory = far_directory(world, release.spec, host)
    # The host may have another one of that name: of a rollout that was undone while the host was out of reach.
    changed = await provide(world, release.spec, host, replacing=True)
    changed |= await directory.set_current(version)
    return bool(await prune_there(world, deployment.name, directory)) or changed


async def prune_there(world: World, name: str, directory: FarDirectory) -> tuple[str, ...]:
    """Remove from a host the releases that are not kept here, and what was left half made; what was removed."""
    standing = await directory.standing()
    if standing.staging:
        await directory.sweep()
    kept = {release.version for release in world.store.releases(name) if release.state is not ReleaseState.pruned}
    gone = tuple(version for version in standing.releases if version not in kept)
    for version in gone:
        await directory.remove_release(version)
    return gone


async def end_left_hooks(world: World, name: str, host: Host) -> int:
    """End what hooks of a deployment's rollouts that are over have left on a host, which was out of reach when they
    ended. How many still ran. Raises DriverError."""
    from longshore.drivers.systemd.commands import end_commands, rollouts_there

    ended = 0
    for id in sorted(await rollouts_there(host)):
        rollout = world.store.rollout(id)
        if rollout is not None and rollout.deployment == name and not rollout.status.is_open:
            ended += await end_commands(host, id, world.fence)
    return ended


async def ask_lost(world: World, environment: str) -> None:
    """Ask those hosts again that were lost: one that has come back a moment ago is not known to be there yet."""
    hosts = [cast(Host, place) for place in world.hosts_of(environment).values()]
    asked = [asyncio.wait_for(host.connect(), ASK_S) for host in hosts if host.reachable is False]
    await asyncio.gather(*asked, return_exceptions=True)  # whoever works there is told what is wrong


async def remove_there(world: World, deployment: Deployment, *, files: bool) -> None:
    """Nothing of it stays on any host, but its shared files; files False: all files stay. Raises HostUnreachable."""
    claim = world.claim_of(deployment.name)
    for place in world.hosts_of(deployment.environment).values():
        await end_left_hooks(world, deployment.name, cast(Host, place))
        directory = world.far_directory(cast(Host, place), deployment.working_directory)
        if await directory.holder() == claim:
            if files:
                await directory.remove_all()
            await directory.disclaim(claim)


def far_directory(world: World, spec: Spec, host: str) -> FarDirectory:
    return world.far_directory(world.host(spec.environment, host), spec.working_directory)
