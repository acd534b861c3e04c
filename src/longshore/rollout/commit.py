"""What the commit writes: the facts that make the new release the committed one."""

from __future__ import annotations

from dataclasses import replace

from longshore.model import ReleaseState, Rollout, RolloutKind
from longshore.rollout.steps.release import Commit
from longshore.store import Store


def write_commit(store: Store, rollout: Rollout, step: Commit, now: float) -> None:
    """Inside the caller's transaction. The release takes the spec it was rolled out with, so a rollback restores it."""
    deployment = store.deployment(rollout.deployment)
    release = store.release(rollout.deployment, step.version)
    assert deployment is not None
    assert release is not None
    command = rollout.spec.command if rollout.spec.command is not None else release.command
    release = replace(release, spec=rollout.spec, command=command or None, healthy_at=release.healthy_at or now)
    store.save_release(release)
    for id in step.instances:
        instance = store.instance(id)
        if instance is not None and instance.retire_at is not None:
            store.save_instance(replace(instance, retire_at=None))  # it was kept warm, and is needed again
    port = rollout.spec.public_port if release.runs else None
    store.save_deployment(
        replace(
            deployment,
            environment=rollout.spec.environment,
            public_port=port,
            current_version=step.version,
            previous_version=_previous(store, rollout, deployment.current_version, deployment.previous_version),
            instances=step.instances,
            # what could run, and is committed without instances
            stopped=release.runs and not step.instances,
        )
    )


def _previous(store: Store, rollout: Rollout, current: str | None, previous: str | None) -> str | None:
    """Which version a rollback without a version goes to from here.

    After a deploy: what served before. After a rollback: what was released before the version gone back to, so that
    rolling back again goes on into the past and never forth to what was just fled from.
    """
    if rollout.kind is RolloutKind.rollback:
        target = store.release(rollout.deployment, rollout.version)
        assert target is not None
        older = (
            release.version
            for release in store.releases(rollout.deployment)
            if release.created_at < target.created_at
            and release.healthy_at is not None
            and release.state is ReleaseState.kept
        )
        return next(older, None)
    return previous if current == rollout.version else current
