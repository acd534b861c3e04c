"""Steps that act on several instances at once, and leave none of that under way when they end."""

from __future__ import annotations

import asyncio
import threading
import types
from dataclasses import replace
from typing import Any

import pytest

from longshore.drivers.base import DriverError
from longshore.drivers.mock import MockDriver
from longshore.errors import SpecInvalid
from longshore.model import CanaryStep, RolloutKind, RolloutStatus
from longshore.rollout.steps.instances import RetireInstances, StartInstances, StopInstances
from longshore.rollout.terms import Terms
from longshore.routers.base import Figures
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
    aborting = asyncio.ensure_future(shop.lab.service.abort("shop", rollout.id, terms=Terms("ana")))
    for _ in range(20):
        await asyncio.sleep(0)
    go_on.set()
    assert (await aborting).status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_port_that_another_deploy_took_at_the_same_moment_is_refused_in_words(shop: Shop) -> None:
    await shop.deployed("1.0")
    spec = replace(shop.last().spec, name="other", working_directory="/data/apps/other")
    with pytest.raises(SpecInvalid, match="has just taken port 8080"):
        shop.lab.runner.open(spec, RolloutKind.deploy, Terms("ana"))
    assert shop.lab.store.deployment("other") is None


async def test_a_canary_that_is_watched_for_long_does_not_tell_of_every_look(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="canary")

    async def figures(_: Any, name: str, pool: str) -> Figures:
        # Ever more requests, so that each look finds other numbers than the one before it.
        seen = round(shop.clock.time * 1000)
        return Figures("0", seen, 0, 0, 0, 0, {10.0: seen})

    shop.router.figures = types.MethodType(figures, shop.router)  # type: ignore[method-assign]
    rollout = await shop.deploy(
        "2.0", strategy="canary", canary={"steps": (CanaryStep(50, 59.0), CanaryStep(100, 0.0))}
    )
    assert rollout.status is RolloutStatus.succeeded
    told = [p for p in shop.lab.store.progress(rollout.id) if p.step == "watch_canary_50" and p.status == "running"]
    assert 2 <= len(told) <= 6
