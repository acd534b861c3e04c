"""A canary that is watched, in memory: what it waits for, what survives a restart, and whose checks judge it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from longshore.drivers.identity import read_stat
from longshore.model import Analysis, CanaryCheck, CanaryStep, Rollout, RolloutStatus
from longshore.proc import HookResult, run_shell
from longshore.rollout.steps import hooks
from longshore.rollout.terms import Terms
from longshore.routers.base import Figures
from support.shop import Shop, until

WATCHED = "watch_canary_50"
#: beyond what HandClock lets pass by itself
LONG_S = 100.0


def canary(pause: float | str = 2.0, **analysis: Any) -> dict[str, Any]:
    steps = (CanaryStep(50, pause), CanaryStep(100, 0.0))  # type: ignore[arg-type]
    return {"strategy": "canary", "canary": {"steps": steps, "analysis": analysis}}


def answered(shop: Shop, requests: int, *, failures: int = 0) -> None:
    """The candidate and the stable version have answered so many, the candidate with failures."""
    traffic = shop.router.applied["shop"]
    assert traffic.stable is not None
    assert traffic.candidate is not None
    shop.router.figure["shop", traffic.stable.id] = Figures("0", requests, 0, 0, 0, 0, {10.0: requests})
    shop.router.figure["shop", traffic.candidate.id] = Figures("0", requests, failures, 0, 0, 0, {10.0: requests})


def busy(shop: Shop) -> None:
    """From now on each version answers a hundred requests between two readings, all well."""
    seen: dict[str, int] = {}

    async def figures(name: str, pool: str) -> Figures:
        seen[pool] = seen.get(pool, 0) + 100
        return Figures("0", seen[pool], 0, 0, 0, 0, {10.0: seen[pool]})

    shop.router.figures = figures  # type: ignore[method-assign]


async def watched(shop: Shop, **fields: Any) -> Rollout:
    rollout = await shop.begin("2.0", **fields)
    await until(lambda: shop.step_running(WATCHED), "it is watched")
    return rollout


async def paused(shop: Shop) -> None:
    await until(lambda: shop.last().status is RolloutStatus.paused, "it is paused")


async def restarted(shop: Shop) -> None:
    await shop.restart()
    await shop.lab.runner.recover()
    await until(lambda: "info: The manager was restarted: the rollout is still paused." in shop.events(), "it is told")
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
async def _serves(shop: Shop) -> None:
    await shop.deployed("1.0", strategy="rolling")


# ------------------------------------------------------------------------------------------------- waiting


async def test_one_that_waits_for_a_person_is_a_paused_rollout(shop: Shop) -> None:
    rollout = await watched(shop, **canary("manual"))
    await paused(shop)
    assert "info: Waiting at 50 %: promote or resume it, or abort it." in shop.events()
    await shop.lab.service.resume("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    assert "info: Resumed." in shop.events()


@pytest.mark.parametrize("verb", ["resume", "promote"])
@pytest.mark.parametrize("restarts", [1, 2])
async def test_one_that_waits_survives_a_restart_and_goes_on(shop: Shop, verb: str, restarts: int) -> None:
    rollout = await watched(shop, **canary("manual"))
    await paused(shop)
    done = shop.steps(rollout)
    for _ in range(restarts):
        await restarted(shop)
        assert shop.last().status is RolloutStatus.paused
        assert shop.steps(rollout) == done
    await getattr(shop.lab.service, verb)("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    assert shop.lab.assert_settled(replicas=2) == "2.0"


async def test_one_that_waits_can_be_aborted_after_a_restart(shop: Shop) -> None:
    rollout = await watched(shop, **canary("manual"))
    await paused(shop)
    await restarted(shop)
    ended = await shop.lab.service.abort("shop", rollout.id, terms=Terms("ana"))
    assert ended.status is RolloutStatus.unwound
    assert shop.lab.assert_settled(replicas=2) == "1.0"


@pytest.mark.parametrize("restart", [False, True])
async def test_one_that_waits_is_watched_on_and_undone_when_it_turns_bad(shop: Shop, restart: bool) -> None:
    rollout = await watched(shop, **canary("manual"))
    await paused(shop)
    if restart:
        await restarted(shop)
    began = shop.clock.time
    await until(lambda: shop.clock.time > began, "the figures were read")
    answered(shop, 1000, failures=300)
    ended = await shop.outcome(rollout)
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert "judged worse at 50 %" in ended.failure.message
    assert shop.lab.assert_settled(replicas=2) == "1.0"


async def test_one_that_was_watched_for_a_time_is_undone_by_a_restart_as_any_other(shop: Shop) -> None:
    await watched(shop, **canary(LONG_S))
    await shop.restart()
    assert await shop.lab.recover()
    assert shop.last().status is RolloutStatus.unwound


async def test_no_deadline_counts_while_it_waits(shop: Shop) -> None:
    rollout = await watched(shop, **canary("manual"), progress_deadline=60.0)
    await paused(shop)
    shop.clock.advance(10_000.0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert shop.last().status is RolloutStatus.paused
    await shop.lab.service.promote("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded


# ------------------------------------------------------------------------------------------------- inconclusive


@pytest.mark.parametrize("restart", [False, True])
async def test_without_a_verdict_it_is_paused_and_promote_goes_on(shop: Shop, restart: bool) -> None:
    rollout = await watched(shop, **canary(), progress_deadline=60.0)
    await paused(shop)
    assert any("Inconclusive at 50 %: fewer than 50 requests on one side: candidate 0" in e for e in shop.events())
    if restart:
        await restarted(shop)
    shop.clock.advance(10_000.0)
    await shop.lab.service.promote("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.succeeded
    assert any(f"{WATCHED}: promoted by hand: inconclusive: fewer than 50" in event for event in shop.events())


async def test_without_a_verdict_it_can_go_on_with_a_warning(shop: Shop) -> None:
    ended = await shop.deploy("2.0", **canary(on_inconclusive="continue"))
    assert ended.status is RolloutStatus.succeeded
    assert any(f"warning: {WATCHED}: judged on health alone: inconclusive: " in event for event in shop.events())


async def test_without_a_verdict_it_can_be_undone(shop: Shop) -> None:
    ended = await shop.deploy("2.0", **canary(on_inconclusive="abort"))
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert ended.failure.code == "HEALTH_CHECK_FAILED"
    assert "could not be judged at 50 %" in ended.failure.message


async def test_whoever_has_chosen_nothing_is_answered_in_the_end(shop: Shop) -> None:
    """A client that knows of the documented fields of the first contract alone has no way to promote."""
    ended = await shop.deploy("2.0", strategy="canary")
    assert ended.status is RolloutStatus.succeeded
    assert sum("judged on health alone" in event for event in shop.events()) == 3


async def test_a_step_without_a_pause_asks_for_no_verdict(shop: Shop) -> None:
    ended = await shop.deploy("2.0", **canary(0.0))
    assert ended.status is RolloutStatus.succeeded
    assert f"info: {WATCHED}: passed: healthy; not watched, as its pause is 0s" in shop.events()


# ------------------------------------------------------------------------------------------------- passed, checks


async def test_a_verdict_stands_with_its_numbers_in_step_history_and_progress(shop: Shop) -> None:
    busy(shop)
    rollout = await shop.deploy("2.0", **canary())
    assert rollout.status is RolloutStatus.succeeded, rollout.failure
    store = shop.lab.store
    (step,) = [record for record in store.journal(rollout.id) if record.name == WATCHED]
    told = [progress.message for progress in store.progress(rollout.id, 0) if progress.step == WATCHED]
    assert "requests, 0.0 % failed (5xx 0.0 %, hidden from clients 0.0 %), 4xx 0.0 %, 3xx" in step.message
    assert step.message.startswith("passed: candidate ")
    assert f"info: {WATCHED}: {step.message}" in shop.events()
    assert any(message.startswith("so far passed: candidate ") for message in told)
    assert told[-1] == step.message


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands are run in earnest; releases in memory have no directory to run in."""

    async def run(command: str, *, cwd: Path, log: Path, **more: Any) -> HookResult:
        return await run_shell(command, cwd=tmp_path, **more)

    monkeypatch.setattr(hooks, "run_shell", run)


