"""Every strategy: an upgrade, a rollout that fails, one that is aborted on its way, a rollback; under all the load that
the machine can make.

32 keep-alive connections without a pause, a quarter of it POSTs; 4 WebSockets, 4 event streams and 4 requests of four
seconds all the while. The application dies at once on SIGTERM. Anything but the right, complete 2xx answer is a loss.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from itertools import count

from harness import Figure, main

from longshore.client import ApiError, HealthCheckFailed
from longshore.demo.ledger import Ledger
from longshore.demo.load import Load, Mix
from longshore.demo.stage import NAME, Stage, open_stage

STRATEGIES = ("recreate", "rolling", "blue-green", "canary")
REQUESTS = 200_000
REPLICAS = 3
#: A machine at its limit answers health checks late: that is load, not illness.
CHECKS = {"interval": "2s", "timeout": "2s", "deadline": "30s", "healthy_threshold": 1}
QUICK_TO_JUDGE = {**CHECKS, "deadline": "2s"}
#: how far an unwanted rollout has come when it is aborted
ABORT_AT_PCT = 45
#: seconds after each act before it is counted up: Envoy passes the end of a WebSocket on up to a second late
AFTER_S = 1.5


async def measure() -> list[Figure]:
    ledger, lost = Ledger(), Counter[str]()
    async with open_stage() as stage:
        versions = count(1)
        await deploy(stage, f"{next(versions)}.0", "recreate")
        async with Load("127.0.0.1", stage.port, Mix(), ledger):
            while True:
                for strategy in STRATEGIES:
                    await acts(stage, strategy, versions, ledger, lost)
                if len(ledger) >= REQUESTS:
                    break
    total = ledger.summary()
    by_kind = ", ".join(f"{number:,} {kind}" for kind, number in total.kinds.most_common())
    return [
        *(Figure(act, number, at_most=0, note="requests lost") for act, number in lost.items()),
        Figure("requests", total.sent, at_least=REQUESTS, note=by_kind),
        Figure("failed", total.failed, at_most=0, note=", ".join(f"{n} x {o}" for o, n in total.failures.items())),
        Figure("p50", total.p50_s * 1000, "ms"),
        Figure("p99", total.p99_s * 1000, "ms", note="with what recreate holds back"),
    ]


async def acts(stage: Stage, strategy: str, versions: count[int], ledger: Ledger, lost: Counter[str]) -> None:
    """An upgrade, a rollout that fails, one that is aborted, and a rollback, by one strategy."""
    good, bad, unwanted = f"{next(versions)}.0", f"{next(versions)}.0-broken", f"{next(versions)}.0-unwanted"

    async def counted(act: str, first: int) -> None:
        await asyncio.sleep(AFTER_S)
        lost[f"{strategy}, {act}"] += ledger.summary(first).failed

    first = len(ledger)
    await deploy(stage, good, strategy)
    await counted("upgrade", first)
    first = len(ledger)
    try:
        await deploy(stage, bad, strategy, broken=True)
    except HealthCheckFailed as error:
        if not error.details.get("rolled_back"):
            raise
    else:
        raise RuntimeError(f"{bad} never became healthy and was rolled out all the same")
    await counted("failed rollout", first)
    first = len(ledger)
    await abort_on_the_way(stage, unwanted, strategy)
    await counted("aborted rollout", first)
    first = len(ledger)
    await stage.client.rollback(NAME)
    await counted("rollback", first)


async def abort_on_the_way(stage: Stage, version: str, strategy: str) -> None:
    """Both versions serve when it is undone; where the commit came first, the new one stays."""
    client = stage.client
    rollout = await client.deploy(stage.spec(version, strategy, replicas=REPLICAS, health_check=CHECKS), wait=False)
    async for message in client.watch(NAME, rollout.id):
        if message.progress_pct >= ABORT_AT_PCT:
            break
    # Past its commit a rollout is only finished, and says so.
    with suppress(ApiError):
        await client.abort(NAME, rollout.id, reason="the benchmark changed its mind")
    over = await client.wait(NAME, rollout.id, timeout=120)
    if over.status not in ("succeeded", "unwound"):
        raise RuntimeError(f"the aborted rollout ended {over.status}: {over.message}")


async def deploy(stage: Stage, version: str, strategy: str, *, broken: bool = False) -> None:
    checks = QUICK_TO_JUDGE if broken else CHECKS
    spec = stage.spec(version, strategy, broken=broken, replicas=REPLICAS, health_check=checks)
    await stage.client.deploy(spec)


if __name__ == "__main__":
    main("Zero loss", measure)
