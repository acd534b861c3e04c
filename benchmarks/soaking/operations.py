"""What users do: each operation of the API, by chance, and whether it ended as it may."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from longshore.client import (
    ApiError,
    ClientError,
    ConnectionLost,
    DeploymentNotFound,
    InternalError,
    ManagerUnreachable,
)
from soaking.hostile import refused
from soaking.patience import BOUND_S, patiently
from soaking.roles import App, Turn, files, spec
from soaking.stand import Stand
from soaking.steering import abort, pause_and_resume, promote

#: seconds between two operations on the same deployment
PAUSE_S = (4.0, 14.0)

Operation = Callable[[Stand, App], Awaitable[str]]


async def work(stand: Stand, app: App, until: float) -> None:
    """One operation after the other on one deployment, until time.monotonic() is `until`."""
    names = [name for name, (_, fits, weight) in OPERATIONS.items() if fits(app) for _ in range(weight)]
    await asyncio.sleep(app.chance.uniform(0, PAUSE_S[1]))
    while time.monotonic() < until:
        name = app.chance.choice(names)
        turn = Turn(name, time.monotonic())
        app.turns.append(turn)
        stand.outcomes[name, await outcome(stand, app, name, turn.began)] += 1
        turn.ended = time.monotonic()
        for artifact in (stand.directory / "artifacts").glob(f"{app.name}.*"):
            await asyncio.to_thread(shutil.rmtree if artifact.is_dir() else Path.unlink, artifact)
        await asyncio.sleep(app.chance.uniform(*PAUSE_S))


async def outcome(stand: Stand, app: App, name: str, since: float) -> str:
    """How it ended, in a few words. What it may not end in is a violation."""
    try:
        return await OPERATIONS[name][0](stand, app)
    except ApiError as error:
        return _failed(stand, app, name, since, error)
    except ManagerUnreachable as error:
        if not stand.disturbed(app, since):
            stand.violated(f"{name} of {app.name}: {error}")
        return "manager away"
    except (ClientError, TimeoutError) as error:
        stand.violated(f"{name} of {app.name}: the client lost the outcome: {error}")
        return f"no outcome: {type(error).__name__}"


def _failed(stand: Stand, app: App, name: str, since: float, error: ApiError) -> str:
    """A failure is right where a fault came in between; else it is one of Longshore's."""
    if error.details.get("rolled_back") is False:
        stand.violated(f"{name} of {app.name} was not undone: {error.code}: {error}: {error.cause}")
    if stand.disturbed(app, since):
        return f"{error.code}, by a fault"
    if "DEPENDENCY_FAILED" in (error.code, error.cause.partition(":")[0]) and any(
        stand.app(need).worked_on(since) or stand.disturbed(stand.app(need), since) for need in app.role.needs
    ):
        return "dependency was being worked on"
    stand.violated(f"{name} of {app.name} failed without a fault: {error.code}: {error}: {error.cause}")
    return error.code


# ------------------------------------------------------------------------------------------- rollouts


async def deploy(stand: Stand, app: App) -> str:
    await stand.client.deploy(spec(stand, app), timeout=BOUND_S)
    return "done"


async def deploy_twice(stand: Stand, app: App) -> str:
    """Two clients with the same key are one rollout."""
    wanted, key = spec(stand, app), secrets.token_hex(8)
    calls = (stand.client.deploy(wanted, idempotency_key=key, timeout=BOUND_S) for _ in range(2))
    rollouts = set[str]()
    for each in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(each, BaseException):
            raise each
        rollouts.add(each.id)
    if len(rollouts) != 1:
        stand.violated(f"one key, several rollouts of {app.name}: {rollouts}")
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
    return await _roll_back(stand, app, None)


async def roll_back_to(stand: Stand, app: App) -> str:
    """To a version that the manager itself names as one that it is possible for."""
    releases = (await patiently(lambda: stand.client.releases(app.name))).releases
    kept = [each.version for each in releases if each.state == "kept" and each.healthy_at and not each.current]
    return await _roll_back(stand, app, app.chance.choice(kept)) if kept else "nothing to go back to"


async def _roll_back(stand: Stand, app: App, version: str | None) -> str:
    releases = (await patiently(lambda: stand.client.releases(app.name))).releases
    try:
        went = await stand.client.rollback(app.name, version, timeout=BOUND_S)
    except ApiError as error:
        if error.code == "BACKUP_NOT_FOUND" and not version and not any(release.previous for release in releases):
            return "nothing to go back to"
        raise
    if version and went.version != version:
        stand.violated(f"{app.name} was to go back to {version} and went to {went.version}")
    return "done"