def command(line: str, **more: Any) -> dict[str, Any]:
    return canary(on_inconclusive="abort", min_requests=1, checks=(CanaryCheck("smoke", command=line, **more),))


async def checked(shop: Shop, fields: dict[str, Any]) -> Rollout:
    """Of a canary about which the figures say nothing bad."""
    busy(shop)
    return await shop.deploy("2.0", **fields)


@pytest.mark.usefixtures("shell")
async def test_a_check_that_fails_has_the_canary_undone(shop: Shop) -> None:
    ended = await checked(
        shop, command('echo "no orders at $CANARY_WEIGHT %, says $CANARY_CHECK of $DEPLOYMENT_NAME"; exit 3')
    )
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert "check smoke: passed 0, failed 1 (of 1), last: exit code 3: no orders at 50 %, says smoke of shop" in (
        ended.failure.message
    )


@pytest.mark.usefixtures("shell")
async def test_a_check_that_passes_is_told_of(shop: Shop) -> None:
    ended = await checked(shop, command("true"))
    assert ended.status is RolloutStatus.succeeded, ended.failure
    assert any(
        "check smoke: passed" in event and "failed 0 (of 1), last: exit code 0" in event for event in shop.events()
    )


@pytest.mark.usefixtures("shell")
async def test_where_the_router_tells_no_figures_the_checks_alone_judge(shop: Shop) -> None:
    shop.router.capabilities = lambda: frozenset({"weights"})  # type: ignore[method-assign]
    good = await shop.deploy("2.0", **command("true"))
    assert good.status is RolloutStatus.succeeded, good.failure
    assert any("whoever sends the requests here tells no figures" in event for event in shop.events())
    bad = await shop.deploy("3.0", **command("exit 3"))
    assert bad.status is RolloutStatus.unwound


