"""Taking a deployment away: traffic first, then what runs, then its files, then what is stored."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

from longshore.concurrency import all_of
from longshore.model import Deployment
from longshore.rollout.draining import drained
from longshore.rollout.providing import ask_lost, remove_there
from longshore.rollout.status import get_deployment
from longshore.rollout.terms import Terms
from longshore.rollout.world import World
from longshore.store.rollouts import in_progress


def begin_removal(world: World, name: str, terms: Terms, *, keep_files: bool) -> Deployment:
    """Write down that it is to go, before anything is done: whoever is killed from here on, the next one goes on.

    keep_files   leave releases/, current and shared/ on disk; logs go in any case
    Raises       DeploymentNotFound, PreconditionFailed, DeploymentInProgress while a rollout is open
    """
    with world.store.transaction():
        deployment = get_deployment(world, name)
        terms.hold_for(name, deployment)
        if (holder := world.store.open_rollout_of(deployment.name)) is not None:
            raise in_progress(holder)
        marked = replace(deployment, deleting="keep_files" if keep_files else "all")
        world.store.save_deployment(marked)
        world.store.count_change(name, terms.caller)
    return marked


async def finish_removal(world: World, deployment: Deployment) -> None:
    """Do what begin_removal wrote down. Called again after a crash it goes on where it was."""
    name, store = deployment.name, world.store
    instances = store.instances(name)
    if world.is_far(deployment.environment):
        await ask_lost(world, deployment.environment)
    spec = None
    if deployment.current_version and (release := store.release(name, deployment.current_version)) is not None:
        spec = release.spec
    drain_s, stop_s = (spec.drain_timeout, spec.stop_timeout) if spec is not None else (30.0, 10.0)
    if deployment.routing is not None:
        await world.router.remove(name, drain_s)
        ids = tuple(instance.id for instance in instances)
        for warning in (await drained(world, name, deployment.environment, ids, drain_s)).warnings:
            world.event(name, "warning", warning, source="removal")
        store.set_routing(name, None)
    await all_of(*(world.fleet.retire(instance.id, stop_s) for instance in instances))
    if world.is_far(deployment.environment):
        await remove_there(world, deployment, files=deployment.deleting != "keep_files")
    directory = world.files_of(deployment)
    claimed = await asyncio.to_thread(directory.holder) == world.claim_of(name)
    if claimed and deployment.deleting != "keep_files":
        # First what Longshore itself made, and only that: other files in a directory taken over are not ours.
        await asyncio.to_thread(directory.remove_all)
    if claimed:
        await asyncio.to_thread(directory.disclaim, world.claim_of(name))
    await asyncio.to_thread(_remove_if_empty, directory.path)
    world.fence()
    await asyncio.to_thread(shutil.rmtree, world.logs / name, True)
    for id in (i.id for i in instances):
        world.board.forget(id)
    world.board.forget(f"url:{name}")
    store.delete_deployment(name)


def _remove_if_empty(path: Path) -> None:
    try:
        path.rmdir()
    except OSError:
        return
