"""Long walks: random transitions, and managers that are killed while they write. Nothing may be lost on any of them."""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from longshore.routers.base import TargetPool, Traffic
from longshore.routers.envoy import EnvoyRouter
from support import restless_manager
from support.backends import Backend, free_port
from support.envoy import A, B, C, Events, envoy_router, needs_envoy, pool
from support.load import Load

pytestmark = needs_envoy


def some_traffic(dice: random.Random, port: int, running: list[Backend]) -> Traffic:
    """Any traffic whose targets are alive, holds included."""
    first, second = dice.sample([A, B, C], 2)
    if dice.random() < 0.2:
        return Traffic(port, TargetPool(first, ()), hold=30.0)
    stable = pool(first, *dice.sample(running, dice.randint(1, 3)))
    if dice.random() < 0.4:
        return Traffic(port, stable)
    candidate = pool(second, *dice.sample(running, dice.randint(1, 3)))
    return Traffic(port, stable, candidate, dice.choice([0, 1, 50, 99, 100]), sticky=dice.random() < 0.3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_way_from_any_traffic_to_any_other_loses_a_request(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    port = free_port()
    async with envoy_router(tmp_path / "envoy") as router, AsyncExitStack() as stack:
        running = [await stack.enter_async_context(Backend(f"v{number}")) for number in range(4)]
        await router.apply("shop", Traffic(port, pool(A, *running)))
        async with Load(port, connections=16, timeout_s=60.0) as load:
            for _ in range(60):
                traffic = some_traffic(dice, port, running)
                await router.apply("shop", traffic)
                assert await router.verify("shop", traffic) is True
                named = {t for p in (traffic.stable, traffic.candidate) if p is not None for t in p.targets}
                gone = tuple({each.target for each in running} - named)
                assert await router.drained("shop", gone, 5.0) == frozenset(), traffic
                if dice.random() < 0.3:
                    await asyncio.sleep(dice.random())
            await router.apply("shop", Traffic(port, pool(A, *running)))
            await load.until(100)
    assert load.failures == [], load.summary()


@pytest.mark.slow
async def test_a_manager_killed_while_it_writes_loses_no_request(tmp_path: Path) -> None:
    port, directory = free_port(), tmp_path / "envoy"
    async with envoy_router(directory) as router, Backend("v1") as v1, Backend("v2") as v2:
        await router.apply("shop", Traffic(port, pool(A, v1)))
        await router.close()
        argv = [sys.executable, restless_manager.__file__ or "", str(directory), str(port), str(v1.port), str(v2.port)]
        async with Load(port) as load:
            for turn in range(8):
                manager = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
                assert manager.stdout is not None
                line = await asyncio.wait_for(manager.stdout.readline(), 20.0)
                assert line == b"ready\n"
                await asyncio.sleep(0.05 + 0.013 * turn)
                manager.kill()
                await manager.communicate()
            heir = EnvoyRouter(directory, listen_host="127.0.0.1", on_event=Events())
            wanted = Traffic(port, pool(B, v2))
            await heir.restore({"shop": wanted})
            assert await heir.verify("shop", wanted) is True
            await load.until(100)
        await heir.close()
    assert load.failures == [], load.summary()


async def test_a_cancelled_change_is_taken_up_by_the_next(tmp_path: Path) -> None:
    port = free_port()
    async with envoy_router(tmp_path / "envoy") as router, Backend("v1") as v1, Backend("v2") as v2:
        await router.apply("shop", Traffic(port, pool(A, v1)))
        async with Load(port) as load:
            for turn in range(20):
                change = asyncio.create_task(router.apply("shop", Traffic(port, pool(B, v2))))
                await asyncio.sleep(turn / 2000)
                change.cancel()
                await asyncio.gather(change, return_exceptions=True)
                wanted = Traffic(port, pool(A, v1) if turn % 2 else pool(B, v2))
                await router.apply("shop", wanted)
                assert await router.verify("shop", wanted) is True
                await load.until(20)
        assert load.failures == [], load.summary()
