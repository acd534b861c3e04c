"""Steps that act on several instances at once, and leave none of that under way when they end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from longshore.drivers.base import DriverError
from longshore.drivers.mock import MockDriver
from longshore.model import RolloutStatus
from longshore.rollout.steps.instances import RetireInstances, StartInstances, StopInstances
from support.engine import Directory
from support.makers import make_spec
from support.shop import Shop, until


async def test_a_stop_that_fails_waits_for_the_others_before_it_is_undone(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0", strategy="recreate")
    real, refused = MockDriver.stop, []

    async def stop(self: MockDriver, handle: Any, grace_s: float) -> Any:
        found = self.world.find(handle)
        if not refused and found is not None and found.launch.instance == "shop-1-0":
            refused.append(True)
            raise DriverError("may not end it")
        for _ in range(50):
            await asyncio.sleep(0)
        return await real(self, handle, grace_s)

    monkeypatch.setattr(MockDriver, "stop", stop)
    ended = await shop.deploy("2.0", strategy="recreate")
    assert refused
    assert ended.status is RolloutStatus.unwound
    for _ in range(200):
        await asyncio.sleep(0)
    assert shop.lab.assert_settled(replicas=2) == "1.0"


@pytest.mark.parametrize(
    "step", [StartInstances("2.0", (("a", 0),)), StopInstances(("a",)), RetireInstances(("a",))], ids=lambda s: s.kind
)
def test_instances_may_take_their_time_to_leave_however_short_the_progress_deadline_is(step: Any) -> None:
    spec = make_spec(progress_deadline=5.0, drain_timeout=100.0, stop_timeout=50.0)
    bound = step.bound(spec)
    assert bound is not None
    assert bound > 150.0


async def test_an_abort_at_the_commit_waits_for_the_link_before_it_is_put_back(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.deployed("1.0")
    begun, go_on, real = threading.Event(), threading.Event(), Directory.set_current

    def set_current(self: Directory, version: str | None) -> None:
        if version == "2.0":
            begun.set()
            assert go_on.wait(20)
        real(self, version)

    monkeypatch.setattr(Directory, "set_current", set_current)
    rollout = await shop.begin("2.0")
    await until(begun.is_set, "the link is being switched")
    aborting = asyncio.ensure_future(shop.lab.service.abort("shop", rollout.id, caller="ana"))
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    assert (await aborting).status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"
