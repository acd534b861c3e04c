"""What a user's command is told of the rollout that it runs in."""

from __future__ import annotations

from longshore.rollout.plan import Context

#: in the environment of every hook and check, and of nothing else: tells what a rollout's commands have started
ROLLOUT_VARIABLE = "DEPLOYMENT_ROLLOUT_ID"


def variables_of(context: Context) -> dict[str, str]:
    """What a user's command is told of the rollout that it runs in."""
    rollout, spec = context.rollout, context.spec
    release = context.world.store.release(context.name, rollout.version)
    return {
        "DEPLOYMENT_NAME": context.name,
        "DEPLOYMENT_VERSION": rollout.version,
        "DEPLOYMENT_PREVIOUS_VERSION": rollout.previous_version or "",
        "DEPLOYMENT_ENVIRONMENT": spec.environment,
        "DEPLOYMENT_STRATEGY": rollout.strategy,
        "DEPLOYMENT_RELEASE_DIR": release.path if release else spec.working_directory,
        ROLLOUT_VARIABLE: rollout.id,
    }
