"""Reading the world of one deployment, once, before a plan is made."""

from __future__ import annotations

import asyncio
import hashlib

from longshore.artifacts.base import Scan
from longshore.artifacts.command import resolve_command
from longshore.model import Deployment, Release, ReleaseState, Rollout, RolloutKind, Spec
from longshore.rollout.plan import View
from longshore.rollout.world import World


async def observe(
    world: World,
    rollout: Rollout,
    *,
    scan: Scan | None,
    source: Release | None = None,
) -> View:
    """What is there, for the strategy of `rollout`.

    scan    of the artifact; None where the release is kept, or copied from `source`
    source  the release that a change takes its files from
    """
    store, spec = world.store, rollout.spec
    deployment = store.deployment(rollout.deployment)
    assert deployment is not None
    current = store.release(deployment.name, deployment.current_version) if deployment.current_version else None
    wanted = store.release(deployment.name, rollout.version)
    kept = wanted is not None and wanted.state is ReleaseState.kept
    command: str | tuple[str, ...] | None
    if spec.systemd.unit == "existing":
        command = _of_unit(spec)
    elif source is not None:
        command = spec.command if spec.command is not None else source.command
    elif kept and (spec.command is None or scan is None):
        assert wanted is not None
        command = wanted.command
    else:
        assert scan is not None
        command = command_of(spec, scan)

    instances = {instance.id: instance for instance in store.instances(deployment.name)}
    serving = tuple(instances.pop(id) for id in deployment.instances if id in instances)
    warm = tuple(
        instance
        for instance in instances.values()
        if instance.version == rollout.version
        and instance.retire_at is not None
        and world.fleet.is_running(instance.id)
        and world.board.of(instance.id).ready is not False
    )
    if rollout.kind is not RolloutKind.rollback or len(warm) != spec.replicas:
        warm = ()
    warm_ids = {instance.id for instance in warm}
    directory = world.files_of(spec)
    return View(
        name=deployment.name,
        number=rollout.number,
        kind=rollout.kind,
        pool_id=pool_id(rollout.id),
        current=current,
        serving=serving,
        warm=warm,
        warm_pool=_pool_of(deployment, warm_ids),
        leftover=tuple(i for i in instances.values() if i.id not in warm_ids),
        routing=deployment.routing,
        runs=command is not None,
        routed=command is not None and spec.is_served,
        directory_is_foreign=current is None and await asyncio.to_thread(directory.is_foreign),
        fetch=not kept,
        source=source,
        sha256=scan.sha256 if scan is not None else "",
        command=command,
        hosts=hosts_for(world, spec),
    )


def preview(spec: Spec, *, deployment: Deployment | None, scan: Scan, world: World, foreign: bool, kept: bool) -> View:
    """The view a rollout of this spec would have now, for a plan that is only shown."""
    name = spec.name
    instances = {instance.id: instance for instance in world.store.instances(name)} if deployment else {}
    serving = tuple(instances.pop(id) for id in deployment.instances if id in instances) if deployment else ()
    command = command_of(spec, scan)
    last = world.store.last_rollout_of(name)
    current = deployment.current_version if deployment else None
    return View(
        name=name,
        number=(last.number if last else 0) + 1,
        kind=RolloutKind.deploy,
        pool_id=pool_id(name),
        current=world.store.release(name, current) if current else None,
        serving=serving,
        leftover=tuple(instances.values()),
        routing=deployment.routing if deployment else None,
        runs=command is not None,
        routed=command is not None and spec.is_served,
        directory_is_foreign=foreign,
        fetch=not kept,
        sha256=scan.sha256,
        command=command,
        hosts=hosts_for(world, spec),
    )


def command_of(spec: Spec, scan: Scan) -> str | tuple[str, ...] | None:
    """What an instance runs; None: nothing, the release is files only."""
    if spec.systemd.unit == "existing":
        return _of_unit(spec)
    return resolve_command(spec.command, scan, spec.service_name)


def _of_unit(spec: Spec) -> str:
    """For people: the unit itself says what it runs."""
    return f"unit {spec.service_name}"


def hosts_for(world: World, spec: Spec) -> tuple[str, ...]:
    """Names of the hosts that get instances of it: of its environment, those that have the labels it asks for."""
    return tuple(
        name
        for name, place in world.hosts_of(spec.environment).items()
        if spec.host_labels.items() <= place.labels.items()
    )


def pool_id(rollout_id: str) -> str:
    """8 hex digits, opaque and of fixed length: no pool's id is the beginning of another's."""
    return hashlib.sha256(rollout_id.encode()).hexdigest()[:8]


def _pool_of(deployment: Deployment, ids: set[str]) -> str | None:
    for pool in deployment.routing.pools if deployment.routing is not None else ():
        if ids and ids <= set(pool.instances):
            return pool.id
    return None
