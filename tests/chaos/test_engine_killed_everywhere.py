"""The one rule, exhaustively: the manager is killed before every write to the store, and again in the recovery.

The engine, the steps, the service and SQLite are the real ones; driver, router, disk and clock are in memory.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path

import pytest

from longshore.drivers.mock import Script
from longshore.model import RolloutStatus
from longshore.rollout.strategies import STRATEGIES
from support.engine import Lab, Machine, machine

REPLICAS = 3
#: instances that serve at every moment, whatever is killed and whenever
FLOOR = {"recreate": 0, "rolling": REPLICAS, "blue-green": REPLICAS, "canary": REPLICAS}

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("artifacts")
    for version in ("1.0", "2.0"):
        (root / version).mkdir()
        (root / version / "run").write_text(version)
        (root / version / "run").chmod(0o755)
    return {version: root / version for version in ("1.0", "2.0")}


async def deployed(data: Path, artifact: dict[str, Path], strategy: str) -> Machine:
    """A machine on which 1.0 serves."""
    start = machine(data)
    lab = Lab(start)
    rollout = await lab.deploy(artifact["1.0"], "1.0", strategy=strategy, replicas=REPLICAS)
    assert rollout is not None
    assert rollout.status is RolloutStatus.succeeded, rollout.failure
    assert lab.assert_settled(replicas=REPLICAS) == "1.0"
    lab.close()
    return start


async def upgrade(lab: Lab, artifact: dict[str, Path], strategy: str) -> None:
    await lab.deploy(artifact["2.0"], "2.0", strategy=strategy, replicas=REPLICAS)


async def killed_at(base: Machine, data: Path, first: int | None, artifact: dict[str, Path], strategy: str) -> Lab:
    lab = Lab(base.copy(data), kill_at=first)
    await upgrade(lab, artifact, strategy)
    lab.close()
    return lab


async def settle(base: Machine, served: list[int], strategy: str, good: bool) -> str:
    """A new manager recovers; the world must then be in one known state."""
    lab = Lab(base)
    assert await lab.recover()
    version = lab.assert_settled(replicas=REPLICAS)
    assert version in (("1.0", "2.0") if good else ("1.0",))
    seen = [*served, *lab.served]
    assert min(seen, default=REPLICAS) >= FLOOR[strategy], f"only {min(seen)} instances served at some moment"
    lab.close()
    return version


@pytest.mark.parametrize("good", [True, False], ids=["good-release", "failing-release"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_before_any_write_and_again_in_the_recovery_ends_on_exactly_one_release(
    strategy: str, good: bool, tmp_path: Path, artifact: dict[str, Path]
) -> None:
    async def every() -> tuple[int, int]:
        base = await deployed(tmp_path / "base.db", artifact, strategy)
        if not good:
            base.world.scripts["2.0"] = Script(never_ready=True)
        whole = await killed_at(base, tmp_path / "whole.db", None, artifact, strategy)
        runs, versions = 0, set()
        for first in range(1, whole.writes + 1):
            lab = await killed_at(base, tmp_path / "first.db", first, artifact, strategy)
            assert lab.dead, f"write {first} was never reached"
            again = 0
            while True:
                again += 1
                second = Lab(lab.machine.copy(tmp_path / "second.db"), kill_at=again)
                recovered = await second.recover()
                second.close()
                versions.add(await settle(second.machine, [*lab.served, *second.served], strategy, good))
                _remove(tmp_path / "second.db")
                runs += 1
                if recovered:
                    break
            _remove(tmp_path / "first.db")
        assert versions == ({"1.0", "2.0"} if good else {"1.0"})
        return whole.writes, runs

    gc.disable()  # tasks of killed managers are garbage by the thousand: collected once, not on and on
    logging.disable()  # some hundred thousand lines that nobody reads
    try:
        writes, runs = asyncio.run(every())
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()
    print(f"{strategy}: {writes} writes, {runs} runs")
    assert writes > 20


def _remove(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
