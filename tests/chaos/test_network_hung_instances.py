"""Instances that hang, in the middle of rollouts and between them: the kernel accepts for them, and nobody answers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from longshore.demo.load import Load
from support.envoy import needs_envoy
from support.kills import SHORT
from support.manager import Site, open_site
from support.moments import begun

pytestmark = [needs_envoy, pytest.mark.slow]

REPLICAS = 2
BRISK: dict[str, Any] = {
    **SHORT,
    "health_check": {
        "interval": "200ms", "timeout": "500ms", "deadline": "10s", "healthy_threshold": 1, "unhealthy_threshold": 2
    },
    "drain_timeout": "2s",
    "stop_timeout": "1s",
}  # fmt: skip
#: without what is held for long: a stream that hangs with its instance says nothing about the others
QUICK: dict[str, Any] = {"connections": 6, "pause_s": 0.03, "websockets": 0, "streams": 0, "slow": 0}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=REPLICAS) as site:
        await site.deploy("1.0", "recreate", **BRISK)
        yield site


def pids_of(site: Site, version: str) -> list[int]:
    versions = {row["id"]: row["version"] for row in site.instances()}
    return [pid for id, pid in sorted(site.pids().items()) if versions[id] == version]


def only_of_the_hung(load: Load, kinds: frozenset[str] = frozenset({"post"})) -> None:
    """What it had when it was killed is lost with it, unless that may be sent again."""
    losses = load.ledger.losses()
    assert {loss.kind for loss in losses} <= kinds, losses
    assert len(losses) <= QUICK["connections"], losses


async def test_a_candidate_that_hangs_after_it_was_ready_fails_the_rollout_and_is_undone(site: Site) -> None:
    steps = [{"weight": 50, "pause": "60s"}, {"weight": 100}]
    async with site.load(**QUICK) as load:
        rollout = await site.begin("2.0", "canary", **{**BRISK, "canary": {"steps": steps}})
        assert rollout is not None
        await begun(site.data, "watch_canary_50", after=rollout.number - 1)
        for pid in pids_of(site, "2.0"):
            os.kill(pid, signal.SIGSTOP)
        over = await site.until_over()
        assert over.status == "unwound", over.message
        assert "not healthy any more" in over.message
        assert "no answer within" in over.message
        assert await site.settled() == "1.0"
    only_of_the_hung(load)


@pytest.mark.parametrize("strategy", ["recreate", "blue-green"])
async def test_an_old_instance_that_hangs_in_a_rollout_is_replaced_by_it(strategy: str, site: Site) -> None:
    async with site.load(**QUICK) as load:
        os.kill(pids_of(site, "1.0")[0], signal.SIGSTOP)
        rollout = await site.begin("2.0", strategy, **{**BRISK, "blue_green": {"keep_old": "0s"}})
        assert rollout is not None
        over = await site.until_over()
        assert over.status == "succeeded", over.message
        assert await site.settled() == "2.0"
    # When recreate ends it there is nobody yet to whom anything could be sent again.
    only_of_the_hung(load, frozenset({"post", "get"} if strategy == "recreate" else {"post"}))


async def test_an_instance_that_hangs_is_told_of_and_restarting_the_deployment_replaces_it(site: Site) -> None:
    hung = pids_of(site, "1.0")[0]
    os.kill(hung, signal.SIGSTOP)

    async def degraded() -> None:
        while True:
            if (await site.client.get("shop")).health == "degraded":
                return
            await asyncio.sleep(0.05)

    await asyncio.wait_for(degraded(), 10.0)
    # It is left as it is: a program that is busy for long looks the same.
    assert hung in site.pids().values()
    await site.client.restart("shop", timeout=60)
    assert hung not in site.pids().values()
    assert await site.settled() == "1.0"
