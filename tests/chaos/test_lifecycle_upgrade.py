"""An upgrade of Longshore in the middle of a rollout, and a step back from one: what is stored is what is run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from longshore.client.results import Rollout
from support.backends import free_port
from support.envoy import needs_envoy
from support.kills import LIGHT, REPLICAS, SHORT, nothing_lost
from support.manager import Site, bounded, open_site
from support.successors import VERSION, newer, successor

pytestmark = [needs_envoy, pytest.mark.slow]

#: the load's slow request keeps a drain waiting, before which a rollout is found committed
HELD = {**LIGHT, "held_s": 3.0}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=REPLICAS) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        yield site


@pytest.fixture(scope="session")
def tomorrow(tmp_path_factory: pytest.TempPathFactory) -> str:
    return newer(tmp_path_factory.mktemp("tomorrow"))


async def start(site: Site, code: str | None) -> None:
    """A manager of other code; None: of this one."""
    successor(site, code)
    await site.restart()


def planned(site: Site, rollout: Rollout) -> list[str]:
    (row,) = site.rows(f"SELECT plan FROM rollouts WHERE id = '{rollout.id}'")
    return [step["name"] for step in json.loads(row["plan"])["steps"]]


async def caught(site: Site, there: Callable[[Rollout], bool], what: str) -> Rollout:
    async def looking() -> Rollout:
        while True:
            last = await site.last_rollout()
            assert last is not None
            seen = await site.client.rollout("shop", last.id)
            if there(seen):
                return seen
            assert not seen.is_over, f"over before {what}: {seen.message}"

    return await bounded(looking(), 30.0, what)


async def in_a_hook(site: Site) -> Rollout:
    await site.begin("2.0", "rolling", **SHORT, pre_deploy_hooks=["sleep 300"])
    return await caught(site, lambda seen: bool(site.hooks()), "the hook runs")


async def paused(site: Site) -> Rollout:
    rollout = await site.begin("2.0", "rolling", **SHORT)
    assert rollout is not None
    await site.client.pause("shop", rollout.id)
    return await caught(site, lambda seen: seen.status == "paused", "it is paused")


async def committed(site: Site) -> Rollout:
    await site.begin("2.0", "canary", **SHORT)
    return await caught(site, lambda seen: seen.status == "committed", "it is committed")


async def let_be(site: Site, rollout: Rollout) -> None:
    return None


async def resumed(site: Site, rollout: Rollout) -> None:
    await caught(site, lambda seen: seen.status == "paused", "it is paused still")
    await site.client.resume("shop", rollout.id)


#: where the upgrade comes in, how the old manager ends, what a person does then, and how the rollout ends
MOMENTS: dict[str, tuple[Any, str, Any, str]] = {
    "in a hook": (in_a_hook, "stop", let_be, "unwound"),
    "paused": (paused, "kill", resumed, "succeeded"),
    "committed": (committed, "stop", let_be, "succeeded"),
}


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_rollout_is_run_to_its_end_as_it_was_planned_before_the_upgrade(
    moment: str, site: Site, tomorrow: str
) -> None:
    begin, end, act, status = MOMENTS[moment]
    async with site.load(**HELD) as load:
        rollout = await begin(site)
        plan = planned(site, rollout)
        await (site.manager.kill() if end == "kill" else site.manager.stop())
        await start(site, tomorrow)
        await act(site, rollout)
        ended = await site.until_over()
        assert (ended.id, ended.status) == (rollout.id, status), ended.message
        assert planned(site, rollout) == plan
        ran = [step.name for step in ended.steps if not step.undo]
        assert ran == plan[: len(ran)]
        assert await site.settled(REPLICAS) == ("2.0" if status == "succeeded" else "1.0")
        await site.deploy("3.0", "rolling", **SHORT)
        assert "consider" in planned(site, await site.until_over()), "it is not the other version that runs"
        assert await site.settled() == "3.0"
    nothing_lost(load)


async def test_a_step_back_in_the_middle_of_a_rollout_leaves_it_stuck_with_the_remedy_and_everything_serving(
    site: Site, tomorrow: str
) -> None:
    await site.manager.stop()
    await start(site, tomorrow)
    async with site.load(**LIGHT) as load:
        await in_a_hook(site)
        await site.kill()
        await start(site, None)
        ended = await site.until_over()
        assert ended.status == "stuck"
        assert "cannot read the step consider" in ended.message
        assert "Start that version again" in ended.message
        assert set(await site.answers()) == {"1.0"}
        # Others are none the worse for it.
        other = {**site.spec("1.0", "rolling", **SHORT), "name": "other", "working_directory": None}
        other["health_check_url"] = f"http://127.0.0.1:{free_port()}/health"
        assert (await site.client.deploy(other, timeout=60)).status == "succeeded"
        await site.client.delete("other")
        # The version that planned it can undo it, and does with the next deploy.
        await site.manager.stop()
        await start(site, tomorrow)
        assert VERSION in site.manager.tail(40)
        await site.deploy("3.0", "rolling", **SHORT)
        assert await site.settled() == "3.0"
    nothing_lost(load)
