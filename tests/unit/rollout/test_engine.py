"""The one rule, on plans whose steps do as a test says: before the commit undo in reverse, after it finish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from longshore.errors import (
    HealthCheckFailed,
    HookFailed,
    LeaseLost,
    LongshoreError,
    RolloutAborted,
    RolloutFailed,
    SpecInvalid,
)
from longshore.files import FilesError
from longshore.model import Rollout, RolloutKind, RolloutStatus, Spec, StepStatus
from longshore.rollout.control import Control
from longshore.rollout.engine import UNDO_PAUSES_S, Engine, describe
from longshore.rollout.plan import Context, Plan, Step, StepWarning
from longshore.rollout.steps.release import Commit
from longshore.store.sqlite import StoreUnavailable
from support.engine import Directory
from support.makers import make_deployment, make_release, make_rollout, make_spec
from support.shop import Shop, until


@dataclass
class Script:
    """What the steps of a plan do, and what they did."""

    did: list[str] = field(default_factory=list)
    #: step → what its run raises
    fails: dict[str, BaseException] = field(default_factory=dict)
    #: step → how often its undo fails
    undo_fails: dict[str, int] = field(default_factory=dict)
    #: what such an undo raises; None: RolloutFailed
    undo_error: Exception | None = None
    #: steps whose run waits for ever
    hangs: set[str] = field(default_factory=set)
    #: called when a step begins
    at: dict[str, Callable[[Context], None]] = field(default_factory=dict)
    #: steps without a bound
    unbounded: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Acted(Step):
    kind: ClassVar[str] = "acted"
    script: Script

    def bound(self, spec: Spec) -> float | None:
        return None if self.name in self.script.unbounded else super().bound(spec)

    async def run(self, context: Context) -> str:
        self.script.did.append(self.name)
        if self.name in self.script.at:
            self.script.at[self.name](context)
        if self.name in self.script.hangs:
            await asyncio.Event().wait()
        if self.name in self.script.fails:
            raise self.script.fails[self.name]
        return f"did {self.name}"

    async def undo(self, context: Context) -> str:
        if self.script.undo_fails.get(self.name, 0) > 0:
            self.script.undo_fails[self.name] -= 1
            raise self.script.undo_error or RolloutFailed(f"{self.name} cannot be undone")
        self.script.did.append(f"undo {self.name}")
        return ""


BEFORE, AFTER = ("a", "b", "c"), ("x", "y")


@dataclass
class Play:
    """A plan a, b, c, COMMIT, x, y on a manager in memory."""

    shop: Shop
    script: Script
    plan: Plan
    control: Control
    rollout: Rollout

    @property
    def engine(self) -> Engine:
        return Engine(self.shop.lab.world)

    async def run(self) -> Rollout:
        return await self.engine.run(self.rollout, self.plan, self.control)

    def current(self) -> str | None:
        deployment = self.shop.lab.store.deployment("shop")
        assert deployment is not None
        return deployment.current_version

    def statuses(self) -> dict[str, StepStatus]:
        return {("undo " if r.undo else "") + r.name: r.status for r in self.shop.lab.store.journal(self.rollout.id)}


@pytest.fixture
def play(shop: Shop) -> Play:
    return make_play(shop)


def make_play(shop: Shop, **fields: object) -> Play:
    store, script = shop.lab.store, Script()
    if store.deployment("shop") is None:
        store.save_deployment(make_deployment(current_version="1.0"))
        for version in ("1.0", "2.0"):
            store.save_release(make_release(version, created_at=float(version), healthy_at=None))
    rollout = store.open_rollout(make_rollout(spec=make_spec(working_directory="/data/apps/shop", **fields)))
    acted = {name: Acted(script, name=name) for name in BEFORE + AFTER}
    plan = Plan((*(acted[n] for n in BEFORE), Commit("2.0", "1.0", ()), *(acted[n] for n in AFTER)))
    return Play(shop, script, plan, Control(), rollout)


def undone(*names: str) -> list[str]:
    return [f"undo {name}" for name in names]


async def test_a_plan_runs_from_its_beginning_to_its_end(play: Play) -> None:
    ended = await play.run()
    assert ended.status is RolloutStatus.succeeded
    assert ended.message == "Deployed shop 2.0"
    assert play.script.did == [*BEFORE, *AFTER]
    assert play.current() == "2.0"
    assert set(play.statuses().values()) == {StepStatus.completed}


@pytest.mark.parametrize("failing", BEFORE)
async def test_a_step_that_fails_undoes_all_that_was_begun_in_reverse(play: Play, failing: str) -> None:
    play.script.fails[failing] = HookFailed("no", cause="exit 1")
    ended = await play.run()
    began = BEFORE[: BEFORE.index(failing) + 1]
    assert play.script.did == [*began, *undone(*reversed(began))]
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.operation, ended.failure.cause) == ("HOOK_FAILED", failing, "exit 1")
    assert ended.message == "no. Everything was undone; 1.0 serves."
    assert play.current() == "1.0"


async def test_an_error_nobody_foresaw_is_a_failure_like_any_other(play: Play) -> None:
    play.script.fails["b"] = ZeroDivisionError("division by zero")
    ended = await play.run()
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.message) == ("DEPLOYMENT_FAILED", "b failed: division by zero")


@pytest.mark.parametrize("failing", AFTER)
async def test_a_step_that_fails_past_the_commit_is_a_warning(play: Play, failing: str) -> None:
    play.script.fails[failing] = RolloutFailed("no")
    ended = await play.run()
    assert ended.status is RolloutStatus.succeeded
    assert play.script.did == [*BEFORE, *AFTER]
    assert play.statuses()[failing] is StepStatus.failed
    assert f"warning: {failing} failed: no" in play.shop.events()


async def test_a_step_that_only_warns_lets_the_rollout_go_on(play: Play) -> None:
    play.script.fails["b"] = StepWarning("the hook failed")
    ended = await play.run()
    assert ended.status is RolloutStatus.succeeded
    assert play.statuses()["b"] is StepStatus.failed
    told = [p for p in play.shop.lab.store.progress(play.rollout.id) if p.step == "b"]
    assert [p.status for p in told] == ["running", "warning"]


@pytest.mark.parametrize("during", BEFORE)
async def test_an_abort_ends_the_step_under_way_at_once_and_undoes(play: Play, during: str) -> None:
    play.script.hangs.add(during)
    play.script.at[during] = lambda _: play.control.abort("wrong build")
    ended = await play.run()
    began = BEFORE[: BEFORE.index(during) + 1]
    assert play.script.did == [*began, *undone(*reversed(began))]
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.cause) == ("DEPLOYMENT_ABORTED", "wrong build")


async def test_an_abort_before_the_first_step_runs_none(play: Play) -> None:
    play.control.abort("wrong build")
    ended = await play.run()
    assert (ended.status, play.script.did) == (RolloutStatus.unwound, [])


async def test_an_abort_past_the_commit_changes_nothing(play: Play) -> None:
    play.script.at["x"] = lambda _: play.control.abort("too late")
    assert (await play.run()).status is RolloutStatus.succeeded


# -------------------------------------------------------------------------------------------------- hold


async def test_a_failure_is_held_where_the_spec_says_so_and_undone_later(shop: Shop) -> None:
    play = make_play(shop, rollback_on_failure=False)
    play.script.fails["b"] = RolloutFailed("no")
    held = await play.run()
    assert held.status is RolloutStatus.held
    assert play.script.did == ["a", "b"]
    ended = await play.engine.unwind(held, play.plan)
    assert ended.status is RolloutStatus.unwound
    assert play.script.did == ["a", "b", *undone("b", "a")]


def refuse_next_write(shop: Shop) -> None:
    def refuse() -> None:
        raise StoreUnavailable("The database cannot be written: its disk is full.")

    shop.lab.at_write[shop.lab.writes + 1] = refuse


async def test_a_step_whose_end_could_not_be_written_is_closed_where_failures_are_held(shop: Shop) -> None:
    play = make_play(shop, rollback_on_failure=False)
    play.script.at["b"] = lambda _: refuse_next_write(shop)
    held = await play.run()
    assert held.status is RolloutStatus.held
    assert play.script.did == ["a", "b"]
    assert play.statuses() == {"a": StepStatus.completed, "b": StepStatus.failed}
    ended = await play.engine.unwind(held, play.plan)
    assert ended.status is RolloutStatus.unwound
    assert play.script.did == ["a", "b", *undone("b", "a")]


async def test_a_commit_that_the_database_refuses_leaves_current_as_it_was_where_failures_are_held(shop: Shop) -> None:
    play = make_play(shop, rollback_on_failure=False)
    shop.lab.refuse_commit = True
    held = await play.run()
    shop.lab.refuse_commit = False
    assert held.status is RolloutStatus.held
    assert play.script.did == [*BEFORE]
    assert play.current() == "1.0"
    assert set(shop.machine.disk.links.values()) == {"1.0"}
    assert play.statuses()["commit"] is StepStatus.failed
    assert play.statuses()["undo commit"] is StepStatus.completed
    ended = await play.engine.unwind(held, play.plan)
    assert ended.status is RolloutStatus.unwound
    assert play.script.did == [*BEFORE, *undone("c", "b", "a")]


async def test_a_current_that_cannot_be_put_back_is_held_too_and_put_back_later(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = make_play(shop, rollback_on_failure=False)
    set_current = Directory.set_current

    def only_forth(self: Directory, version: str | None) -> None:
        if version == "1.0":
            raise FilesError("The disk is read-only.")
        set_current(self, version)

    with monkeypatch.context() as patched:
        patched.setattr(Directory, "set_current", only_forth)
        shop.lab.refuse_commit = True
        held = await play.run()
        shop.lab.refuse_commit = False
    assert held.status is RolloutStatus.held
    assert play.statuses()["undo commit"] is StepStatus.failed
    assert (await play.engine.unwind(held, play.plan)).status is RolloutStatus.unwound
    assert set(shop.machine.disk.links.values()) == {"1.0"}


async def test_an_abort_is_undone_even_where_failures_are_held(shop: Shop) -> None:
    play = make_play(shop, rollback_on_failure=False)
    play.script.at["b"] = lambda _: play.control.abort("wrong build")
    assert (await play.run()).status is RolloutStatus.unwound


# -------------------------------------------------------------------------------------------------- undo


async def test_an_undo_is_tried_again_before_it_is_given_up(play: Play) -> None:
    play.script.fails["c"] = RolloutFailed("no")
    play.script.undo_fails["b"] = len(UNDO_PAUSES_S)
    ended = await play.run()
    assert ended.status is RolloutStatus.unwound
    assert play.script.did[3:] == undone("c", "b", "a")
    warned = [p for p in play.shop.lab.store.progress(play.rollout.id) if p.status == "warning" and p.step == "undo b"]
    assert len(warned) == len(UNDO_PAUSES_S)


async def test_an_undo_that_keeps_failing_stops_there_and_says_what_to_do(play: Play) -> None:
    play.script.fails["c"] = RolloutFailed("no")
    play.script.undo_fails["b"] = 99
    ended = await play.run()
    assert ended.status is RolloutStatus.stuck
    assert play.script.did[3:] == undone("c")
    assert ended.message.startswith("Undoing b failed: b cannot be undone. Mend that, then deploy or roll back again")
    assert ended.failure is not None
    assert ended.failure.message == "no"
    assert play.statuses()["undo b"] is StepStatus.failed


async def test_an_undo_that_the_store_did_not_let_be_written_down_needs_nobody_and_is_gone_on_with(play: Play) -> None:
    play.script.fails["c"] = RolloutFailed("no")
    play.script.undo_fails["b"] = 99
    play.script.undo_error = StoreUnavailable("The database cannot be written: its disk is full.")
    with pytest.raises(StoreUnavailable):
        await play.run()
    left = play.shop.lab.store.rollout(play.rollout.id)
    assert left is not None
    assert left.status is RolloutStatus.unwinding
    play.script.undo_fails.clear()
    ended = await play.engine.unwind(left, play.plan)
    assert ended.status is RolloutStatus.unwound
    assert play.script.did[3:] == undone("c", "b", "a")


async def test_a_stuck_rollout_is_undone_from_where_it_stopped(play: Play) -> None:
    play.script.fails["c"] = RolloutFailed("no")
    play.script.undo_fails["b"] = 99
    stuck = await play.run()
    assert (await play.engine.unwind(stuck, play.plan)).status is RolloutStatus.stuck
    play.script.undo_fails.clear()
    ended = await play.engine.unwind(stuck, play.plan)
    assert ended.status is RolloutStatus.unwound
    assert play.script.did[3:] == undone("c", "b", "a")
    assert play.statuses()["undo b"] is StepStatus.completed


# -------------------------------------------------------------------------------------------------- pause


async def test_a_pause_holds_before_the_next_step_until_resumed(play: Play) -> None:
    play.script.at["a"] = lambda _: play.control.pause()
    running = asyncio.ensure_future(play.run())
    await until(lambda: play.shop.last().status is RolloutStatus.paused, "it is paused")
    assert play.script.did == ["a"]
    play.control.resume()
    assert (await running).status is RolloutStatus.succeeded
    assert play.script.did == [*BEFORE, *AFTER]


async def test_a_paused_rollout_can_be_aborted(play: Play) -> None:
    play.script.at["b"] = lambda _: play.control.pause()
    running = asyncio.ensure_future(play.run())
    await until(lambda: play.shop.last().status is RolloutStatus.paused, "it is paused")
    play.control.abort("wrong build")
    assert (await running).status is RolloutStatus.unwound
    assert play.script.did == ["a", "b", *undone("b", "a")]


async def test_a_pause_before_the_commit_holds_the_commit(play: Play) -> None:
    play.script.at["c"] = lambda _: play.control.pause()
    running = asyncio.ensure_future(play.run())
    await until(lambda: play.shop.last().status is RolloutStatus.paused, "it is paused")
    assert play.current() == "1.0"
    play.control.promote()
    assert (await running).status is RolloutStatus.succeeded


async def test_no_deadline_counts_while_it_is_paused(play: Play) -> None:
    play.script.at["a"] = lambda _: play.control.pause()
    running = asyncio.ensure_future(play.run())
    await until(lambda: play.shop.last().status is RolloutStatus.paused, "it is paused")
    play.shop.clock.advance(86_400)
    play.control.resume()
    assert (await running).status is RolloutStatus.succeeded


# -------------------------------------------------------------------------------------------------- deadlines


async def test_a_step_that_gets_nowhere_is_given_up_and_undone(play: Play) -> None:
    play.script.hangs.add("b")
    running = asyncio.ensure_future(play.run())
    await until(lambda: play.script.did == ["a", "b"], "b runs")
    play.shop.clock.advance(599)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done()
    play.shop.clock.advance(1)
    ended = await asyncio.wait_for(running, 20)
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert ended.failure.message == "b got nowhere for 10m0s and was given up."


async def test_a_step_that_advances_gets_its_time_anew(play: Play) -> None:
    contexts: list[Context] = []
    play.script.hangs.add("b")
    play.script.at["b"] = contexts.append
    running = asyncio.ensure_future(play.run())
    await until(lambda: contexts, "b runs")
    for _ in range(5):
        play.shop.clock.advance(500)
        contexts[0].advance()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not running.done()
    play.control.abort("enough")
    await running


async def test_a_step_without_a_bound_is_never_given_up(play: Play) -> None:
    play.script.hangs.add("b")
    play.script.unbounded.add("b")
    running = asyncio.ensure_future(play.run())
    await until(lambda: play.script.did == ["a", "b"], "b runs")
    play.shop.clock.advance(86_400)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done()
    play.control.abort("enough")
    await running


# -------------------------------------------------------------------------------------------------- the commit


async def test_a_commit_that_the_database_refuses_is_undone_with_all_before_it(play: Play) -> None:
    play.shop.lab.refuse_commit = True
    ended = await play.run()
    play.shop.lab.refuse_commit = False
    assert ended.status is RolloutStatus.unwound
    assert play.current() == "1.0"
    assert play.shop.machine.disk.links == {} or set(play.shop.machine.disk.links.values()) == {"1.0"}
    assert play.script.did == [*BEFORE, *undone("c", "b", "a")]


async def test_the_commit_moves_the_release_the_deployment_and_the_rollout_together(play: Play) -> None:
    play.script.hangs.add("x")
    running = asyncio.ensure_future(play.run())
    await until(lambda: "x" in play.script.did, "x runs")
    store = play.shop.lab.store
    release = store.release("shop", "2.0")
    deployment = store.deployment("shop")
    assert release is not None
    assert deployment is not None
    assert release.healthy_at == play.shop.clock.now()
    assert release.spec == play.rollout.spec
    assert (deployment.current_version, deployment.previous_version) == ("2.0", "1.0")
    assert play.shop.last().status is RolloutStatus.committed
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_manager_that_was_replaced_writes_nothing_more(play: Play) -> None:
    play.script.fails["b"] = LeaseLost()
    with pytest.raises(LeaseLost):
        await play.run()
    assert play.shop.last().status is RolloutStatus.running
    assert play.script.did == ["a", "b"]


async def test_cancelled_it_leaves_all_as_it_is(play: Play) -> None:
    play.script.hangs.add("b")
    running = asyncio.ensure_future(play.run())
    await until(lambda: play.script.did == ["a", "b"], "b runs")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert play.shop.last().status is RolloutStatus.running
    assert play.statuses()["b"] is StepStatus.running
    assert play.script.did == ["a", "b"]


async def test_what_was_interrupted_is_closed_as_failed_and_undone(play: Play) -> None:
    play.script.hangs.add("b")
    running = asyncio.ensure_future(play.run())
    await until(lambda: play.script.did == ["a", "b"], "b runs")
    running.cancel()
    await asyncio.wait({running})
    store = play.shop.lab.store
    ended = await play.engine.unwind(store.set_status(play.rollout, RolloutStatus.unwinding), play.plan)
    assert ended.status is RolloutStatus.unwound
    assert play.statuses()["b"] is StepStatus.failed
    assert play.script.did == ["a", "b", *undone("b", "a")]


async def test_finishing_repeats_what_was_under_way_and_skips_what_was_done(play: Play) -> None:
    play.script.hangs.add("y")
    running = asyncio.ensure_future(play.run())
    await until(lambda: "y" in play.script.did, "y runs")
    running.cancel()
    await asyncio.wait({running})
    play.script.hangs.clear()
    ended = await play.engine.finish(play.shop.last(), play.plan)
    assert ended.status is RolloutStatus.succeeded
    assert play.script.did == [*BEFORE, "x", "y", "y"]


# -------------------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("failing", [None, "a", "c", "y"])
async def test_progress_never_goes_down_and_ends_at_100_with_the_last_message(play: Play, failing: str | None) -> None:
    if failing is not None:
        play.script.fails[failing] = RolloutFailed("no")
    ended = await play.run()
    told = play.shop.lab.store.progress(play.rollout.id)
    percents = [p.progress_pct for p in told]
    assert percents == sorted(percents)
    assert [p.progress_pct == 100 for p in told] == [p.last for p in told]
    assert [p.last for p in told].count(True) == 1
    assert told[-1].last
    assert told[-1].status == ("success" if ended.status is RolloutStatus.succeeded else "failed")
    assert [p.seq for p in told] == list(range(1, len(told) + 1))


async def test_watchers_hear_what_is_on_disk_and_in_that_order(play: Play) -> None:
    watcher = play.shop.lab.world.bus.subscribe("shop", [])
    await play.run()
    stored = play.shop.lab.store.progress(play.rollout.id)
    assert [await watcher.get() for _ in stored] == stored


# -------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("error", "code", "rollback_code", "cause"),
    [
        (HealthCheckFailed("no", cause="503"), "HEALTH_CHECK_FAILED", "ROLLBACK_FAILED", "HEALTH_CHECK_FAILED: 503"),
        (RolloutFailed("no"), "DEPLOYMENT_FAILED", "ROLLBACK_FAILED", "DEPLOYMENT_FAILED: no"),
        (RolloutAborted("no", cause="why"), "DEPLOYMENT_ABORTED", "DEPLOYMENT_ABORTED", "why"),
        (SpecInvalid("no", cause="why"), "DEPLOYMENT_FAILED", "ROLLBACK_FAILED", "DEPLOYMENT_FAILED: why"),
        (LongshoreError("no"), "DEPLOYMENT_FAILED", "ROLLBACK_FAILED", "DEPLOYMENT_FAILED: no"),
    ],
)
def test_a_failure_has_its_code_and_a_failed_rollback_one_for_all(
    error: LongshoreError, code: str, rollback_code: str, cause: str
) -> None:
    deploy = describe(make_rollout(), error)
    assert (deploy.code, deploy.message, deploy.cause) == (code, "no", error.cause)
    rollback = describe(make_rollout(kind=RolloutKind.rollback), error)
    assert (rollback.code, rollback.cause) == (rollback_code, cause)


def test_what_is_no_error_of_ours_is_told_too() -> None:
    failure = describe(make_rollout(), ZeroDivisionError("division by zero"))
    assert (failure.code, failure.cause) == ("DEPLOYMENT_FAILED", "division by zero")
