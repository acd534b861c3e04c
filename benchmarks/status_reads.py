"""Status reads a second, against a bare FastAPI endpoint that answers the same bytes: same machine, same run.

Both are uvicorn with uvloop and httptools, one process each. The rounds alternate, so that what else the machine does
hits both; the ratio is of the medians.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from api import ROOT, api_of
from harness import Figure, main

from longshore.demo.stage import NAME, Stage, free_port, open_stage
from longshore.demo.wire import Connection, Failed

ROUNDS = 7
ROUND_S = 1.5
CONNECTIONS = 16
RATIO = 0.7


async def measure() -> list[Figure]:
    async with open_stage() as stage, api_of(stage) as api:
        await api.post("", stage.spec("1.0", "recreate"))
        endpoint = stage.client.endpoint
        headers = {"Authorization": f"Bearer {endpoint.token}"}
        port = urlsplit(endpoint.url).port or 80
        body = (await Connection("127.0.0.1", port, headers).request("GET", f"{ROOT}/{NAME}")).body
        async with peer_of(stage, body) as peer_port:
            ours, theirs = [], []
            for _ in range(ROUNDS):
                ours.append(await rate(port, headers))
                theirs.append(await rate(peer_port, headers))
    return [
        Figure("status reads a second", median(ours), note=f"median of {ROUNDS}, {CONNECTIONS} connections"),
        Figure("bare FastAPI endpoint", median(theirs), note=f"the same {len(body)} bytes"),
        Figure("ratio", median(ours) / median(theirs), "x", at_least=RATIO),
    ]


@asynccontextmanager
async def peer_of(stage: Stage, body: bytes) -> AsyncIterator[int]:
    port, file = free_port(), stage.directory / "status.json"
    file.write_bytes(body)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("peer.py")), str(port), str(file)
    )
    try:
        async with asyncio.timeout(30):
            while not await answers(port):  # noqa: ASYNC110 - a process of its own, nothing to await
                await asyncio.sleep(0.02)
        yield port
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def answers(port: int) -> bool:
    connection = Connection("127.0.0.1", port)
    try:
        return (await connection.request("GET", f"{ROOT}/{NAME}")).status == 200
    except Failed:
        return False
    finally:
        connection.close()


async def rate(port: int, headers: Mapping[str, str]) -> float:
    """Answers a second over ROUND_S, closed loop. Raises where one is not 200: then there is nothing to compare."""
    until = time.monotonic() + ROUND_S

    async def ask() -> int:
        connection, count = Connection("127.0.0.1", port, headers), 0
        while time.monotonic() < until:
            answer = await connection.request("GET", f"{ROOT}/{NAME}")
            if answer.status != 200:
                raise RuntimeError(f"port {port} answered {answer.status}: {answer.body!r}")
            count += 1
        connection.close()
        return count

    started = time.monotonic()
    counts = await asyncio.gather(*(ask() for _ in range(CONNECTIONS)))
    return sum(counts) / (time.monotonic() - started)


if __name__ == "__main__":
    main("Status reads", measure)
