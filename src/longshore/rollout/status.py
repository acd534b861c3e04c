"""What a deployment's state is: read from the store and the board, never by probing."""

from __future__ import annotations

from longshore.errors import DeploymentNotFound
from longshore.model import (
    Deployment,
    Health,
    Instance,
    InstanceState,
    Release,
    Rollout,
    RolloutKind,
    RolloutStatus,
    Spec,
    State,
    derive_health,
    derive_state,
)
from longshore.rollout.reports import Replicas, Status, Summary
from longshore.rollout.world import World

#: events that a status carries
EVENTS = 50


def get_deployment(world: World, name: str) -> Deployment:
    deployment = world.store.deployment(name)
    if deployment is None:
        raise DeploymentNotFound(f"There is no deployment {name!r}.", deployment=name, operation="find")
    return deployment


def read_status(world: World, name: str) -> Status:
    store = world.store
    deployment = get_deployment(world, name)
    open_rollout, last = store.open_rollout_of(name), store.last_rollout_of(name)
    release = store.release(name, deployment.current_version) if deployment.current_version else None
    queue = tuple(store.waiting_of(name))
    spec = _spec(world, deployment, release, open_rollout or last)
    instances = store.instances(name)
    health = health_of(world, deployment, release, last, instances)
    events = tuple(store.events(name, limit=EVENTS))
    newest = open_rollout.version if open_rollout is not None else deployment.current_version
    return Status(
        deployment=deployment,
        version=deployment.current_version or (last.version if last is not None else spec.version),
        state=derive_state(
            open_rollout=open_rollout,
            last_rollout=last,
            current_version=deployment.current_version,
            health=health,
        ),
        health=health,
        last_updated=max(deployment.updated_at, events[0].timestamp if events else 0.0),
        replicas=_replicas(world, deployment, spec, release, open_rollout, instances, newest),
        spec=spec,
        events=events,
        open_rollout=open_rollout,
        queue=queue,
        lock=store.lock_on(name, deployment.environment),
    )


def serving(deployment: Deployment, last: Rollout | None, instances: list[Instance]) -> list[Instance]:
    """Those of the deployment's instances that answer for it.

    What is committed; while a rollout is in progress, held or stuck, old and new alike: those that get traffic, or
    without a port all that run, never a set that is merely kept warm.
    """
    if not unsettled(last):
        return [i for i in instances if i.id in deployment.instances]
    running = [i for i in instances if i.retire_at is None and i.state is not InstanceState.stopped]
    if deployment.routing is None:
        return running
    routing = deployment.routing
    shares = ((routing.stable, 100 - routing.weight), (routing.candidate, routing.weight))
    routed = {id for pool, share in shares if pool is not None and share for id in pool.instances}
    return [i for i in running if i.id in routed]


def wanted_replicas(release: Release, last: Rollout | None) -> int:
    """How many must answer for it to be healthy: of two numbers the smaller, while it goes from one to the other."""
    if last is not None and unsettled(last):
        return min(release.spec.replicas, last.spec.replicas)
    return release.spec.replicas


def unsettled(last: Rollout | None) -> bool:
    """Whether the last rollout of a deployment runs, is held or is stuck: old and new may serve side by side."""
    return last is not None and (last.status.is_open or last.status in (RolloutStatus.held, RolloutStatus.stuck))


def health_of(
    world: World, deployment: Deployment, release: Release | None, last: Rollout | None, instances: list[Instance]
) -> Health:
    """Of what serves, from what the board knows. last: its last rollout; instances: all of the deployment."""
    if release is None:
        return Health.unknown
    if not release.runs:
        known = world.board.of(f"url:{deployment.name}")
        if not release.spec.health_check_url:
            return Health.healthy
        return derive_health(desired=1, ready=int(known.ready is True), known=known.ready is not None)
    boards = [world.board.of(instance.id) for instance in serving(deployment, last, instances)]
    ready = sum(1 for health in boards if health.ready)
    asked = [health for health in boards if health.ready is not None]
    return derive_health(desired=wanted_replicas(release, last), ready=ready, known=bool(asked) or not boards)


def summaries(
    world: World, *, environment: str | None, state: State | None, limit: int, offset: int
) -> tuple[list[Summary], int]:
    """A page of the list, and how many match in all."""
    store = world.store
    ended_badly = store.last_rollouts()
    by_deployment: dict[str, list[Instance]] = {}
    for instance in store.instances():
        by_deployment.setdefault(instance.deployment, []).append(instance)
    found = []
    for deployment in store.deployments(environment):
        name = deployment.name
        last = ended_badly.get(name)
        open_rollout = last if last is not None and last.status.is_open else None
        release = store.release(name, deployment.current_version) if deployment.current_version else None
        health = health_of(world, deployment, release, last, by_deployment.get(name, []))
        derived = derive_state(
            open_rollout=open_rollout,
            last_rollout=last,
            current_version=deployment.current_version,
            health=health,
        )
        if state is None or derived is state:
            version = deployment.current_version or _spec(world, deployment, release, last).version
            found.append(Summary(name, version, deployment.environment, derived, health, deployment.updated_at))
    return found[offset : offset + limit], len(found)


def _spec(world: World, deployment: Deployment, release: Release | None, rollout: Rollout | None) -> Spec:
    """Of what is committed, else of what is or was tried, else of what is or was asked for."""
    if release is not None:
        return release.spec
    if rollout is not None:
        return rollout.spec
    asked = world.store.last_waiting(deployment.name)
    assert asked is not None, "a deployment exists from its first rollout on, or from the first that waits"
    return asked.spec


def _replicas(
    world: World,
    deployment: Deployment,
    spec: Spec,
    release: Release | None,
    open_rollout: Rollout | None,
    instances: list[Instance],
    newest: str | None,
) -> Replicas:
    """Counted are all that may serve: in a rollout old and new alike, never a set that is merely kept warm."""
    wanted = open_rollout.spec if open_rollout is not None else spec
    if open_rollout is not None:
        runs = bool(instances) and open_rollout.kind is not RolloutKind.stop
    else:
        runs = not deployment.stopped and (release.runs if release is not None else bool(instances))
    counted = [i for i in instances if i.retire_at is None]
    now = world.clock.monotonic()
    ready = [i for i in counted if world.board.of(i.id).ready]
    minimum = wanted.health_check.min_ready
    available = [i for i in ready if now - world.board.of(i.id).since >= minimum]
    return Replicas(
        desired=wanted.replicas if runs else 0,
        available=len(available),
        ready=len(ready),
        updated=sum(1 for i in counted if i.version == newest and (open_rollout is None or is_new(i, open_rollout))),
    )


def is_new(instance: Instance, rollout: Rollout) -> bool:
    """A redeploy of the same version has old and new instances of it."""
    return instance.id.startswith(f"{rollout.deployment}-{rollout.number}-")
