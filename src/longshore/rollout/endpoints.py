"""Where requests are to go: the desired routing with its addresses, for people and for balancers of their own."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import asdict, replace

from longshore.model import Instance, InstanceState, Pool
from longshore.rollout.reports import EndpointList, EndpointPool, EndpointTarget
from longshore.rollout.status import get_deployment
from longshore.rollout.world import World

#: bound on waiting for a change, in seconds: less than what proxies in between give up after
WAIT_S = 50.0


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
    digest = hashlib.sha256(json.dumps(asdict(found), sort_keys=True).encode()).hexdigest()
    return replace(found, revision=digest[:16])


async def next_endpoints(world: World, name: str, after: str) -> EndpointList:
    """As soon as they are at another revision than `after`; within WAIT_S in any case, changed or not.

    Raises DeploymentNotFound, also where it is deleted meanwhile.
    """
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                stamp, found = world.store.stamp(name), read_endpoints(world, name)
                if found.revision != after:
                    return found
                await world.store.moved(name, stamp)
    except TimeoutError:
        return read_endpoints(world, name)


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
