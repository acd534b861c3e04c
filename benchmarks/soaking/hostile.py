"""What must be refused, with the right code, and must change nothing."""

from __future__ import annotations

import asyncio
import tarfile
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from longshore.client import ApiError, AsyncLongshore
from soaking.patience import patiently
from soaking.roles import App, spec
from soaking.stand import Stand

NOBODY = "nobody-here"
INVALID = "INVALID_DEPLOYMENT_SPEC"
#: refusals that are tried in one go
AT_ONCE = 6

Attempt = Callable[[Stand, App], Awaitable[object]]


async def refused(stand: Stand, app: App) -> str:
    """A handful of REFUSALS, by chance."""
    before = stand.facts(app.name)
    for name in app.chance.sample(list(REFUSALS), AT_ONCE):
        code, attempt = REFUSALS[name]
        await _try(stand, app, name, code, lambda attempt=attempt: attempt(stand, app))  # type: ignore[misc]
    if (after := stand.facts(app.name)) != before:
        stand.violated(f"what was refused changed {app.name}: {before} → {after}")
    return "refused"


async def conflicts(stand: Stand, app: App) -> None:
    """Everything that starts another rollout, or takes away its deployment, while one is in progress."""
    client, name = stand.client, app.name
    wanted = spec(stand, app)
    attempts: Mapping[str, Callable[[], Awaitable[object]]] = {
        "deploy": lambda: client.deploy(wanted),
        "delete": lambda: client.delete(name),
        **({} if app.role.files_only else {"restart": lambda: client.restart(name)}),
    }
    for verb, attempt in attempts.items():
        await _try(stand, app, f"{verb} while a rollout is paused", "DEPLOYMENT_IN_PROGRESS", attempt)


async def _try(stand: Stand, app: App, name: str, code: str, attempt: Callable[[], Awaitable[object]]) -> None:
    try:
        answer = await patiently(attempt)
    except ApiError as error:
        if error.code != code:
            stand.violated(f"{name} of {app.name} is {error.code}, not {code}: {error}")
    else:
        stand.violated(f"{name} of {app.name} was not refused: {answer}")


# ------------------------------------------------------------------------------------------- the attempts


def deploy_with(**fields: Any) -> Attempt:
    """A deploy that would be right but for these fields."""
    return lambda stand, app: stand.client.deploy(spec(stand, app, **fields))


async def other_content(stand: Stand, app: App) -> None:
    """The version that serves, with another content."""
    version = str(stand.facts(app.name)["current_version"])
    wanted = spec(stand, app)
    await asyncio.to_thread(Path(wanted["artifact_path"], "VERSION").write_text, "something else\n")
    await stand.client.deploy({**wanted, "version": version})


async def climbing(stand: Stand, app: App) -> None:
    """An archive that would write outside of its directory."""
    path = stand.directory / "artifacts" / f"{app.name}.climbing.tar"
    await asyncio.to_thread(_write_climbing, path)
    await stand.client.deploy(spec(stand, app, artifact_path=str(path)))


def _write_climbing(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("../../outside")
        member.size = 4
        archive.addfile(member, BytesIO(b"out\n"))


async def serving_version(stand: Stand, app: App) -> None:
    await stand.client.rollback(app.name, str(stand.facts(app.name)["current_version"]))


async def same_scale(stand: Stand, app: App) -> None:
    """As many as there are already; of files only, any number."""
    await stand.client.scale(app.name, max(1, len(stand.facts(app.name)["instances"])))


async def resume_what_is_over(stand: Stand, app: App) -> None:
    last = (await stand.client.rollouts(app.name, limit=1)).rollouts[0]
    await stand.client.resume(app.name, last.id)


async def abort_what_is_over(stand: Stand, app: App) -> None:
    last = (await stand.client.rollouts(app.name, limit=1)).rollouts[0]
    await stand.client.abort(app.name, last.id)


async def wrong_token(stand: Stand, app: App) -> None:
    async with AsyncLongshore(url=stand.client.endpoint.url, token="guessed") as stranger:
        await stranger.delete(app.name)


# To add a refusal: its code and what is tried, in a line here (and a function above, where it takes more than fields of
# a deploy). It is tried on deployments that nobody else works on, and nothing of them may change.
REFUSALS: dict[str, tuple[str, Attempt]] = {
    "an unknown field": (INVALID, deploy_with(replica=3)),
    "no replicas": (INVALID, deploy_with(replicas=0)),
    "a strategy that does not exist": (INVALID, deploy_with(strategy="purple")),
    "a version that is a path": (INVALID, deploy_with(version="../1.0")),
    "a reserved name": (INVALID, deploy_with(name="validate")),
    "a duration that is none": (INVALID, deploy_with(drain_timeout="soon")),
    "a canary of 300 percent": (INVALID, deploy_with(canary={"steps": [{"weight": 300}]})),
    "another environment": (INVALID, deploy_with(environment="elsewhere")),
    "no artifact": ("ARTIFACT_NOT_FOUND", deploy_with(artifact_path="/nowhere/at-all")),
    "an archive that climbs out": (INVALID, climbing),
    "an unknown dependency": ("DEPENDENCY_FAILED", deploy_with(dependencies=[NOBODY])),
    "the same version with other content": (INVALID, other_content),
    "a rollback to what never was": ("BACKUP_NOT_FOUND", lambda s, app: s.client.rollback(app.name, "0.0.0-never")),
    "a rollback to what serves": (INVALID, serving_version),
    "a scale to what there is": (INVALID, same_scale),
    "a scale to nothing": (INVALID, lambda s, app: s.client.scale(app.name, 0)),
    "a resume of what is over": (INVALID, resume_what_is_over),
    "an abort of what is over": (INVALID, abort_what_is_over),
    "a promote of nothing in progress": ("NOT_FOUND", lambda s, app: s.client.promote(app.name)),
    "a look at nobody": ("DEPLOYMENT_NOT_FOUND", lambda s, _: s.client.get(NOBODY)),
    "a rollback of nobody": ("DEPLOYMENT_NOT_FOUND", lambda s, _: s.client.rollback(NOBODY)),
    "a restart of nobody": ("DEPLOYMENT_NOT_FOUND", lambda s, _: s.client.restart(NOBODY)),
    "a delete of nobody": ("DEPLOYMENT_NOT_FOUND", lambda s, _: s.client.delete(NOBODY)),
    "a rollout that never was": ("NOT_FOUND", lambda s, app: s.client.rollout(app.name, "no-such-rollout")),
    "a token that was guessed": ("UNAUTHORIZED", wrong_token),
}
