"""A stored plan that this Longshore cannot read, as after a downgrade: a known end, told with its remedy, and whoever
served goes on serving."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from longshore.model import Rollout, RolloutStatus
from longshore.rollout.plan import Unreadable, decode_plan
from longshore.rollout.steps import STEPS
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.terms import Terms
from support.shop import Shop, until

COMMIT = {"step": "commit", "name": "commit", "version": "2.0", "before": "1.0", "instances": []}


def plan_of(*steps: Any) -> str:
    return json.dumps({"format": 1, "steps": steps})


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"step": "scan_for_viruses", "name": "scan"}, "there is no such step"),
        ({"step": "prune", "name": "prune", "keep": 5, "dry": True}, "dry: "),
        ({"step": "prune", "name": "prune", "keep": "all"}, "keep: "),
        ({"step": "prune", "name": "prune"}, "keep: "),
        (
            {"step": "verify_traffic", "name": "verify", "routing": {"port": 1, "stable": None, "mirror": 5}},
            "routing.mirror: ",
        ),
    ],
)
def test_a_step_of_another_version_is_unreadable_and_says_why(step: Any, why: str) -> None:
    plan = decode_plan(plan_of(step, COMMIT), STEPS)
    (found,) = plan.unreadable
    assert plan.steps[0] is found
    assert found.name == step["name"]
    assert found.why.startswith(why), found.why


def test_a_commit_that_cannot_be_read_is_still_known_for_the_commit() -> None:
    plan = decode_plan(plan_of({**COMMIT, "signed_by": "ana"}), STEPS)
    assert plan.commit_position == 0
    assert isinstance(plan.steps[0], Unreadable)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"steps": []}',
        '{"format": 2, "steps": []}',
        plan_of(),
        plan_of(COMMIT, COMMIT),
        plan_of(1),
        plan_of({}),
    ],
)
def test_what_is_no_plan_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        decode_plan(text, STEPS)


# ------------------------------------------------------------------------------------------- what becomes of it


def edit(shop: Shop, rollout: Rollout, change: Any) -> None:
    """The stored plan, as if a newer Longshore had made it."""
    text = shop.lab.store.plan_of(rollout.id)
    assert text is not None
    with shop.lab.store.transaction():
        changed = {"plan": change(text), "id": rollout.id}
        shop.lab.store.db.write("UPDATE rollouts SET plan = :plan WHERE id = :id", changed)


def renamed(*names: str) -> Any:
    """The steps of these names are of a kind that nobody knows; all of them where none is named."""

    def change(text: str) -> str:
        plan = json.loads(text)
        for step in plan["steps"]:
            if step["step"] != "commit" and (step["name"] in names or not names):
                step["step"] = f"newer_{step['step']}"
        return json.dumps(plan)

    return change


UNREADABLE: dict[str, Any] = {
    "every step": renamed(),
    "its format": lambda text: text.replace('"format": 1', '"format": 2'),
    "its JSON": lambda text: text[: len(text) // 2],
}


async def interrupted(shop: Shop, strategy: str) -> Rollout:
    await shop.deployed("1.0", strategy=strategy)
    shop.script("2.0", start_block="after")
    rollout = await shop.begin("2.0", strategy=strategy)
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    await shop.lab.runner.close()
    return rollout


async def restarted(shop: Shop) -> None:
    await shop.restart()
    assert await shop.lab.recover()


@pytest.mark.parametrize("what", UNREADABLE)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_one_that_ran_is_stuck_and_says_what_to_do_while_the_old_version_serves(
    shop: Shop, strategy: str, what: str
) -> None:
    rollout = await interrupted(shop, strategy)
    edit(shop, rollout, UNREADABLE[what])
    await restarted(shop)
    ended = shop.last()
    assert ended.status is RolloutStatus.stuck
    assert "Start that version again" in ended.message
    assert shop.serving() == "1.0"
    assert shop.lab.serving() == 2
    assert not shop.lab.store.open_rollouts(), "it would be tried for ever"


async def test_steps_that_were_not_begun_need_not_be_read(shop: Shop) -> None:
    rollout = await interrupted(shop, "blue-green")
    edit(shop, rollout, renamed("verify_traffic", "health_check", "retire"))
    await restarted(shop)
    assert shop.last().status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_a_stuck_one_is_undone_by_the_version_that_planned_it(shop: Shop) -> None:
    rollout = await interrupted(shop, "rolling")
    text = shop.lab.store.plan_of(rollout.id)
    edit(shop, rollout, renamed())
    await restarted(shop)
    refused = await shop.deploy("3.0", strategy="rolling")
    assert refused.status is RolloutStatus.stuck
    assert refused.failure is not None
    assert "cannot read the step" in refused.failure.message
    assert shop.serving() == "1.0"
    await shop.restart()
    edit(shop, rollout, lambda _: text)
    await shop.lab.recover()
    shop.script("2.0")
    assert (await shop.deploy("3.0", strategy="rolling")).status is RolloutStatus.succeeded
    assert shop.lab.store.rollout(rollout.id).status is RolloutStatus.unwound  # type: ignore[union-attr]
    assert shop.serving() == "3.0"


@pytest.mark.parametrize("what", ["every step", "its format"])
@pytest.mark.parametrize("strategy", ["blue-green", "canary"])
async def test_one_past_its_commit_is_over_and_the_new_version_has_all_requests(
    shop: Shop, strategy: str, what: str
) -> None:
    await shop.deployed("1.0", strategy=strategy)
    rollout = await shop.begin("2.0", strategy=strategy)

    def gate() -> bool:
        if shop.last().status is RolloutStatus.committed and shop.router.gate is None:
            shop.router.gate = asyncio.Event()
        return shop.step_running("promote") and shop.router.gate is not None

    await until(gate, "it is committed and promotes")
    await shop.lab.runner.close()
    shop.router.gate = None
    edit(shop, rollout, UNREADABLE[what])
    await restarted(shop)
    assert shop.last().status is RolloutStatus.succeeded
    assert any("cannot read" in event for event in shop.events())
    assert shop.serving() == "2.0"


async def test_a_paused_one_stays_paused_and_tells_beforehand_what_resuming_would_do(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")
    shop.script("2.0", start_block="before")
    rollout = await shop.begin("2.0", strategy="rolling")
    await until(lambda: shop.driver_world.blocked("2.0"), "the new one starts")
    await shop.lab.service.pause("shop", rollout.id, terms=Terms("ana"))
    shop.driver_world.unblock("2.0")
    await until(lambda: shop.last().status is RolloutStatus.paused, "it is paused")
    await shop.lab.runner.close()
    edit(shop, rollout, renamed("health_check"))
    await shop.restart()
    await shop.lab.runner.recover()
    await until(
        lambda: any("start that version again to resume it, or abort it" in event for event in shop.events()),
        "it is told",
    )
    assert shop.last().status is RolloutStatus.paused
    ended = await shop.lab.service.abort("shop", rollout.id, terms=Terms("ana"))
    assert ended.status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"
