"""The manager of three hosts is killed before every write: the same one known state, on every host."""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path

import pytest

from longshore.drivers.mock import Script
from longshore.rollout.strategies import STRATEGIES
from support.engine import Lab, Machine, machine

HOSTS = ("a", "b", "c")
FLOOR = {"recreate": 0, "rolling": 3, "blue-green": 3, "canary": 3}

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


def artifact(root: Path, version: str) -> Path:
    place = root / version
    place.mkdir(exist_ok=True)
    (place / "run").write_text(version)
    (place / "run").chmod(0o755)
    return place


async def killed(base: Machine, data: Path, at: int | None, strategy: str, root: Path) -> Lab:
    lab = Lab(base.copy(data), kill_at=at)
    await lab.deploy(artifact(root, "2.0"), "2.0", strategy=strategy, replicas=3, blue_green={"keep_old": 0.0})
    lab.close()
    return lab


@pytest.mark.parametrize("good", [True, False], ids=["good-release", "failing-release"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_killed_before_any_write_ends_on_exactly_one_release_on_every_host(
    strategy: str, good: bool, tmp_path: Path
) -> None:
    async def every() -> None:
        base = machine(tmp_path / "base.db", HOSTS)
        lab = Lab(base)
        await lab.deploy(artifact(tmp_path, "1.0"), "1.0", strategy=strategy, replicas=3)
        assert lab.assert_settled(replicas=3) == "1.0"
        lab.close()
        if not good:
            base.world.scripts["2.0"] = Script(never_ready=True)
        whole = await killed(base, tmp_path / "whole.db", None, strategy, tmp_path)
        versions = set()
        for at in range(1, whole.writes + 1):
            dead = await killed(base, tmp_path / f"{at}.db", at, strategy, tmp_path)
            assert dead.dead, f"write {at} was never reached"
            after = Lab(dead.machine)
            assert await after.recover()
            versions.add(after.assert_settled(replicas=3))
            assert min([*dead.served, *after.served], default=3) >= FLOOR[strategy], at
            after.close()
        assert versions == ({"1.0", "2.0"} if good else {"1.0"})

    gc.disable()
    logging.disable()
    try:
        asyncio.run(every())
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()
