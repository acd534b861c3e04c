"""What runs of a deployment, instance by instance, and who gets the requests: what a watcher of a rollout sees move."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from longshore.model import Instance, InstanceState, Routing
from longshore.rollout.reports import InstanceList, InstanceReport, Share
from longshore.rollout.revisions import revision_of
from longshore.rollout.status import get_deployment
from longshore.rollout.world import World

State = Literal["starting", "healthy", "unhealthy", "draining", "stopped"]


def read_instances(world: World, name: str) -> InstanceList:
    """From the store and the board, without asking anybody. Raises DeploymentNotFound."""
    deployment = get_deployment(world, name)
    opened = world.store.open_rollout_of(name)
    found = InstanceList(
        deployment=name,
        rollout_id=opened.id if opened is not None else None,
        traffic=_shares(deployment.routing),
        instances=tuple(_report(world, each, deployment.instances) for each in world.store.instances(name)),
        revision="",
    )
    return replace(found, revision=revision_of(found))


# --- private


def _shares(routing: Routing | None) -> tuple[Share, ...]:
    if routing is None or routing.hold is not None:
        return ()
    shares = (("stable", routing.stable, 100 - routing.weight), ("candidate", routing.candidate, routing.weight))
    return tuple(Share(role, pool.version, weight) for role, pool, weight in shares if pool is not None)


def _report(world: World, instance: Instance, committed: tuple[str, ...]) -> InstanceReport:
    return InstanceReport(
        id=instance.id,
        version=instance.version,
        host=instance.host,
        port=instance.port,
        state=_state(world, instance, instance.id in committed),
        message=world.board.of(instance.id).message,
        started_at=instance.started_at,
        restarts=instance.restarts,
    )


def _state(world: World, instance: Instance, committed: bool) -> State:
    ready = world.board.of(instance.id).ready
    if instance.state is InstanceState.stopped:
        return "stopped"
    if instance.id in world.board.muted:
        return "draining"
    if instance.state is InstanceState.starting or ready is None:
        return "starting"
    # One that a rollout has just begun is not unwell before it was ever well.
    return "healthy" if ready else "unhealthy" if committed else "starting"
