"""SIGKILL for real: managers are killed at random writes of what they do, and in the recovery, under load.

A random sample of what `make chaos` does at every write. The seed is printed; `CHAOS_SEED=n` repeats a run's choices.
What must hold afterwards is looked at from outside: who answers, what the status says, which processes there are, what
became of each request, how long the next manager took.
"""

from __future__ import annotations

import random

import pytest

from chaos.sweeping.acts import ACTS
from chaos.sweeping.cases import POINTS, Case, Group
from chaos.sweeping.stand import Stand, open_stand
from chaos.sweeping.trial import carry_out
from longshore.rollout.strategies import STRATEGIES
from support.envoy import needs_envoy
from support.kills import seeded

pytestmark = [needs_envoy, pytest.mark.slow, pytest.mark.alone]

#: kills of each act with each strategy; 3 x 4 acts x 4 strategies are 48
KILLS = 3
#: kills of each act that is the same whatever the strategy; 3 x 4 are 12
FEW = 3
#: one that comes to no write is done again, so often at most
TRIES = 4
#: act → the writes it has at most or thereabouts; a kill beyond them finds the manager at rest, and is done again
WRITES = {"good": 72, "failing": 62, "abort": 35, "rollback": 67, "first": 43, "restart": 49, "scale": 20, "delete": 9}
#: writes of a deploy before its commit, thereabouts: where an abort comes
ABORTABLE = 35


@pytest.fixture
def chance() -> random.Random:
    return seeded()


def case_of(group: Group, most: int, chance: random.Random) -> Case:
    """A random kill, at one of the first `most` writes, and in most cases another one in the recovery."""
    at = chance.randint(1, ABORTABLE) if ACTS[group.act].aborts else 0
    # An abort has no more to undo than was done before it.
    writes = min(most, at + 4) if at else most
    return Case(
        group,
        write=chance.randint(1, writes),
        point=chance.choice(POINTS),
        second=chance.randint(1, 20),
        second_point=chance.choice(POINTS),
        abort_at=at,
    )


async def kill(stand: Stand, act: str, times: int, chance: random.Random) -> None:
    reached, most = 0, WRITES[act]
    for _ in range(TRIES * times):
        result = await carry_out(stand, case_of(Group(stand.group.strategy, act), most, chance))
        print(result)
        assert not result.violation, f"{result.violation}\n{result}"
        reached += result.reached
        if not result.reached and not result.case.abort_at:
            most = result.case.write - 1  # it has fewer, with this strategy
        if reached == times:
            return
    raise AssertionError(f"of {TRIES * times} kills only {reached} came to their write of {act}")


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_manager_killed_at_any_write_leaves_one_version_no_process_and_no_lost_request(
    strategy: str, chance: random.Random
) -> None:
    async with open_stand(Group(strategy, "good"), loaded=True) as stand:
        for act in ("good", "failing", "abort"):
            await kill(stand, act, KILLS, chance)
    summary, losses = stand.losses()
    assert not summary.failed, losses


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_a_manager_killed_while_it_rolls_back_ends_on_the_one_version_or_the_other(
    strategy: str, chance: random.Random
) -> None:
    async with open_stand(Group(strategy, "rollback"), loaded=True) as stand:
        await kill(stand, "rollback", KILLS, chance)
    summary, losses = stand.losses()
    assert not summary.failed, losses


async def test_a_manager_killed_while_it_restarts_or_scales_ends_with_all_of_its_instances(
    chance: random.Random,
) -> None:
    async with open_stand(Group("rolling", "restart"), loaded=True) as stand:
        for act in ("restart", "scale"):
            await kill(stand, act, FEW, chance)
    summary, losses = stand.losses()
    assert not summary.failed, losses


async def test_a_manager_killed_in_the_first_deploy_leaves_it_whole_or_nothing_at_all(chance: random.Random) -> None:
    async with open_stand(Group("rolling", "first"), loaded=False) as stand:
        await kill(stand, "first", FEW, chance)


async def test_a_delete_that_was_interrupted_can_be_repeated_and_leaves_nothing(chance: random.Random) -> None:
    async with open_stand(Group("rolling", "delete"), loaded=False) as stand:
        await kill(stand, "delete", FEW, chance)
