"""SIGKILL for real: a manager process is killed at random writes of its journal, under load, and the next one settles.

The seed is printed; `CHAOS_SEED=n` repeats a run's choices. What must hold afterwards is looked at from outside: who
answers, what the status says, which processes there are, what became of each request.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from longshore.client import ApiError, ClientError, DeploymentNotFound
from longshore.demo.manager import ManagerFailed
from longshore.demo.stage import NAME
from longshore.demo.wire import Failed, open_stream
from longshore.rollout.strategies import STRATEGIES
from support.envoy import needs_envoy
from support.kills import BROKEN, LIGHT, REPLICAS, SHORT, nothing_lost, recovered, seeded
from support.manager import POINTS, Site, bounded, ended_soon, open_site

pytestmark = [needs_envoy, pytest.mark.slow]

#: kills for each strategy, half of them with a release that fails; 8 x 4 strategies are 32
KILLS = 8
#: kills of each other act
FEW = 4
#: in so many cases of 100 the next manager is killed in its recovery, too
AGAIN_PCT = 40

Act = Callable[[], Awaitable[object]]


@pytest.fixture
def chance() -> random.Random:
    return seeded()


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Site]:
    """A manager that nothing was deployed with yet."""
    async with open_site(tmp_path, replicas=REPLICAS) as site:
        yield site


@pytest.fixture
async def site(bare: Site) -> Site:
    await bare.deploy("1.0", "recreate", **SHORT)
    return bare


async def writes_of(site: Site, act: Act, *, good: bool = True) -> int:
    """How many transactions a whole act has, which is to succeed or to fail."""
    before = site.writes()
    try:
        await act()
    except ApiError:
        if good:
            raise
    return site.writes() - before


async def kill_at(site: Site, chance: random.Random, writes: int, act: Act) -> str:
    """Begin what the manager does not survive; sometimes the next one does not survive its recovery."""
    number, point = chance.randint(1, writes), chance.choice(POINTS)
    # Half of them a moment later: in the middle of an effect, with the router's files or a process half made.
    delay_s = chance.choice((0.0, chance.uniform(0.0, 0.1)))
    site.light_fuse(number, point, delay_s)
    try:
        await bounded(act(), 60.0, "it is done, or its manager dead")
    except ApiError:
        pass
    except ClientError:
        assert await ended_soon(site.manager.pid), "the connection broke, but the manager lives"
    if site.manager.alive:
        await site.kill()  # this time there were fewer writes: killed at rest, then
    story = f"killed {1000 * delay_s:.0f} ms after {point} {number} of {writes}"
    if chance.randrange(100) < AGAIN_PCT:
        number = chance.randint(1, 12)
        site.light_fuse(number, "committed", chance.choice((0.0, chance.uniform(0.0, 0.1))))
        with suppress(ManagerFailed):
            await site.restart()
            await site.until_dead_or_over()
        if site.manager.alive:
            await site.kill()
        story += f", its successor at {number}"
    (site.data / "fuse").unlink(missing_ok=True)
    return story


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_manager_killed_at_any_write_leaves_one_version_no_process_and_no_lost_request(
    strategy: str, site: Site, chance: random.Random
) -> None:
    def rollout(version: str, good: bool) -> Act:
        return lambda: site.deploy(version, strategy, **(SHORT if good else BROKEN))

    async with site.load(**LIGHT) as load:
        writes = {good: await writes_of(site, rollout(f"whole-{good}", good), good=good) for good in (True, False)}
        before = await site.settled(extra=REPLICAS)
        assert before == "whole-True"
        for kill in range(KILLS):
            good, version = kill % 2 == 0, f"k{kill}"
            story = await kill_at(site, chance, writes[good], rollout(version, good))
            await recovered(site, f"{strategy} {version}: {story}")
            nothing_lost(load)
            now = await site.settled(extra=REPLICAS)
            assert now in ({before, version} if good else {before}), story
            before = now
    nothing_lost(load)


async def test_a_manager_killed_while_it_rolls_back_ends_on_the_one_version_or_the_other(
    site: Site, chance: random.Random
) -> None:
    await site.deploy("2.0", "rolling", **SHORT)
    now, other = "2.0", "1.0"
    async with site.load(**LIGHT) as load:

        def rollback() -> Awaitable[object]:
            return site.client.rollback(NAME, other)

        writes = await writes_of(site, rollback)
        now, other = other, now
        for _ in range(FEW):
            story = await kill_at(site, chance, writes, rollback)
            await recovered(site, f"rollback: {story}")
            nothing_lost(load)
            settled = await site.settled()
            assert settled in (now, other)
            if settled != now:
                now, other = other, now
    nothing_lost(load)


async def test_a_manager_killed_in_the_first_deploy_leaves_it_whole_or_nothing_at_all(
    bare: Site, chance: random.Random
) -> None:
    site, writes = bare, 40
    for kill in range(FEW):
        story = await kill_at(site, chance, writes, lambda: site.deploy("1.0", "rolling", **SHORT))
        await site.restart()
        with suppress(DeploymentNotFound):  # where it was killed before anything was written
            await site.until_over()
        print(f"first deploy {kill}: {story}")
        if await serves(site):
            assert await site.settled() == "1.0"
        else:
            await assert_nothing_runs(site)
            await site.deploy("1.0", "rolling", **SHORT)
            assert await site.settled() == "1.0"
        await site.client.delete(NAME)


async def test_a_delete_that_was_interrupted_can_be_repeated_and_leaves_nothing(
    bare: Site, chance: random.Random
) -> None:
    site = bare
    await site.deploy("1.0", "rolling", **SHORT)
    writes = await writes_of(site, lambda: site.client.delete(NAME))
    for kill in range(FEW):
        await site.deploy(f"1.{kill}", "rolling", **SHORT)
        story = await kill_at(site, chance, writes, lambda: site.client.delete(NAME))
        await site.restart()
        print(f"delete {kill}: {story}")
        with suppress(DeploymentNotFound):
            await site.client.delete(NAME)
        await assert_nothing_runs(site)
        assert not (site.data / "apps" / NAME).exists()
        assert (await site.client.list()).total == 0


async def serves(site: Site) -> bool:
    """Whether anything was ever committed."""
    try:
        status = await site.client.get(NAME)
    except DeploymentNotFound:
        return False
    assert status.state in ("healthy", "unhealthy", "failed"), status
    return status.state != "failed"


async def assert_nothing_runs(site: Site) -> None:
    assert not (found := site.launches()), f"{found} run on; the store knows {site.instances()}"
    with pytest.raises(Failed):
        await open_stream("127.0.0.1", site.port)
