"""Ports that somebody else takes: an instance's while it starts, or the public one. No success that is none."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from longshore.client import ClientError
from support.backends import Backend, free_port
from support.envoy import needs_envoy
from support.kills import LIGHT, SHORT, nothing_lost
from support.manager import Site, bounded, open_site, until
from support.moments import begun

pytestmark = [needs_envoy, pytest.mark.slow]

LATE = Path(__file__).parents[1] / "support/late_app.py"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=1) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        yield site


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    (tmp_path / "calls").mkdir()
    return tmp_path / "calls"


def late(site: Site, calls: Path, *, stays: bool) -> dict[str, Any]:
    """Fields of a deploy of the application that waits to be told."""
    shutil.copyfile(LATE, site.artifact("2.0") / "late_app.py")
    return {
        **SHORT,
        "command": ["python3", "-S", "late_app.py"],
        "configuration": {"CALLS": str(calls), **({"STAYS": "1"} if stays else {})},
        "health_check": {"interval": "200ms", "timeout": "1s", "deadline": "3s", "healthy_threshold": 1},
    }


async def begin(site: Site, fields: dict[str, Any]) -> asyncio.Task[Any]:
    return asyncio.create_task(site.client.deploy({**site.spec("2.0", "rolling"), **fields}, timeout=60))


async def steal(calls: Path, stack: AsyncExitStack, known: set[int]) -> int:
    """Take the port of the next start before the application does."""

    def called() -> int | None:
        new = {int(each.name) for each in calls.iterdir() if each.name.isdigit()} - known
        return min(new) if new else None

    port = int(await until(called, "the application has said its port"))
    known.add(port)
    await stack.enter_async_context(Backend("thief", port=port))
    (calls / f"{port}.go").touch()
    return port


async def let_the_next_listen(calls: Path, known: set[int]) -> int:
    def called() -> int | None:
        return next((int(e.name) for e in calls.iterdir() if e.name.isdigit() and int(e.name) not in known), None)

    port = int(await until(called, "the application was started again"))
    (calls / f"{port}.go").touch()
    return port


@pytest.mark.parametrize("stays", [False, True], ids=["it ends", "it stays up, and the thief answers 200"])
async def test_an_instance_whose_port_is_taken_while_it_starts_gets_another(
    site: Site, calls: Path, stays: bool
) -> None:
    known: set[int] = set()
    async with AsyncExitStack() as stack:
        deploying = await begin(site, late(site, calls, stays=stays))
        taken = await steal(calls, stack, known)
        other = await let_the_next_listen(calls, known)
        rollout = await bounded(deploying, 30.0, "the deploy ends")
        assert other != taken
        assert (await site.answers()).keys() == {"2.0"}
        assert [row["port"] for row in site.instances()] == [other]
    said = [each.message async for each in site.client.watch("shop", rollout.id)]
    assert any(f"pid {os.getpid()}" in message and "another port" in message for message in said), said


async def test_a_thief_that_takes_every_port_fails_the_rollout_and_is_named(site: Site, calls: Path) -> None:
    known: set[int] = set()
    async with AsyncExitStack() as stack, site.load(**LIGHT) as load:
        deploying = await begin(site, late(site, calls, stays=True))
        for _ in range(3):
            await steal(calls, stack, known)
        with pytest.raises(ClientError) as failed:
            await bounded(deploying, 30.0, "the deploy ends")
        assert f"pid {os.getpid()}" in str(failed.value), failed.value
        assert await site.settled() == "1.0"
    nothing_lost(load)


async def test_a_public_port_that_is_taken_meanwhile_fails_the_rollout_before_its_commit_and_says_by_whom(
    site: Site,
) -> None:
    """Taken after it was found free, and before Envoy was told to listen there."""
    port = free_port()
    moved = {**SHORT, "health_check_url": f"http://127.0.0.1:{port}/health", "pre_deploy_hooks": ["sleep 1"]}
    async with site.load(**LIGHT) as load:
        rollout = await site.begin("2.0", "rolling", **moved)
        assert rollout is not None
        await begun(site.data, "pre_deploy_hooks", after=rollout.number - 1)
        async with Backend("thief", port=port):
            over = await site.until_over()
            assert over.status == "unwound"
            assert f"cannot listen on port {port}: the port is taken by" in over.message
            assert f"pid {os.getpid()}" in over.message
            assert await site.settled() == "1.0"
            # Another deployment is none the worse for it; and who asks beforehand is told at once.
            other = {**site.spec("1.0", "recreate", **SHORT), "name": "other"}
            await site.client.deploy({**other, "health_check_url": f"http://127.0.0.1:{free_port()}/"}, timeout=60)
            await site.client.delete("other")
            with pytest.raises(ClientError, match=f"port {port} is in use by another program, .*pid {os.getpid()}"):
                await site.deploy("2.0", "rolling", **moved)
    nothing_lost(load)
