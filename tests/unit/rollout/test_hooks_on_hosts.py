"""Hooks on hosts that are lost: run by the next one where they were not begun, and nowhere else where they were."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from longshore.drivers.base import DriverError
from longshore.drivers.systemd import commands
from longshore.drivers.systemd.commands import NotBegun
from longshore.health.catching_up import CatchingUp
from longshore.hosts import HostUnreachable
from longshore.model import CanaryStep, Rollout
from longshore.proc import HookResult
from longshore.rollout.providing import end_left_hooks
from support.far import FakeHost
from support.shop import Shop

HOSTS = ("a", "b", "c")


class Far:
    """Commands on the shop's hosts. before, amid: hosts that are lost before a command is begun there, or while it
    runs; rebooted: those that are back by then. began: host and line of what was begun; ended: host and rollout."""

    def __init__(self) -> None:
        self.before: set[str] = set()
        self.amid: set[str] = set()
        self.rebooted: set[str] = set()
        self.began: list[tuple[str, str]] = []
        #: rollouts of which every host has something left
        self.left: set[str] = set()
        self.ended: list[tuple[str, str]] = []

    async def run(self, host: FakeHost, name: str, command: str, **_: Any) -> HookResult:
        if host.name in self.before:
            host.lose()
            raise NotBegun(host.name, f"host {host.name} does not answer", passing=True)
        self.began.append((host.name, command))
        if host.name in self.amid:
            host.lose()
            raise HostUnreachable(host.name, f"the connection to host {host.name} was lost", passing=True)
        if host.name in self.rebooted:
            raise DriverError(f"host {host.name} was restarted while {name} ran there: nobody knows how far it came")
        return HookResult(0, False, "", 0.0)

    async def end(self, host: FakeHost, rollout_id: str, *_: Any) -> int:
        host.expect()
        self.ended.append((host.name, rollout_id))
        return 1

    async def left_there(self, host: FakeHost) -> frozenset[str]:
        host.expect()
        return frozenset(self.left)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Far:
    far = Far()
    monkeypatch.setattr(commands, "run_command", far.run)
    monkeypatch.setattr(commands, "end_commands", far.end)
    monkeypatch.setattr(commands, "rollouts_there", far.left_there)
    return far


@pytest_asyncio.fixture
async def shop(tmp_path: Path, far: Far) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path, HOSTS)
    await shop.deployed("1.0", replicas=3)
    yield shop
    await shop.close()


async def deploy(shop: Shop, **fields: Any) -> Rollout:
    return await shop.deploy("2.0", replicas=3, **fields)


def step_of(shop: Shop, rollout: Rollout, name: str) -> tuple[str, str]:
    record = next(r for r in shop.lab.store.journal(rollout.id) if r.name == name)
    return record.status, record.error


async def test_a_hook_that_was_not_begun_on_a_host_that_may_fail_is_run_by_the_next(shop: Shop, far: Far) -> None:
    far.before = {"a"}
    rollout = await deploy(shop, pre_deploy_hooks=("one", "two"), max_failed_hosts=1)
    assert rollout.status == "succeeded", rollout.failure
    assert far.began == [("b", "one"), ("b", "two")]


@pytest.mark.parametrize("allowed", [0, 1])
async def test_more_lost_hosts_than_may_fail_before_a_hook_fail_the_rollout(shop: Shop, far: Far, allowed: int) -> None:
    far.before = {"a", "b"}
    rollout = await deploy(shop, pre_deploy_hooks=("one",), max_failed_hosts=allowed)
    assert (rollout.status, far.began) == ("unwound", [])
    assert "out of reach" in rollout.message


async def test_a_hook_that_may_have_run_on_a_lost_host_is_run_nowhere_else(shop: Shop, far: Far) -> None:
    far.amid = {"a"}
    rollout = await deploy(shop, pre_deploy_hooks=("one",), max_failed_hosts=1)
    assert rollout.failure is not None
    assert (rollout.status, rollout.failure.code) == ("unwound", "HOOK_FAILED")
    assert "pre_deploy hook 1 (one) was begun on a, which was lost" in rollout.message
    assert far.began == [("a", "one")]


@pytest.mark.parametrize("lost", ["amid", "rebooted"])
async def test_a_hook_after_the_deploy_that_may_have_run_is_only_warned_of(shop: Shop, far: Far, lost: str) -> None:
    setattr(far, lost, {"a"})
    rollout = await deploy(shop, post_deploy_hooks=("one",), max_failed_hosts=1)
    assert rollout.status == "succeeded", rollout.failure
    status, error = step_of(shop, rollout, "post_deploy_hooks")
    assert (status, "post_deploy hook 1 (one)" in error) == ("failed", True)
    assert far.began == [("a", "one")]


async def test_a_hook_for_each_host_is_done_without_those_that_may_fail(shop: Shop, far: Far) -> None:
    far.before, far.amid = {"a"}, {"b"}
    fields = {"pre_deploy_hooks": ("one",), "hooks_on": "each"}
    rollout = await deploy(shop, **fields, max_failed_hosts=2)
    assert rollout.status == "succeeded", rollout.failure
    assert far.began == [("b", "one"), ("c", "one")]


async def test_a_hook_that_no_host_has_run_has_failed(shop: Shop, far: Far) -> None:
    far.before = set(HOSTS)
    rollout = await deploy(shop, pre_deploy_hooks=("one",), hooks_on="each", max_failed_hosts=3)
    assert rollout.failure is not None
    assert (rollout.status, rollout.failure.code) == ("unwound", "HOOK_FAILED")
    assert "none is in reach" in rollout.failure.cause


async def test_what_hooks_of_a_rollout_that_is_over_have_left_on_a_lost_host_is_ended_there(
    shop: Shop, far: Far
) -> None:
    far.amid = {"a"}
    rollout = await deploy(shop, pre_deploy_hooks=("one",), max_failed_hosts=1)
    open_one = await shop.begin(
        "3.0", strategy="canary", canary={"steps": (CanaryStep(50, None), CanaryStep(100, 0.0))}
    )
    host = shop.machine.hosts["a"]
    host.come_back()
    far.left, far.ended = {rollout.id, open_one.id, "of somebody else"}, []
    assert await end_left_hooks(shop.lab.world, "shop", host) == 1
    assert far.ended == [("a", rollout.id)]


async def test_a_hook_that_cannot_be_ended_keeps_no_host_from_being_brought_up_to_date(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(host: FakeHost) -> frozenset[str]:
        raise DriverError("it does not end: look at it there")

    monkeypatch.setattr(commands, "rollouts_there", stuck)
    errands: Any = None  # all hosts are there: nobody is sent to ask for one
    catching_up = CatchingUp(shop.lab.world, errands, lambda name: None, lambda: None)
    catching_up.look([shop.deployment()], 0.0)
    assert catching_up.is_behind("shop", "a")
    with pytest.raises(DriverError):
        await catching_up.bring("shop", shop.machine.hosts["a"])  # type: ignore[arg-type]
    assert not catching_up.is_behind("shop", "a")
