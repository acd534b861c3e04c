"""What the strategies are built of: short runs of steps that always go together."""

from __future__ import annotations

from longshore.model import Instance, Pool, Routing, Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.health import AwaitReady
from longshore.rollout.steps.instances import RetireInstances, StartInstances, StopInstances
from longshore.rollout.steps.release import Commit
from longshore.rollout.steps.traffic import DrainInstances, ShiftTraffic, VerifyTraffic
from longshore.rollout.strategies.placing import host_of

Ids = tuple[str, ...]


def new_ids(view: View, spec: Spec) -> Ids:
    """Names of the instances this rollout is to end with: `NAME-NUMBER-SLOT`."""
    return tuple(f"{view.name}-{view.number}-{slot}" for slot in range(spec.replicas))


def ids(instances: tuple[Instance, ...]) -> Ids:
    return tuple(instance.id for instance in instances)


def new_pool(view: View, spec: Spec, instances: Ids) -> Pool:
    return Pool(view.pool_id, spec.version, instances, spec.probe_path)


def stable_pool(view: View) -> Pool | None:
    """The pool that serves now; None where nothing is routed, or nothing runs because the deployment is stopped."""
    pool = view.routing.stable if view.routing is not None else None
    return pool if pool is not None and pool.instances else None


def start(view: View, spec: Spec, instances: Ids, *, first_slot: int = 0) -> list[Step]:
    """Start them all at once, each on its host, then wait until all are ready."""
    return start_numbered(view, spec, tuple((id, first_slot + offset) for offset, id in enumerate(instances)))


def start_numbered(
    view: View, spec: Spec, instances: tuple[tuple[str, int], ...], hosts: tuple[str, ...] | None = None
) -> list[Step]:
    """As start(), of (id, slot). hosts: where each goes; None: where its slot says."""
    if not instances:
        return []
    if hosts is None:
        hosts = tuple(host_of(view, slot) for _, slot in instances)
    return [
        StartInstances(spec.version, instances, hosts if view.is_far else ()),
        AwaitReady(tuple(id for id, _ in instances)),
    ]


def shift(view: View, before: Routing | None, after: Routing | None, *, name: str = "") -> list[Step]:
    """Apply, then verify: two steps, so that nothing old is stopped before the router is known to use the new."""
    if before == after or not (view.routed or before):
        return []
    steps: list[Step] = [ShiftTraffic(before, after, name=name)]
    return [*steps, VerifyTraffic(after)] if after is not None else steps


def drain_and_stop(view: View, instances: Ids) -> list[Step]:
    """Before the commit: they may have to come back."""
    if not instances:
        return []
    drain: list[Step] = [DrainInstances(instances)] if view.routing is not None else []
    return [*drain, StopInstances(instances)]


def drain_and_retire(view: View, instances: Ids) -> list[Step]:
    """After the commit: for good."""
    if not instances:
        return []
    drain: list[Step] = [DrainInstances(instances)] if view.routing is not None else []
    return [*drain, RetireInstances(instances)]


def commit(view: View, spec: Spec, instances: Ids) -> Step:
    return Commit(spec.version, view.current.version if view.current else None, instances)


def settled(view: View, spec: Spec, instances: Ids) -> Routing | None:
    """The routing that a rollout ends with: the new pool alone; None where the release is not routed."""
    if not view.routed:
        return None
    assert spec.public_port is not None
    return Routing(spec.public_port, new_pool(view, spec, instances), sticky=spec.canary.sticky)
