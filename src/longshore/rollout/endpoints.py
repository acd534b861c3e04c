"""Where requests are to go: the desired routing with its addresses, for people and for balancers of their own."""

from __future__ import annotations

from dataclasses import replace

from longshore.model import Instance, InstanceState, Pool
from longshore.rollout.reports import EndpointList, EndpointPool, EndpointTarget
from longshore.rollout.revisions import revision_of
from longshore.rollout.status import get_deployment
from longshore.rollout.world import World


def read_endpoints(world: World, name: str) -> EndpointList:
    """From the store and the board, without asking anybody. Raises DeploymentNotFound."""
    deployment = get_deployment(world, name)
    routing = deployment.routing
    instances = {instance.id: instance for instance in world.store.instances(name)}
    pools: list[EndpointPool] = []
    if routing is not None:
        shares = (("stable", routing.stable, 100 - routing.weight), ("candidate", routing.candidate, routing.weight))
        pools = [_pool(world, role, pool, weight, instances) for role, pool, weight in shares if pool is not None]
    found = EndpointList(
        deployment=name,
        environment=deployment.environment,
        router=world.router_of(deployment.environment).name,
        port=routing.port if routing is not None else None,
        serves=routing is not None and routing.hold is None and any(pool.targets for pool in pools),
        revision="",
        pools=tuple(pools),
    )
    return replace(found, revision=revision_of(found))


# --- private


def _pool(world: World, role: str, pool: Pool, weight: int, instances: dict[str, Instance]) -> EndpointPool:
    targets = []
    for target in world.fleet.targets(pool.instances):
        instance = instances[target.instance]
        running = instance.state is InstanceState.running
        targets.append(
            EndpointTarget(
                instance=instance.id,
                version=instance.version,
                host=instance.host,
                address=target.host,
                port=target.port,
                ready=running and world.board.of(instance.id).ready is True,
            )
        )
    return EndpointPool(role, pool.version, weight, pool.health_path, tuple(targets))
