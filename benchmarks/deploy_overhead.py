"""What a deploy adds to the time the application itself takes to start.

The floor is measured in the same run: the same application, the same command, started by hand until its first 200.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from statistics import median

from api import Api, api_of
from harness import Figure, main

from longshore.demo.stage import Stage, free_port, open_stage
from longshore.demo.wire import Connection, Failed

ROUNDS = 9
#: milliseconds that the manager may add
OVERHEAD_MS = 250
#: four replicas may take this many times the start of one (they share the machine's processors)
FOUR_X = 1.5


async def measure() -> list[Figure]:
    async with open_stage() as stage, api_of(stage) as api:
        own = median([await own_start(stage.artifact("own")) for _ in range(ROUNDS)])
        recreate = await deploys(stage, api, "recreate", replicas=1)
        one = await deploys(stage, api, "blue-green", replicas=1)
        four = await deploys(stage, api, "blue-green", replicas=4)
    note = f"median of {ROUNDS}"
    return [
        Figure("the application alone, from exec to its first 200", own, "ms", note=note),
        Figure("recreate, 1 replica: POST less that", recreate - own, "ms", at_most=OVERHEAD_MS, note=note),
        Figure("blue-green, 1 replica: POST less that", one - own, "ms", at_most=OVERHEAD_MS, note=note),
        Figure("blue-green, 4 replicas: POST", four, "ms", at_most=FOUR_X * one + OVERHEAD_MS, note=note),
        Figure("blue-green, 4 replicas against 1", four / one, "x", note="ratio of the two POSTs"),
    ]


async def own_start(artifact: Path) -> float:
    """Milliseconds from exec to the first 200."""
    port = free_port()
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "app.py"), cwd=artifact, env={"PATH": os.environ["PATH"], "PORT": str(port)}
    )
    try:
        connection = Connection("127.0.0.1", port)
        async with asyncio.timeout(30):
            while not await answers(connection):  # noqa: ASYNC110 - a process of its own, nothing to await
                await asyncio.sleep(0.001)
        connection.close()
        return (time.monotonic() - started) * 1000
    finally:
        process.kill()
        await process.wait()


async def answers(connection: Connection) -> bool:
    try:
        return (await connection.request("GET", "/health")).status == 200
    except Failed:
        return False


async def deploys(stage: Stage, api: Api, strategy: str, *, replicas: int) -> float:
    """Median milliseconds of a deploy over one that serves; the first, which finds nothing, is not counted."""
    took = []
    for number in range(ROUNDS + 1):
        version = f"{strategy}-{replicas}-{number}"
        # Nothing stays warm: the old set leaves within the request, as it does in the other strategies.
        spec = stage.spec(version, strategy, replicas=replicas, blue_green={"keep_old": "0s"})
        seconds, _ = await api.post("", spec)
        took.append(seconds * 1000)
    return median(took[1:])


if __name__ == "__main__":
    main("Deploy overhead", measure)
