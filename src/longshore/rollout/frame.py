"""What every rollout has around its strategy: what is checked and fetched before, and tidied up after."""

from __future__ import annotations

from longshore.model import RolloutKind, Spec, StrategyName
from longshore.rollout.plan import Plan, Step, View
from longshore.rollout.scaling import scale
from longshore.rollout.steps.artifact import FetchArtifact
from longshore.rollout.steps.backup import CreateBackup
from longshore.rollout.steps.copy_release import CopyRelease
from longshore.rollout.steps.dependencies import CheckDependencies
from longshore.rollout.steps.health import HealthCheck
from longshore.rollout.steps.hooks import RunHooks
from longshore.rollout.steps.hosts import CheckHosts, PruneHosts, ShipRelease, SwitchHosts
from longshore.rollout.steps.instances import RetireInstances
from longshore.rollout.steps.release import Commit, Prune, SwitchCurrent
from longshore.rollout.stopping import stop
from longshore.rollout.strategies import STRATEGIES, parts


def plan_rollout(view: View, spec: Spec, strategy: StrategyName | None = None, *, keep_releases: int) -> Plan:
    """The whole plan of a rollout. strategy: where it is not the spec's own."""
    strategy = strategy or spec.strategy
    match view.kind:
        case RolloutKind.scale:
            return bare(scale(view, spec))
        case RolloutKind.restart | RolloutKind.start:
            return bare(STRATEGIES[strategy].plan(view, spec))
        case RolloutKind.stop:
            return Plan(tuple(stop(view, spec)))
        case RolloutKind.rollback if view.current is not None and view.current.version == spec.version:
            # An aborted or held rollout has been undone before this: what serves is what was asked for. What is
            # stopped stays so, and cannot be asked for its health.
            commit = parts.commit(view, spec, parts.ids(view.serving))
            return bare([commit]) if view.serving or not view.runs else Plan((commit,))
        case RolloutKind.deploy | RolloutKind.rollback | RolloutKind.change:
            steps = STRATEGIES[strategy].plan(view, spec) if view.runs else files_only(view, spec)
            return frame(steps, view, spec, keep_releases=keep_releases)


def files_only(view: View, spec: Spec) -> list[Step]:
    """A release with nothing to run: every strategy is the atomic switch of `current`."""
    current = view.current.version if view.current else None
    return [
        SwitchCurrent(current, spec.version),
        *_switch(view, spec),
        parts.commit(view, spec, ()),
        *parts.shift(view, view.routing, None, name="stop_traffic"),
        *parts.drain_and_retire(view, parts.ids(view.serving)),
    ]


def bare(steps: list[Step]) -> Plan:
    """Around steps that bring no other release: no fetching and no hooks, only the check before the commit. What starts
    an instance sees to it by itself that the release stands on its host.

    A warm set stays as it is, in the routing too: the monitor retires it when its time is over.
    """
    at, commit = _commit(steps)
    return Plan((*steps[:at], HealthCheck(commit.instances), *steps[at:]))


def frame(steps: list[Step], view: View, spec: Spec, *, keep_releases: int) -> Plan:
    """Put the common steps in front, before the commit, and at the end."""
    at, commit = _commit(steps)
    current = view.current.version if view.current else None
    before: list[Step] = [
        CheckDependencies(spec.dependencies),
        *_check_hosts(view),
        _release(view, spec),
        CreateBackup(current, view.directory_is_foreign),
        *_ship(view, spec),
        RunHooks(
            "pre_deploy",
            spec.pre_deploy_hooks,
            tolerant=False,
            hosts=_hook_hosts(view, spec),
            name="pre_deploy_hooks",
        ),
    ]
    verified: list[Step] = [
        HealthCheck(commit.instances),
        RunHooks(
            "post_deploy",
            spec.post_deploy_hooks,
            tolerant=spec.post_deploy_failure == "warn",
            hosts=_hook_hosts(view, spec),
            name="post_deploy_hooks",
        ),
        # Of files alone the switch is the rollout, and comes before they are looked at.
        *(_switch(view, spec) if view.runs else ()),
    ]
    after = (*_retire_leftover(view), Prune(keep_releases), *_prune_hosts(view))
    return Plan((*before, *steps[:at], *verified, commit, *steps[at + 1 :], *after))


def _release(view: View, spec: Spec) -> Step:
    """What makes the release stand in its directory."""
    if view.source is not None:
        return CopyRelease(spec.version, view.source.version)
    return FetchArtifact(spec.version, spec.artifact_path, view.sha256, view.command, view.fetch)


def _check_hosts(view: View) -> tuple[Step, ...]:
    return (CheckHosts(view.hosts),) if view.is_far else ()


def _ship(view: View, spec: Spec) -> tuple[Step, ...]:
    new = view.fetch or view.source is not None
    return (ShipRelease(spec.version, view.hosts, new),) if view.is_far else ()


def _switch(view: View, spec: Spec) -> tuple[Step, ...]:
    current = view.current.version if view.current else None
    return (SwitchHosts(current, spec.version, view.hosts),) if view.is_far else ()


def _hook_hosts(view: View, spec: Spec) -> tuple[str, ...]:
    return view.hosts if view.is_far and spec.hooks_on != "local" else ()


def _prune_hosts(view: View) -> tuple[Step, ...]:
    return (PruneHosts(view.hosts),) if view.is_far else ()


def _commit(steps: list[Step]) -> tuple[int, Commit]:
    """Where a strategy commits."""
    return next((at, step) for at, step in enumerate(steps) if isinstance(step, Commit))


def _retire_leftover(view: View) -> tuple[Step, ...]:
    """An older warm set has no use any more."""
    leftover = parts.ids(view.leftover)
    return (RetireInstances(leftover),) if leftover else ()
