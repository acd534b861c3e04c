"""The manager killed before every write to the store: each rollout that began is told, and so is its end; once."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from pathlib import Path

import pytest

from longshore.drivers.mock import Script
from longshore.webhooks.outbox import Outbox
from longshore.webhooks.receiver import Webhook
from support.engine import Lab, Machine, machine

ENDS = {"succeeded": "rollout.succeeded", "unwound": "rollout.failed"}

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class TellingLab(Lab):
    def __init__(self, machine: Machine, kill_at: int | None = None) -> None:
        super().__init__(machine, kill_at)
        webhook = Webhook(name="all", url="http://127.0.0.1:9/", events=("*",))
        self.world.tell = Outbox(self.store, machine.clock, (webhook,)).tell

    def told(self) -> dict[str, list[str]]:
        """Rollout → what was told of it."""
        found: dict[str, list[str]] = {}
        for delivery in reversed(self.store.deliveries("all", state=None, limit=1000, offset=0)[0]):
            found.setdefault(json.loads(delivery.body)["data"]["rollout_id"], []).append(delivery.event)
        return found


@pytest.fixture
def quiet() -> object:
    gc.disable()  # tasks of killed managers are garbage by the thousand
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    gc.enable()
    gc.collect()


@pytest.mark.parametrize("broken", [False, True], ids=["good", "broken"])
@pytest.mark.usefixtures("quiet")
def test_killed_before_any_write_the_beginning_and_the_end_are_told_once(tmp_path: Path, broken: bool) -> None:
    artifact = tmp_path / "app"
    artifact.mkdir()
    (artifact / "run").write_text("run")

    async def deploy(lab: Lab, version: str) -> None:
        await lab.deploy(artifact, version, strategy="rolling", replicas=2, drain_timeout=5.0)

    async def every() -> int:
        first = TellingLab(machine(tmp_path / "base.db"))
        await deploy(first, "1.0")
        first.close()
        first.machine.world.scripts["2.0"] = Script(never_ready=broken)
        whole = TellingLab(first.machine.copy(tmp_path / "whole.db"))
        await deploy(whole, "2.0")
        assert {events[-1] for events in whole.told().values()} == {"rollout.succeeded", ENDS["unwound"]} - (
            set() if broken else {"rollout.failed"}
        )
        whole.close()
        for number in range(1, whole.writes + 1):
            killed = TellingLab(first.machine.copy(tmp_path / f"{number}.db"), kill_at=number)
            await deploy(killed, "2.0")
            assert killed.dead
            killed.close()
            after = TellingLab(killed.machine)
            assert await after.recover()
            rollouts = after.store.rollouts("shop", limit=10, offset=0)[0]
            assert after.told() == {each.id: ["rollout.started", ENDS[each.status]] for each in rollouts}
            after.close()
        return whole.writes

    print(f"killed at {asyncio.run(every())} writes")
