"""What users ask of a rollout while it runs: abort, pause, resume, promote."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from longshore.client import ApiError, ClientError
from soaking.hostile import conflicts
from soaking.patience import BOUND_S, patiently, until_status
from soaking.roles import App, spec
from soaking.stand import Stand

#: after a rollout began, until somebody wants something of it
AFTER_S = (0.0, 2.5)
#: each pause of a canary that somebody is to promote: nobody waits for that long
LONG_PAUSE = "90s"


async def abort(stand: Stand, app: App) -> str:
    rollout = await stand.client.deploy(spec(stand, app), wait=False)
    await asyncio.sleep(app.chance.uniform(*AFTER_S))
    # Past its commit a rollout is only finished, and says so; and the manager may be down just now.
    with suppress(ClientError):
        await stand.client.abort(app.name, rollout.id, reason="a user of the soak changed his mind")
    return await _over(stand, app, rollout.id, "aborted", None)


async def pause_and_resume(stand: Stand, app: App) -> str:
    """Whatever comes while it is paused is refused, and nothing goes on; a manager that is killed changes nothing."""
    since = time.monotonic()
    rollout = await stand.client.deploy(spec(stand, app), wait=False)
    with suppress(ApiError):  # over already, or past its commit
        await patiently(lambda: stand.client.pause(app.name, rollout.id))
    if (await until_status(stand, app, rollout.id, {"paused"})).status == "paused":
        before = stand.rows("SELECT count(*) AS steps FROM journal WHERE rollout_id = ?", rollout.id)
        await conflicts(stand, app)
        after = stand.rows("SELECT count(*) AS steps FROM journal WHERE rollout_id = ?", rollout.id)
        if before != after:
            stand.violated(f"a rollout of {app.name} went on while it was paused: {before} and {after}")
        with suppress(ApiError):  # asked for twice, where the manager was killed while it answered
            await patiently(lambda: stand.client.resume(app.name, rollout.id))
    return await _over(stand, app, rollout.id, "paused", since)


async def promote(stand: Stand, app: App) -> str:
    """Nobody waits for a canary's pauses once it was promoted."""
    since = time.monotonic()
    steps = [{"weight": weight, "pause": LONG_PAUSE} for weight in (20, 50)] + [{"weight": 100}]
    wanted = spec(stand, app, strategy="canary", canary={"steps": steps})
    rollout = await stand.client.deploy(wanted, wait=False)
    await asyncio.sleep(app.chance.uniform(*AFTER_S))
    with suppress(ApiError):  # a fault ended it
        await patiently(lambda: stand.client.promote(app.name, rollout.id))
    return await _over(stand, app, rollout.id, "promoted", since)


async def _over(stand: Stand, app: App, rollout: str, verb: str, since: float | None) -> str:
    """How it ended. since: a fault from then on may have had it undone; None: that is what was asked for."""
    over = await stand.client.wait(app.name, rollout, timeout=BOUND_S)
    if over.status == "succeeded":
        return "done" if since is not None else "too late"
    dependency = over.error is not None and over.error.code == "DEPENDENCY_FAILED"
    may_be_undone = since is None or dependency or stand.disturbed(app, since)
    if over.status != "unwound" or not may_be_undone:
        stand.violated(f"the {verb} rollout of {app.name} ended {over.status}: {over.message}")
    return "undone" if over.status == "unwound" else over.status
