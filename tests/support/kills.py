"""What the tests that kill share: a load, short rollouts, and what must hold once the next manager has settled."""

from __future__ import annotations

import os
import random
import secrets
import time
from datetime import UTC, datetime
from typing import Any

from longshore.demo.load import Load
from support.manager import Site
from support.waits import Patience, waited

REPLICAS = 2
#: seconds a recovery may take beyond what it has to wait for, and a start that has nothing to recover
RECOVERY_S = 5.0
#: what the tests that kill have it wait for at most: requests of 3 s, applications that put things away for 4 s
PATIENCE = Patience(request_s=4.0, start_s=3.0, end_s=5.0)
#: enough to notice, little enough for the recovery to be measured beside it
LIGHT: dict[str, Any] = {
    "connections": 6, "pause_s": 0.03, "websockets": 1, "streams": 1, "slow": 1, "held_s": 1.0
}  # fmt: skip
SHORT: dict[str, Any] = {
    "rolling": {"max_surge": 1, "max_unavailable": 0},
    "canary": {
        "steps": [{"weight": 20, "pause": "200ms"}, {"weight": 100, "pause": "200ms"}],
        "analysis": {"on_inconclusive": "continue"},
    },
    "blue_green": {"keep_old": "60s"},
}


def seeded() -> random.Random:
    """Chances that can be had again: the seed is printed, and `CHAOS_SEED=n` sets it."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    print(f"CHAOS_SEED={seed}")
    return random.Random(seed)


def nothing_lost(load: Load) -> None:
    summary = load.ledger.summary()
    assert not summary.failed, f"{summary}\n" + "\n".join(map(str, load.ledger.losses()[:20]))


async def recovered(site: Site, story: str) -> None:
    """A new manager, and everything it finds is brought to an end in time."""
    since, began = datetime.now(UTC), time.monotonic()
    await site.restart()
    rollout = await site.until_over()
    took = time.monotonic() - began
    own = took - waited(rollout, since, PATIENCE) - site.idle_start_s
    print(f"{story}: {rollout.status} {took:.1f} s after the start, {own:.1f} s its own")
    assert own < RECOVERY_S, f"{story}: the recovery took {own:.1f} s beyond what it had to wait for"
