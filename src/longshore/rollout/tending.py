"""What serves while a rollout waits is kept running by the rollout: it holds the deployment's lock, so nobody else may.

A rollout waits for a person, or for a canary's figures: for minutes, or for days. Any other step is over within its
bound; what ended in one of those is started again here, by the undo, or by the monitor.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from longshore.concurrency import all_of
from longshore.drivers.base import DriverError
from longshore.errors import LeaseLost
from longshore.health.errands import RETRY_S
from longshore.health.mending import BACKOFF_S, STABLE_S
from longshore.model import InstanceState
from longshore.rollout.world import World
from longshore.routers.base import RouterError

log = logging.getLogger("longshore.tending")


async def keep_serving(world: World, name: str) -> None:
    """Until cancelled: start again what is committed and ends, with the monitor's back-off."""
    deployment = world.store.deployment(name)
    await all_of(*(_keep_up(world, name, id) for id in (deployment.instances if deployment else ())))


async def _keep_up(world: World, name: str, id: str) -> None:
    """For as long as this instance is to serve: one that is stopped, or drains, does no more."""
    while True:
        instance = world.store.instance(id)
        if instance is None or instance.state is InstanceState.stopped or id in world.board.muted:
            return
        try:
            ending = await world.readiness.ended(id) or await world.readiness.first_end((id,))
            up_for = world.clock.now() - (instance.started_at or 0.0)
            restarts = 1 if up_for > STABLE_S else instance.restarts + 1
            await world.clock.sleep(BACKOFF_S[min(restarts, len(BACKOFF_S)) - 1])
            message = f"{ending} It serves while the rollout waits: starting it again (restart {restarts})"
            world.event(name, "warning", message, source="rollout")
            world.store.save_instance(replace(instance, restarts=restarts))
            started = await world.fleet.start_again(id)
            world.board.mark(id, name, ready=False, message="started again after it ended")
            deployment = world.store.deployment(name)
            if started.port != instance.port and deployment is not None and deployment.routing is not None:
                # Its port had been taken by somebody while it was down: tell the router the new one.
                await world.router.apply(name, world.fleet.traffic(deployment.routing))
        except (DriverError, RouterError) as error:
            message = f"instance {id} could not be started again, which is tried again in {RETRY_S:g} s: {error}"
            world.event(name, "error", message, source="rollout")
            await world.clock.sleep(RETRY_S)
        except LeaseLost:
            return  # who waits for the rollout hears of it
        except Exception:
            log.exception("instance %s of %s could not be kept running", id, name)
            await world.clock.sleep(RETRY_S)
