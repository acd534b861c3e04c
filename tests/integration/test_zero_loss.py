"""Nothing is lost: every strategy, there, back and failing, under load, with real processes and a real Envoy.

The application dies at once on SIGTERM, with whatever it was answering. A request has failed if it got anything but the
complete, right answer; there are no retries. Requests of 4 s, event streams and WebSockets are held through everything.
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from longshore.client import ApiError
from longshore.demo.load import Load
from longshore.rollout.strategies import STRATEGIES
from support.envoy import needs_envoy
from support.manager import Site, open_site, until

pytestmark = [needs_envoy, pytest.mark.slow]

#: 32 keep-alive connections, a quarter of their requests a POST whose body has to come back, and three kinds of
#: requests that last. The pause leaves this machine's processors something for everybody else.
LOAD: dict[str, Any] = {"connections": 32, "post_every": 4, "pause_s": 0.03, "held_s": 4.0}
QUICK_CANARY = {
    "steps": [{"weight": 10, "pause": "300ms"}, {"weight": 100, "pause": "300ms"}],
    "analysis": {"on_inconclusive": "continue"},
}
#: three at a time: each batch has to wait until the requests of 4 s on the old ones have ended
IN_ONE_GO = {"max_surge": 3, "max_unavailable": 0}
SHORT = {"rolling": IN_ONE_GO, "canary": QUICK_CANARY}

#: releases that fail, each in its way, and the code of it
FAILING: dict[str, tuple[str, dict[str, Any]]] = {
    "never-ready": (
        "HEALTH_CHECK_FAILED",
        {"broken": True, "health_check": {"interval": "500ms", "timeout": "500ms", "deadline": "1s"}},
    ),
    "exits": ("HEALTH_CHECK_FAILED", {"command": ["/bin/sh", "-c", "echo no such table; exit 3"]}),
    "post-hook": ("HOOK_FAILED", {"post_deploy_hooks": ["echo not good; exit 7"], "post_deploy_failure": "rollback"}),
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=3) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        yield site


def nothing_lost(load: Load) -> None:
    summary = load.ledger.summary()
    assert not summary.failed, f"{summary}\n" + "\n".join(map(str, load.ledger.losses()[:20]))
    assert summary.kinds["post"] > 50
    assert min(summary.kinds[kind] for kind in ("slow", "events", "websocket")) >= 4, summary.kinds


async def busy(load: Load, requests: int = 300) -> None:
    """So many more requests have ended: the load is there, and whatever a change broke would show."""
    goal = len(load.ledger) + requests
    await until(lambda: len(load.ledger) >= goal, f"{requests} more requests are answered")


def never_both(load: Load, old: str, new: str, since: int = 0) -> None:
    """recreate: the old version has answered for the last time before the new one did for the first."""
    last = load.ledger.last_answer(old, since)
    first = load.ledger.first_answer(new, since)
    assert last is not None
    assert first is not None
    assert last <= first, f"{old} still answered {last - first:.3f} s after {new} had begun to"


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_an_upgrade_and_the_way_back_lose_no_request_and_cut_no_stream(strategy: str, site: Site) -> None:
    async with site.load(**LOAD) as load:
        await busy(load)
        began = time.monotonic()
        await site.deploy("2.0", strategy, **SHORT)
        assert await site.settled(extra=3) == "2.0"
        there = len(load.ledger)
        if strategy == "recreate":
            never_both(load, "1.0", "2.0")
        assert (await site.client.rollback("shop")).version == "1.0"
        assert await site.settled(extra=3) == "1.0"
        took = time.monotonic() - began
        await busy(load)
    nothing_lost(load)
    if strategy == "recreate":
        assert load.ledger.summary().max_s > 0.1, "nothing had to wait"
        never_both(load, "2.0", "1.0", there)
    assert {"1.0", "2.0"} == set(load.ledger.summary().versions)
    print(f"{strategy}: {took:.1f} s there and back, {load.ledger.summary()}")


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_applications_that_close_idle_connections_when_they_end_lose_no_request(
    strategy: str, site: Site
) -> None:
    polite = {**SHORT, "command": [sys.executable, "polite.py"]}
    await site.deploy("1.1", "recreate", **polite)
    async with site.load(**{**LOAD, "held_s": 1.0}) as load:
        await busy(load)
        await site.deploy("2.0", strategy, **polite)
        await site.client.rollback("shop", "1.1")
        assert await site.settled(extra=3) == "1.1"
        await busy(load)
    nothing_lost(load)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_restart_and_a_change_of_scale_lose_no_request(strategy: str, site: Site) -> None:
    await site.deploy("2.0", strategy, **SHORT)
    async with site.load(**{**LOAD, "held_s": 1.0}) as load:
        await busy(load)
        before = site.pids()
        await site.client.restart("shop")
        assert await site.settled(extra=3) == "2.0"
        assert not set(site.committed()) & set(before), "the same instances serve"
        for site.replicas in (4, 2):
            await site.client.scale("shop", site.replicas)
            assert await site.settled(extra=4) == "2.0"
        await busy(load)
    nothing_lost(load)


@pytest.mark.parametrize("bounds", [(0, 1), (0, "100%"), ("100%", "100%")], ids=str)
async def test_rolling_within_any_bounds_loses_no_request(bounds: tuple[int | str, int | str], site: Site) -> None:
    rolling = {"max_surge": bounds[0], "max_unavailable": bounds[1]}
    async with site.load(**{**LOAD, "held_s": 1.0}) as load:
        await busy(load)
        await site.deploy("2.0", "rolling", rolling=rolling)
        assert await site.settled() == "2.0"
        with pytest.raises(ApiError):
            await site.deploy("3.0", "rolling", **{**FAILING["never-ready"][1], "rolling": rolling})
        assert await site.settled() == "2.0"
        await busy(load)
    nothing_lost(load)


@pytest.mark.parametrize("failure", FAILING)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_release_that_fails_is_undone_without_losing_a_request(strategy: str, failure: str, site: Site) -> None:
    code, fields = FAILING[failure]
    async with site.load(**LOAD) as load:
        await busy(load)
        with pytest.raises(ApiError) as failed:
            await site.deploy("2.0", strategy, **{**SHORT, **fields})
        assert failed.value.code == code, failed.value
        assert failed.value.details["rolled_back"] is True
        assert await site.settled() == "1.0"
        await busy(load)
    nothing_lost(load)