@pytest.mark.usefixtures("shell")
async def test_a_check_that_cannot_tell_leaves_no_verdict(shop: Shop) -> None:
    ended = await checked(shop, command("exit 75"))
    assert ended.status is RolloutStatus.unwound
    assert ended.failure is not None
    assert "could not be judged at 50 %" in ended.failure.message


@pytest.mark.usefixtures("shell")
async def test_what_a_check_prints_is_shown_without_secrets(shop: Shop) -> None:
    fields = command('echo "$API_TOKEN"; exit 1')
    ended = await checked(shop, {**fields, "configuration": {"API_TOKEN": "very-secret-indeed"}})
    assert ended.failure is not None
    assert "exit code 1: ********" in ended.failure.message
    assert not any("very-secret" in event for event in shop.events())


@pytest.mark.usefixtures("shell")
async def test_a_command_that_runs_is_ended_with_the_watch(shop: Shop, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    line = f"sleep 300 & echo $! > {pid}; wait"
    rollout = await watched(shop, **canary("manual", checks=(CanaryCheck("smoke", command=line, interval=0.1),)))
    await until(lambda: pid.exists() and pid.read_text().strip(), "it runs")
    await shop.lab.service.abort("shop", rollout.id, terms=Terms("ana"))
    assert (await shop.outcome(rollout)).status is RolloutStatus.unwound
    left = read_stat(int(pid.read_text()))
    assert left is None or left.dead


def test_the_defaults_of_a_canary_are_those_of_the_contract() -> None:
    limits = Analysis()
    assert (limits.min_requests, limits.max_error_rate_increase) == (50, 1.0)
    assert (limits.max_latency_ratio, limits.min_latency_increase) == (1.5, 0.05)


async def test_a_verdict_stands_in_numbers_in_the_step_in_what_is_told_and_in_the_history(shop: Shop) -> None:
    busy(shop)
    rollout = await shop.deploy("2.0", **canary(pause=3.0))
    (step,) = [each for each in shop.lab.store.journal(rollout.id) if each.name == WATCHED]
    assert step.verdict is not None
    assert step.verdict.candidate is not None
    assert (step.verdict.verdict, step.verdict.weight, step.verdict.candidate.failed_pct) == ("passed", 50, 0.0)
    assert step.verdict.candidate.requests >= 50
    assert step.verdict.evidence[0].e_value < step.verdict.evidence[0].needed
    told = [each for each in shop.lab.store.progress(rollout.id) if each.step == WATCHED and each.verdict is not None]
    assert told[-1].verdict == step.verdict
    history = [each for each in shop.lab.store.events("shop", limit=50) if each.message.startswith(WATCHED)]
    assert [each.verdict for each in history] == [step.verdict]


async def test_a_verdict_against_a_candidate_is_kept_with_what_failed(shop: Shop) -> None:
    rollout = await watched(shop, **canary("manual"))
    await paused(shop)
    answered(shop, 1000, failures=300)
    ended = await shop.lab.service.outcome(rollout.id)
    assert ended.status is RolloutStatus.unwound
    (step,) = [each for each in shop.lab.store.journal(rollout.id) if each.name == WATCHED and not each.undo]
    assert step.verdict is not None
    assert (step.verdict.verdict, step.verdict.evidence[0].charge) == ("failed", "failures")
    assert step.verdict.evidence[0].e_value >= step.verdict.evidence[0].needed
    others = [each for each in shop.lab.store.journal(rollout.id) if each.name != WATCHED or each.undo]
    assert {each.verdict for each in others} == {None}
