"""Two pools share the traffic, and all of one is killed: the other one answers, and only what was in flight is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from longshore.rollout.analysis.window import window
from longshore.routers.base import Traffic
from longshore.routers.envoy import EnvoyRouter
from support.backends import Backend, free_port
from support.envoy import A, B, envoy_router, needs_envoy, pool
from support.load import Load, ask

pytestmark = needs_envoy


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[EnvoyRouter]:
    async with envoy_router(tmp_path / "envoy") as router:
        await router.restore({})
        yield router


@pytest.fixture
async def v1() -> AsyncIterator[Backend]:
    async with Backend("v1") as backend:
        yield backend


@pytest.fixture
async def v2() -> AsyncIterator[Backend]:
    async with Backend("v2") as backend:
        yield backend


def lost_but_in_flight(load: Load, killed_s: float) -> list[object]:
    """Failures other than of a POST that began before the kill was over: it is not sent again, anything else is."""
    return [each for each in load.failures if each.method != "POST" or each.at > killed_s]


async def until_found_out(router: EnvoyRouter, pool_id: str) -> None:
    """Under load: until no request has to be tried again, as the dead are known by health checks (2.5 s)."""
    deadline, before = asyncio.get_running_loop().time() + 15.0, None
    while asyncio.get_running_loop().time() < deadline:
        figures = await router.figures("shop", pool_id)
        assert figures is not None
        if figures.retries == before:
            return
        before = figures.retries
        await asyncio.sleep(0.5)
    raise AssertionError("requests are still sent to the dead after 15 s")


async def until_answered_by(load: Load, versions: set[str]) -> None:
    """Until these versions, and no others, answer 200 requests."""
    for _ in range(200):
        before = load.by_version.copy()
        await load.until(200)
        if set(load.by_version - before) == versions:
            return
    raise AssertionError(f"not {versions} alone: {load.summary()}")


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("killed", ["v1", "v2"])
async def test_the_other_pool_answers_for_one_whose_only_target_is_killed(
    router: EnvoyRouter, v1: Backend, v2: Backend, killed: str, sticky: bool
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), 50, sticky=sticky))
    victim, other = (v1, "v2") if killed == "v1" else (v2, "v1")
    async with Load(port) as load:
        await load.until(400)
        await victim.die()
        moment = load.seconds
        await until_found_out(router, A if killed == "v1" else B)
        before = load.by_version.copy()
        await load.until(400)
    assert lost_but_in_flight(load, moment) == [], load.summary()
    assert len(load.failures) <= load.connections
    assert set(load.by_version - before) == {other}


async def test_a_pool_is_taken_over_only_when_its_last_target_is_gone(router: EnvoyRouter, v1: Backend) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        candidates = [await stack.enter_async_context(Backend("v2")) for _ in range(4)]
        await router.apply("shop", Traffic(port, pool(A, v1), pool(B, *candidates), 50))
        async with Load(port) as load:
            await load.until(200)
            for each in candidates[:3]:
                await each.die()
            await until_found_out(router, B)
            before, figures = load.by_version.copy(), await router.figures("shop", B)
            await load.until(2000)
            counted, since = load.by_version - before, window(figures, await router.figures("shop", B))
            await candidates[3].die()
            moment = load.seconds
            await load.until(1000)
        assert since is not None
        assert since.hidden == 0, "the other pool answered for targets that were left"
        # Four standard deviations of a binomial with n = 2000 at 50 % are 4.5 points.
        assert 100 * counted["v2"] / counted.total() == pytest.approx(50, abs=4.5)
        assert [each for each in load.failures if each.method != "POST"] == [], load.summary()
        assert [each for each in load.failures if each.at > moment] == [], load.summary()


async def test_what_the_other_pool_answered_is_no_success_of_the_dead_one(
    router: EnvoyRouter, v1: Backend, v2: Backend
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), 50))
    async with Load(port) as load:
        await load.until(200)
        first = await router.figures("shop", A), await router.figures("shop", B)
        await v2.die()
        await until_found_out(router, B)
        second = await router.figures("shop", A), await router.figures("shop", B)
        await load.until(500)
    last = await router.figures("shop", A), await router.figures("shop", B)
    whole, lately = window(first[1], last[1]), window(second[1], last[1])
    assert whole is not None
    assert lately is not None
    # The two counters are read a moment apart, under load.
    assert lately.requests <= load.connections
    assert lately.hidden > 200
    assert whole.failures >= lately.failures
    stable = window(first[0], last[0])
    assert stable is not None
    assert (stable.failures, stable.requests > 200) == (0, True)


async def test_a_pool_that_is_only_kept_warm_takes_nothing_over(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), 0))
    await v1.die()
    async with Load(port) as load:
        await load.until(100)
    assert v2.requests == 0
    assert load.by_status.keys() == {503}
    # Who asks for the candidate is not given another version, either.
    await v1.start()
    await v2.die()
    assert (await ask(port, x_canary="1")).status == 503


async def test_unhealthy_pools_are_taken_over_but_where_both_are_all_are_tried(
    router: EnvoyRouter, v1: Backend, v2: Backend
) -> None:
    port = free_port()
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2), 50))
    async with Load(port) as load:
        v2.health = 503
        await until_answered_by(load, {"v1"})
        v1.health = 503
        await until_answered_by(load, {"v1", "v2"})
    assert load.failures == [], load.summary()


async def test_a_pool_is_taken_over_by_one_that_does_not_have_its_health_path(
    router: EnvoyRouter, v1: Backend, v2: Backend
) -> None:
    port = free_port()
    v2.health = 404
    await router.apply("shop", Traffic(port, pool(A, v1), pool(B, v2, health_path="/new"), 50))
    async with Load(port) as load:
        await load.until(200)
        await v1.die()
        moment = load.seconds
        await until_answered_by(load, {"v2"})
        await load.until(2000)
    assert lost_but_in_flight(load, moment) == [], load.summary()


async def test_a_target_that_leaves_is_no_ones_standby_either(router: EnvoyRouter, v1: Backend, v2: Backend) -> None:
    port = free_port()
    async with Backend("v1") as leaving:
        await router.apply("shop", Traffic(port, pool(A, v1, leaving), pool(B, v2), 50))
        async with Load(port) as load:
            await load.until(200)
            after = Traffic(port, pool(A, v1), pool(B, v2), 50)
            await router.apply("shop", after)
            assert await router.verify("shop", after)
            assert await router.drained("shop", (leaving.target,), 5.0) == frozenset()
            asked = leaving.requests
            await v2.die()
            moment = load.seconds
            await load.until(400)
            assert leaving.requests == asked
    assert lost_but_in_flight(load, moment) == [], load.summary()


async def test_a_manager_that_adopts_files_of_a_version_without_standby_adds_it(
    tmp_path: Path, v1: Backend, v2: Backend
) -> None:
    port, directory = free_port(), tmp_path / "envoy"
    shared = Traffic(port, pool(A, v1), pool(B, v2), 50)
    async with envoy_router(directory) as first:
        await first.restore({})
        await first.apply("shop", shared)
        await first.close()
        cds = directory / "cds.json"
        old = json.loads(cds.read_text())
        old["version_info"] = str(int(old["version_info"]) + 1)
        for resource in old["resources"]:
            del resource["load_assignment"]["endpoints"][1], resource["load_assignment"]["policy"]
        (directory / "new.json").write_text(json.dumps(old))
        (directory / "new.json").rename(cds)
        async with envoy_router(directory) as second, Load(port) as load:
            await second.restore({"shop": shared})
            assert await second.verify("shop", shared)
            await load.until(200)
            await v2.die()
            moment = load.seconds
            await load.until(400)
        assert lost_but_in_flight(load, moment) == [], load.summary()
