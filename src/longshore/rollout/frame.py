"""What every rollout has around its strategy: what is checked and fetched before, and tidied up after."""

from __future__ import annotations

from longshore.model import RolloutKind, Spec
from longshore.rollout.plan import Plan, Step, View
from longshore.rollout.steps.artifact import FetchArtifact
from longshore.rollout.steps.backup import CreateBackup
from longshore.rollout.steps.dependencies import CheckDependencies
from longshore.rollout.steps.health import HealthCheck
from longshore.rollout.steps.hooks import RunHooks
from longshore.rollout.steps.instances import RetireInstances
from longshore.rollout.steps.release import Commit, Prune, SwitchCurrent
from longshore.rollout.strategies import STRATEGIES, parts


def plan_rollout(view: View, spec: Spec, *, keep_releases: int) -> Plan:
    """The whole plan of a rollout: frame(strategy's steps)."""
    steps: list[Step]
    if view.kind is RolloutKind.rollback and view.current is not None and view.current.version == spec.version:
        # An aborted or held rollout has been undone before this: what serves is what was asked for.
        steps = [parts.commit(view, spec, parts.ids(view.serving))]
    elif view.runs:
        steps = STRATEGIES[spec.strategy].plan(view, spec)
    else:
        steps = files_only(view, spec)
    return frame(steps, view, spec, keep_releases=keep_releases)


def files_only(view: View, spec: Spec) -> list[Step]:
    """A release with nothing to run: every strategy is the atomic switch of `current`."""
    current = view.current.version if view.current else None
    return [
        SwitchCurrent(current, spec.version),
        parts.commit(view, spec, ()),
        *parts.shift(view, view.routing, None, name="stop_traffic"),
        *parts.drain_and_retire(view, parts.ids(view.serving)),
    ]


def frame(steps: list[Step], view: View, spec: Spec, *, keep_releases: int) -> Plan:
    """Put the common steps in front, before the commit, and at the end."""
    at = next(i for i, step in enumerate(steps) if isinstance(step, Commit))
    commit = steps[at]
    assert isinstance(commit, Commit)
    current = view.current.version if view.current else None
    before: list[Step] = [
        CheckDependencies(spec.dependencies),
        FetchArtifact(spec.version, spec.artifact_path, view.sha256, view.command, view.fetch),
        CreateBackup(current, view.directory_is_foreign),
        RunHooks("pre_deploy", spec.pre_deploy_hooks, tolerant=False, name="pre_deploy_hooks"),
    ]
    verified: list[Step] = [
        HealthCheck(commit.instances),
        RunHooks(
            "post_deploy",
            spec.post_deploy_hooks,
            tolerant=spec.post_deploy_failure == "warn",
            name="post_deploy_hooks",
        ),
    ]
    leftover = parts.ids(view.leftover)
    after: list[Step] = [*([RetireInstances(leftover)] if leftover else []), Prune(keep_releases)]
    return Plan((*before, *steps[:at], *verified, commit, *steps[at + 1 :], *after))
