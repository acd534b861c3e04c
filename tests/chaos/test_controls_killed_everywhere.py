"""The controls of every day, killed before every write to the store, and again in the recovery.

As test_engine_killed_everywhere.py does for deploys: either the whole of it has happened in the end, or nothing has.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from longshore.model import ReleaseState
from longshore.rollout.request import Request
from longshore.rollout.terms import Terms
from support.engine import Killed, Lab, Machine, machine

REPLICAS = 3
TEST = Terms("test")
STOPPED = "stopped"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Act = Callable[[Lab], Awaitable[object]]


async def stop(lab: Lab) -> object:
    return await lab._outcome(lambda: lab.service.stop("shop", terms=TEST))


async def start(lab: Lab) -> object:
    return await lab._outcome(lambda: lab.service.start("shop", terms=TEST))


async def change(lab: Lab) -> object:
    request = Request({"configuration": {"COLOUR": "blue"}}, dropped=frozenset({"drain_timeout"}))
    return await lab._outcome(lambda: lab.service.change("shop", request, terms=TEST))


#: what is done → what was done before, how it may end, and how many serve at every moment meanwhile
ACTS: dict[str, tuple[Act, tuple[Act, ...], set[str], int]] = {
    "stop": (stop, (), {"1.0", STOPPED}, 0),
    "start": (start, (stop,), {"1.0", STOPPED}, 0),
    "change": (change, (), {"1.0", "1.0+c1"}, REPLICAS),
    "change-of-what-is-stopped": (change, (stop,), {STOPPED, "1.0+c1"}, 0),
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("artifact") / "app"
    root.mkdir()
    (root / "run").write_text("1.0")
    (root / "run").chmod(0o755)
    return root


@pytest.mark.parametrize("name", ACTS)
def test_killed_before_any_write_and_again_in_the_recovery_it_has_happened_or_it_has_not(
    name: str, tmp_path: Path, artifact: Path
) -> None:
    act, before, ends, floor = ACTS[name]

    async def every() -> int:
        base = await prepared(tmp_path / "base.db", artifact, before)
        whole = Lab(base.copy(tmp_path / "whole.db"))
        await act(whole)
        ended, runs = set[str](), 0
        for first in range(1, whole.writes + 1):
            lab = Lab(base.copy(tmp_path / "first.db"), kill_at=first)
            await act(lab)
            lab.close()
            assert lab.dead, f"write {first} was never reached"
            again = 0
            while True:
                again += 1
                second = Lab(lab.machine.copy(tmp_path / "second.db"), kill_at=again)
                recovered = await second.recover()
                second.close()
                third = Lab(second.machine)
                assert await third.recover()
                ended.add(settled(third))
                served = [*lab.served, *second.served, *third.served]
                assert min(served, default=REPLICAS) >= floor, f"{min(served)} served, killed at {first} and {again}"
                third.close()
                remove(tmp_path / "second.db")
                runs += 1
                if recovered:
                    break
            remove(tmp_path / "first.db")
        whole.close()
        assert ended == ends
        return runs

    print(f"{name}: {quietly(every)} runs")


def test_a_pruning_that_is_killed_is_finished_by_the_next(tmp_path: Path, artifact: Path) -> None:
    async def prune(lab: Lab) -> None:
        try:
            await lab.service.prune("shop", 1, terms=TEST)
        except (Killed, BaseExceptionGroup):
            assert lab.dead

    async def every() -> int:
        base = await prepared(tmp_path / "base.db", artifact, (change_to("2"), change_to("3"), change_to("4")))
        whole = Lab(base.copy(tmp_path / "whole.db"))
        await prune(whole)
        assert in_store(whole) == {"1.0+c2", "1.0+c3"}
        whole.close()
        for first in range(1, whole.writes + 1):
            lab = Lab(base.copy(tmp_path / "first.db"), kill_at=first)
            await prune(lab)
            lab.close()
            assert lab.dead
            again = Lab(lab.machine)
            assert again.store.deployment("shop") is not None
            for version in in_store(again):
                assert version in on_disk(again), "a release that may be gone back to is gone"
            await prune(again)
            assert in_store(again) == on_disk(again) == {"1.0+c2", "1.0+c3"}
            assert again.assert_settled(replicas=REPLICAS) == "1.0+c3"
            again.close()
            remove(tmp_path / "first.db")
        return whole.writes

    assert quietly(every) >= 3


def change_to(number: str) -> Act:
    request = Request({"configuration": {"NUMBER": number}})
    return lambda lab: lab._outcome(lambda: lab.service.change("shop", request, terms=TEST))


async def prepared(data: Path, artifact: Path, before: tuple[Act, ...]) -> Machine:
    """A machine on which 1.0 serves, after what was done before."""
    start = machine(data)
    lab = Lab(start)
    await lab.deploy(artifact, "1.0", strategy="rolling", replicas=REPLICAS, drain_timeout=5.0)
    for act in before:
        assert await act(lab) is not None
    lab.close()
    return start


def settled(lab: Lab) -> str:
    """The one release that serves, or that it is stopped; nothing is left over either way."""
    deployment = lab.store.deployment("shop")
    assert deployment is not None
    assert in_store(lab) == on_disk(lab)
    if not deployment.stopped:
        return lab.assert_settled(replicas=REPLICAS)
    assert (lab.store.open_rollouts(), deployment.instances, lab.store.instances("shop")) == ([], (), [])
    assert lab.machine.world._running() == []
    traffic = lab.machine.router.applied["shop"]
    assert deployment.routing is not None
    assert traffic == lab.world.fleet.traffic(deployment.routing)
    assert (traffic.hold, lab.serving()) == (0.0, 0)
    return STOPPED


def in_store(lab: Lab) -> set[str]:
    return {release.version for release in lab.store.releases("shop") if release.state is ReleaseState.kept}


def on_disk(lab: Lab) -> set[str]:
    (releases,) = lab.machine.disk.releases.values()
    return set(releases)


def quietly(work: Callable[[], Awaitable[int]]) -> int:
    gc.disable()  # tasks of killed managers are garbage by the thousand: collected once, not on and on
    logging.disable()  # some hundred thousand lines that nobody reads
    try:
        return asyncio.run(work())  # type: ignore[arg-type]
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()


def remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
