"""Envoy killed in the middle of every change that a rollout makes to its traffic, with the manager up and away.

Lost is what it was answering, and what comes until it is back; the rollout goes on, or is undone.
Every step, and an Envoy that hangs for as long as it takes to notice: LONGSHORE_CHAOS_MINUTES=60 make chaos.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from longshore.demo.load import Load
from longshore.demo.wire import Failed
from longshore.drivers.identity import all_ended
from support.envoy import needs_envoy
from support.kills import LIGHT, SHORT
from support.manager import Site, bounded, open_site, until
from support.moments import begun

pytestmark = [needs_envoy, pytest.mark.slow]

REPLICAS = 2
#: seconds after which nothing may be lost any more: Envoy is back after some 0.2 s, and this machine may be busy
BACK_S = 2.0

#: all moments, and the real bounds, instead of a choice of them
ALL = float(os.environ.get("LONGSHORE_CHAOS_MINUTES", "0")) > 0
#: strategy → the steps in which Envoy is killed, one rollout each
MOMENTS: dict[str, tuple[str, ...]] = {
    "recreate": ("hold_requests", "drain", "await_ready", "shift_traffic", "health_check", "retire"),
    "rolling": ("shift_traffic", "verify_traffic", "drain"),
    "blue-green": ("shift_traffic", "promote", "keep_warm"),
    "canary": ("shift_traffic", "watch_canary_20", "drain", "retire"),
} if ALL else {
    "recreate": ("hold_requests", "shift_traffic"),
    "blue-green": ("shift_traffic", "promote"),
}  # fmt: skip


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=REPLICAS) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        yield site


async def kill_envoy(site: Site) -> float:
    """When (time.monotonic())."""
    envoy = await until(site.envoy, "Envoy runs")
    os.kill(envoy.pid, signal.SIGKILL)
    return time.monotonic()


async def answered(site: Site, bound_s: float = BACK_S) -> None:
    """Until requests are answered again."""

    async def looking() -> None:
        while True:
            with suppress(Failed, TimeoutError):
                await asyncio.wait_for(site.answers(1), 1.0)
                return
            await asyncio.sleep(0.02)

    await bounded(looking(), bound_s, "requests are answered again")


def lost_only_then(load: Load, kills: list[float]) -> None:
    for loss in load.ledger.losses():
        assert any(killed - 0.05 <= loss.ended <= killed + BACK_S for killed in kills), (
            f"{loss} with Envoy killed at {kills}"
        )


@pytest.mark.parametrize("strategy", MOMENTS)
async def test_envoy_killed_in_any_step_that_moves_traffic_costs_what_it_was_answering_and_no_more(
    strategy: str, site: Site
) -> None:
    kills: list[float] = []
    async with site.load(**LIGHT) as load:
        for number, step in enumerate(MOMENTS[strategy], start=2):
            rollout = await site.begin(f"{number}.0", strategy, **{**SHORT, "drain_timeout": "5s"})
            assert rollout is not None
            await begun(site.data, step, after=rollout.number - 1)
            kills.append(await kill_envoy(site))
            over = await site.until_over()
            assert over.status == "succeeded", f"{step}: {over.message}"
            await answered(site)
            assert await site.settled(extra=REPLICAS) == f"{number}.0", step
    lost_only_then(load, kills)


@pytest.mark.parametrize("step", ["hold_requests", "stop_instances"] if ALL else ["hold_requests"])
async def test_envoy_killed_while_a_rollout_is_undone_does_not_keep_it_from_being_undone(step: str, site: Site) -> None:
    kills: list[float] = []
    health = {"interval": "300ms", "timeout": "500ms", "deadline": "600ms"}
    async with site.load(**LIGHT) as load:
        rollout = await site.begin("2.0", "recreate", **{**SHORT, "broken": True, "health_check": health})
        assert rollout is not None
        await begun(site.data, step, undo=True)
        kills.append(await kill_envoy(site))
        assert (await site.until_over()).status == "unwound"
        await answered(site)
        assert await site.settled() == "1.0"
    lost_only_then(load, kills)


async def test_an_old_instance_killed_while_it_gets_its_traffic_back_is_waited_for_no_longer_than_it_takes_to_start(
    site: Site,
) -> None:
    health = {"interval": "300ms", "timeout": "500ms", "deadline": "600ms"}
    async with site.load(**LIGHT) as load:
        rollout = await site.begin("2.0", "recreate", **{**SHORT, "broken": True, "health_check": health})
        assert rollout is not None
        await begun(site.data, "hold_requests", undo=True)
        began = time.monotonic()
        os.kill(site.pids()[site.committed()[0]], signal.SIGKILL)
        assert (await site.until_over()).status == "unwound"
        took = time.monotonic() - began
        assert await site.settled() == "1.0"
    print(f"undone {took:.1f} s after the kill")
    assert took < 8.0
    # It may have been killed a moment after it was given its first request: that one is lost with it, if it was a POST.
    assert len(load.ledger.losses()) <= 2, load.ledger.losses()


async def test_envoy_killed_while_no_manager_runs_is_back_with_the_next_one_in_the_state_of_the_store(
    site: Site,
) -> None:
    steps = [{"weight": 50, "pause": "60s"}, {"weight": 100}]
    rollout = await site.begin("2.0", "canary", **{**SHORT, "canary": {"steps": steps}})
    assert rollout is not None
    await begun(site.data, "watch_canary_50")
    await site.kill()
    envoy = site.envoy()
    assert envoy is not None
    await kill_envoy(site)
    # By a pidfd: what runs loses its command line, by which it is found, before its ports.
    assert await all_ended([envoy], 10.0)
    with pytest.raises(Failed, match="refused"):
        await site.answers(1)
    await site.restart()
    assert (await site.until_over()).status == "unwound"
    assert await site.settled() == "1.0"


@pytest.mark.skipif(not ALL, reason="takes 15 s; LONGSHORE_CHAOS_MINUTES=60 make chaos runs it")
async def test_an_envoy_that_hangs_is_replaced_and_a_rollout_that_met_it_ends_in_one_state(site: Site) -> None:
    """With the real bounds."""
    envoy = site.envoy()
    assert envoy is not None
    os.kill(envoy.pid, signal.SIGSTOP)
    began = time.monotonic()
    rollout = await site.begin("2.0", "rolling", **SHORT)
    assert rollout is not None
    await answered(site, 20.0)
    took = time.monotonic() - began
    over = await site.until_over()
    version = await site.settled()
    print(f"answered again after {took:.1f} s, the rollout {over.status}")
    assert (over.status, version) in (("succeeded", "2.0"), ("unwound", "1.0"))
    events = [each.message for each in (await site.client.events("shop")).events]
    assert any(f"Envoy (pid {envoy.pid}) is hung" in message for message in events), events