async def restart(stand: Stand, app: App) -> str:
    await stand.client.restart(app.name, timeout=BOUND_S)
    return "done"


async def scale(stand: Stand, app: App) -> str:
    now = (await patiently(lambda: stand.client.get(app.name))).replicas.desired
    wanted = app.chance.choice([number for number in app.role.replicas if number != now])
    await stand.client.scale(app.name, wanted, timeout=BOUND_S)
    return "done"


# ------------------------------------------------------------------------------------------- without a rollout


async def plan_and_validate(stand: Stand, app: App) -> str:
    """Both look at a deploy that could be, and change nothing."""
    wanted, before = spec(stand, app), stand.facts(app.name)
    said = await patiently(lambda: stand.client.validate(wanted))
    steps = (await patiently(lambda: stand.client.plan(wanted))).steps
    if not said.valid or not steps:
        stand.violated(f"a deploy of {app.name} is said to be impossible: {said}, {len(steps)} steps")
    if (after := stand.facts(app.name)) != before:
        stand.violated(f"validate and plan of {app.name} changed something: {before} → {after}")
    return "done"


async def look(stand: Stand, app: App) -> str:
    """Everything that can be read, and streams that are left in the middle."""
    client = stand.client
    await patiently(lambda: client.health(app.name))
    await patiently(lambda: client.list())
    await patiently(lambda: client.events(app.name))
    last = (await patiently(lambda: client.rollouts(app.name))).rollouts[0]
    await patiently(lambda: client.logs(app.name))

    async def follow() -> None:
        async for _ in client.watch(app.name, last.id):
            pass
        async for _ in client.follow_logs(app.name):
            pass

    with suppress(TimeoutError, ClientError):
        async with asyncio.timeout(1.0):
            await follow()
    return "done"


async def delete_and_deploy(stand: Stand, app: App) -> str:
    since = time.monotonic()
    await _delete(stand, app.name)
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


async def come_and_go(stand: Stand, app: App) -> str:
    """A deployment that nobody has heard of before, and that nobody will hear of again."""
    name, since = f"guest-{secrets.token_hex(4)}", time.monotonic()
    try:
        await stand.client.deploy(files(stand, name, f"{app.name}.{name}", "recreate"), timeout=BOUND_S)
    except ApiError:
        if not stand.disturbed(app, since):
            raise
    await _delete(stand, name)
    return "done"


async def _delete(stand: Stand, name: str) -> None:
    deadline = time.monotonic() + BOUND_S
    while True:
        try:
            await stand.client.delete(name)
            return
        except DeploymentNotFound:
            return
        except (ConnectionLost, InternalError, ManagerUnreachable):
            # The client does not repeat a delete: whoever asked for it does, once the manager is back. One that is just
            # stopping says so, by an INTERNAL_ERROR, and its successor takes away what it had begun to.
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


def anything(_: App) -> bool:
    return True


def runs(app: App) -> bool:
    return not app.role.files_only


def canary(app: App) -> bool:
    return "canary" in app.role.strategies and runs(app)


def passing(app: App) -> bool:
    return app.name == "passing"


# To add an operation: a function here that answers how it ended in a few words and raises what the client raises, and a
# line below: it, which deployments it fits, how often beside the others. invariants.py judges what it leaves.
# docs/reliability.md names them in its section on the soak.
OPERATIONS: dict[str, tuple[Operation, Callable[[App], bool], int]] = {
    "deploy": (deploy, anything, 4),
    "deploy twice": (deploy_twice, anything, 1),
    "deploy broken": (deploy_broken, runs, 2),
    "roll back": (roll_back, anything, 2),
    "roll back to": (roll_back_to, anything, 1),
    "restart": (restart, runs, 1),
    "scale": (scale, runs, 2),
    "abort": (abort, anything, 2),
    "pause and resume": (pause_and_resume, anything, 1),
    "promote": (promote, canary, 1),
    "plan and validate": (plan_and_validate, anything, 1),
    "look": (look, anything, 1),
    "what is refused": (refused, anything, 2),
    "come and go": (come_and_go, anything, 1),
    "delete and deploy": (delete_and_deploy, passing, 4),
}
