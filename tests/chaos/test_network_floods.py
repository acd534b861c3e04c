"""Thousands of clients on one deployment, beside a rollout of another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from longshore.demo.wire import Connection
from support.backends import free_port
from support.envoy import needs_envoy
from support.flood import Flood
from support.kills import LIGHT, SHORT, nothing_lost
from support.manager import Site, open_site, until

pytestmark = [needs_envoy, pytest.mark.slow]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_site(tmp_path, replicas=2) as site:
        await site.deploy("1.0", "recreate", **SHORT)
        yield site


async def test_a_flood_on_one_deployment_leaves_the_others_and_the_manager_at_work(site: Site) -> None:
    """Idle ones: what they cost is connections and files, not the two processors of a test machine."""
    port = free_port()
    flooded = {**site.spec("1.0", "recreate", **SHORT), "name": "other"}
    await site.client.deploy({**flooded, "health_check_url": f"http://127.0.0.1:{port}/health"}, timeout=60)
    envoy = site.envoy()
    assert envoy is not None

    def files() -> int:
        return len(list(Path(f"/proc/{envoy.pid}/fd").iterdir()))

    before = files()
    async with site.load(**LIGHT) as load:
        async with Flood(port, 2000) as flood:
            await flood.settled(closed=0)
            assert files() >= before + 2000
            await site.deploy("2.0", "rolling", **SHORT)
            assert await site.settled(extra=2) == "2.0"
            client = Connection("127.0.0.1", port)
            assert (await client.request("GET", "/")).status == 200
            client.close()
        await until(lambda: files() < before + 100, "the flood's files are closed")
    nothing_lost(load)
    assert site.envoy() == envoy
    await site.client.delete("other")
