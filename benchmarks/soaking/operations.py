"""What users do: each operation of the API, by chance, and whether it ended as it may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from longshore.client import ApiError, ClientError, ConnectionLost, DeploymentNotFound, ManagerUnreachable
from longshore.rollout.strategies import STRATEGIES
from soaking.stand import HELD_S, App, Stand

REPLICAS = (2, 3)
#: seconds between two operations on the same deployment
PAUSE_S = (0.5, 4.0)
#: after a rollout began, until it is aborted
ABORT_AFTER_S = (0.0, 2.5)
#: nothing that is done here takes that long, recoveries included
BOUND_S = 120.0
CHECKS = {"interval": "1s", "timeout": "1s", "deadline": "15s", "healthy_threshold": 1}
QUICK_TO_JUDGE = {**CHECKS, "interval": "300ms", "timeout": "500ms", "deadline": "800ms"}

Operation = Callable[[Stand, App], Awaitable[str]]


async def work(stand: Stand, app: App, until: float) -> None:
    """One operation after the other on one deployment, until time.monotonic() is `until`."""
    names = [name for name in OPERATIONS if name != "delete and deploy" or not app.loaded]
    # Without deploys there is nothing to go back to.
    names += ["deploy", "deploy"]
    while time.monotonic() < until:
        name = app.chance.choice(names)
        since = time.monotonic()
        try:
            outcome = await OPERATIONS[name](stand, app)
        except ApiError as error:
            outcome = await _failed(stand, app, name, since, error)
        except ManagerUnreachable as error:
            outcome = "manager away"
            if not stand.disturbed(app, since):
                stand.violated(f"{name} of {app.name}: {error}")
        except ClientError as error:
            outcome = f"no outcome: {type(error).__name__}"
            stand.violated(f"{name} of {app.name}: the client lost the outcome: {error}")
        stand.outcomes[name, outcome] += 1
        await asyncio.sleep(app.chance.uniform(*PAUSE_S))


async def _failed(stand: Stand, app: App, name: str, since: float, error: ApiError) -> str:
    """A failure is right where a fault came in between; else it is one of Longshore's."""
    if error.details.get("rolled_back") is False:
        stand.violated(f"{name} of {app.name} was not undone: {error.code}: {error}: {error.cause}")
    if stand.disturbed(app, since):
        return f"{error.code}, by a fault"
    stand.violated(f"{name} of {app.name} failed without a fault: {error.code}: {error}: {error.cause}")
    return error.code


def spec(stand: Stand, app: App, *, broken: bool = False) -> dict[str, Any]:
    """A deploy of the next version by a random strategy."""
    version = f"{app.name}-{next(app.versions)}"
    return stand.spec(
        version,
        app.chance.choice(list(STRATEGIES)),
        broken=broken,
        name=app.name,
        health_check_url=f"http://127.0.0.1:{app.port}/health",
        replicas=app.chance.choice(REPLICAS),
        health_check=QUICK_TO_JUDGE if broken else CHECKS,
        pre_deploy_hooks=["sleep 0.1"],
        canary={"steps": [{"weight": 20, "pause": "500ms"}, {"weight": 50, "pause": "500ms"}, {"weight": 100}]},
        blue_green={"keep_old": "5s"},
        drain_timeout=f"{2 * HELD_S + 2:g}s",
    )


# ------------------------------------------------------------------------------------------- the operations


async def deploy(stand: Stand, app: App) -> str:
    await stand.client.deploy(spec(stand, app), timeout=BOUND_S)
    return "done"


async def deploy_broken(stand: Stand, app: App) -> str:
    try:
        await stand.client.deploy(spec(stand, app, broken=True), timeout=BOUND_S)
    except ApiError as error:
        if not error.details.get("rolled_back"):
            raise
        return "undone"
    stand.violated(f"a broken release of {app.name} was rolled out")
    return "done"


async def roll_back(stand: Stand, app: App) -> str:
    releases = (await stand.client.releases(app.name)).releases
    try:
        await stand.client.rollback(app.name, timeout=BOUND_S)
    except ApiError as error:
        if error.code == "BACKUP_NOT_FOUND" and not any(release.previous for release in releases):
            return "nothing to go back to"
        raise
    return "done"


async def abort(stand: Stand, app: App) -> str:
    rollout = await stand.client.deploy(spec(stand, app), wait=False)
    await asyncio.sleep(app.chance.uniform(*ABORT_AFTER_S))
    # Past its commit a rollout is only finished, and says so; and the manager may be down just now.
    with suppress(ClientError):
        await stand.client.abort(app.name, rollout.id, reason="a user of the soak changed his mind")
    over = await stand.client.wait(app.name, rollout.id, timeout=BOUND_S)
    if over.status not in ("succeeded", "unwound"):
        stand.violated(f"the aborted rollout of {app.name} ended {over.status}: {over.message}")
    return {"unwound": "undone", "succeeded": "too late"}.get(over.status, over.status)


async def restart(stand: Stand, app: App) -> str:
    await stand.client.restart(app.name, timeout=BOUND_S)
    return "done"


async def scale(stand: Stand, app: App) -> str:
    now = (await stand.client.get(app.name)).replicas.desired
    await stand.client.scale(app.name, next(number for number in REPLICAS if number != now), timeout=BOUND_S)
    return "done"


async def delete_and_deploy(stand: Stand, app: App) -> str:
    since = time.monotonic()
    await _delete(stand, app, since + BOUND_S)
    if (stand.manager.data_dir / "apps" / app.name).exists():
        stand.violated(f"{app.name} was deleted, and its files are there")
    while True:
        try:
            await stand.client.deploy(spec(stand, app), timeout=BOUND_S)
            return "done"
        except ApiError:
            # A first deploy has nothing to go back to: what a fault undid is deployed again, or nothing serves.
            if not stand.disturbed(app, since) or time.monotonic() > since + BOUND_S:
                raise


async def _delete(stand: Stand, app: App, deadline: float) -> None:
    while True:
        try:
            await stand.client.delete(app.name)
            return
        except DeploymentNotFound:
            return
        except (ConnectionLost, ManagerUnreachable):
            # The client does not repeat a delete: whoever asked for it does, once the manager is back.
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


# To add an operation: a function here that answers how it ended in a few words and raises what the client raises, and a
# line below. What it leaves is judged by soaking/invariants.py. Those on deployments under load must keep the promises.
# docs/reliability.md names them in its section on the soak.
OPERATIONS: dict[str, Operation] = {
    "deploy": deploy,
    "deploy broken": deploy_broken,
    "roll back": roll_back,
    "abort": abort,
    "restart": restart,
    "scale": scale,
    "delete and deploy": delete_and_deploy,
}
