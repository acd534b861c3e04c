"""Serving what is committed, by the facts in the store alone: for a rollout whose plan this Longshore cannot read.

The steps that would do or undo it are another version's. But what is committed is known without them: its release, its
instances, its port. So requests are answered by it, whatever the rest of that rollout is.
"""

from __future__ import annotations

import asyncio
import secrets

from longshore.health.readiness import NotReady
from longshore.model import Deployment, Pool, Release, Rollout, Routing
from longshore.rollout.plan import Context
from longshore.rollout.steps.instances import where_reached
from longshore.rollout.steps.release import point_current
from longshore.rollout.steps.traffic import route
from longshore.rollout.world import World


async def serve_committed(world: World, rollout: Rollout) -> str | None:
    """The committed instances run, `current` names their release, and all requests go to them.

    Returns the version; None: nothing was ever committed. Raises RolloutFailed, DriverError or RouterError. What is
    left of the rollout stays where it is.
    """
    deployment = world.store.deployment(rollout.deployment)
    if deployment is None or deployment.current_version is None:
        return None
    release = world.store.release(deployment.name, deployment.current_version)
    assert release is not None
    context = Context(
        world, rollout, say=lambda message: None, advance=lambda: None, promoted=asyncio.Event().wait
    )  # fmt: skip
    await where_reached(context, *(world.fleet.start_again(id) for id in deployment.instances))
    for outcome in await asyncio.gather(
        *(world.readiness.await_ready(id) for id in deployment.instances), return_exceptions=True
    ):
        # One that is slow, or ill, is the monitor's from here on; the router sends to those that are well.
        if isinstance(outcome, BaseException) and not isinstance(outcome, NotReady):
            raise outcome
    if deployment.routing is not None:
        await route(context, _routing(deployment, release))
    await point_current(context, release.version)
    return release.version


def _routing(deployment: Deployment, release: Release) -> Routing | None:
    port = deployment.public_port
    if port is None or deployment.routing is None or not (deployment.instances or deployment.stopped):
        return None
    pools = (pool for pool in deployment.routing.pools if set(pool.instances) == set(deployment.instances))
    id = next((pool.id for pool in pools), secrets.token_hex(4))
    pool = Pool(id, release.version, deployment.instances, release.spec.probe_path)
    return Routing(port, pool, hold=0.0 if deployment.stopped else None)
