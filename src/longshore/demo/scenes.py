"""What the demo shows, in order. Each scene leaves one version serving, and says how it went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from longshore.client import ApiError, HealthCheckFailed
from longshore.client.results import Progress
from longshore.demo.ledger import Ledger
from longshore.demo.stage import NAME, Stage

#: how far a rolling rollout has come, in percent, when its manager is killed
KILL_AT_PCT = 45
#: seconds that nobody manages anything
ABSENCE_S = 0.5

Tell = Callable[[str, int], None]


class SceneFailed(Exception):
    """The manager did something else than the scene is there to show."""


@dataclass(frozen=True, slots=True)
class Play:
    """What a scene gets to work with."""

    stage: Stage
    ledger: Ledger
    #: tell(what happens, percent)
    tell: Tell

    def on_progress(self, message: Progress) -> None:
        self.tell(f"{message.step}  {message.message}".strip(), message.progress_pct)

    async def deploy(self, version: str, strategy: str, **fields: Any) -> None:
        await self.stage.client.deploy(self.stage.spec(version, strategy, **fields), on_progress=self.on_progress)
        await self.expect(version)

    async def expect(self, version: str) -> None:
        """Raises SceneFailed unless this version serves, healthy."""
        status = await self.stage.client.get(NAME)
        if (status.version, status.state) != (version, "healthy"):
            raise SceneFailed(f"{status.version} is {status.state}; expected {version} to be healthy")


@dataclass(frozen=True, slots=True)
class Scene:
    title: str
    #: what to look at
    about: str
    #: returns the result, a few words
    play: Callable[[Play], Awaitable[str]]


async def first(play: Play) -> str:
    await play.deploy("1.0", "recreate")
    return "1.0 serves"


async def recreate(play: Play) -> str:
    await play.deploy("2.0", "recreate")
    return "2.0 serves"


async def rolling(play: Play) -> str:
    await play.deploy("3.0", "rolling")
    return "3.0 serves"


async def blue_green(play: Play) -> str:
    await play.deploy("4.0", "blue-green")
    return "4.0 serves, 3.0 is warm"


async def rollback(play: Play) -> str:
    first_row, started = len(play.ledger), time.monotonic()
    await play.stage.client.rollback(NAME, on_progress=play.on_progress)
    await play.expect("3.0")
    last = play.ledger.last_answer("4.0", first_row)
    milliseconds = max(0.0, (last or started) - started) * 1000
    return f"3.0 again, last 4.0 after {milliseconds:.0f} ms"


async def canary(play: Play) -> str:
    await play.deploy("5.0", "canary")
    return "5.0 serves"


async def broken(play: Play) -> str:
    quick_to_judge = {"interval": "1s", "timeout": "1s", "deadline": "2s", "healthy_threshold": 1}
    try:
        await play.deploy("6.0", "rolling", broken=True, health_check=quick_to_judge)
    except HealthCheckFailed as error:
        if not error.details.get("rolled_back"):
            raise SceneFailed("6.0 failed, as it should, but was not rolled back") from error
        await play.expect("5.0")
        return "refused, 5.0 serves"
    raise SceneFailed("6.0 never became healthy and was rolled out all the same")


async def killed(play: Play) -> str:
    client = play.stage.client
    rollout = await client.deploy(play.stage.spec("7.0", "rolling"), wait=False)
    async for message in client.watch(NAME, rollout.id):
        play.on_progress(message)
        if message.progress_pct >= KILL_AT_PCT:
            break
    await play.stage.manager.kill()
    play.tell("manager killed (SIGKILL); nobody is in charge", KILL_AT_PCT)
    await asyncio.sleep(ABSENCE_S)
    seconds = await play.stage.start_manager()
    play.tell(f"manager is back, ready after {seconds:.2f} s, and settles the rollout", KILL_AT_PCT)
    over = await play.stage.client.wait(NAME, rollout.id, on_progress=play.on_progress, timeout=60)
    if over.status not in ("succeeded", "unwound"):
        raise SceneFailed(f"the rollout ended {over.status}: {over.message}")
    await play.expect("7.0" if over.success else "5.0")
    return "finished, 7.0 serves" if over.success else "undone, 5.0 serves"


# To add a scene: a function above that takes a Play and returns a few words (or raises SceneFailed), and a line
# below. It finds the version that the scene before left serving; the load goes on all the while, except during
# OPENING, which is there to give it something to talk to.
OPENING = Scene("first deploy", "three replicas of 1.0, and a public port", first)
SCENES: tuple[Scene, ...] = (
    Scene("recreate", "all old ones stop before the new ones start; requests wait at the door", recreate),
    Scene("rolling", "one instance after the other", rolling),
    Scene("blue-green", "a second set starts beside the first, then one switch", blue_green),
    Scene("rollback by hand", "the switch back: the first set is still warm", rollback),
    Scene("canary", "5, 25, 50, 100 % of the requests, compared with the stable version", canary),
    Scene("a broken version", "it never becomes healthy, so it is rolled back by itself", broken),
    Scene("kill -9 the manager", "in the middle of a rolling rollout; the next one settles it", killed),
)


def reason(error: ApiError | SceneFailed) -> str:
    """Why a scene failed, for the table."""
    if isinstance(error, SceneFailed):
        return str(error)
    return f"{error.code}: {error.message}" + (f" ({error.cause})" if error.cause else "")
