"""How long a manager takes to be ready, and how much memory it needs, with 500 deployments in its store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median

import psutil
from api import Api, api_of
from harness import Figure, main

from longshore.demo.stage import open_stage

DEPLOYMENTS = 500
#: deployed at a time
ABREAST = 8
STARTS = 5
READY_S = 2.0
RSS_MB = 150
#: seconds after which the memory is read: the monitor has been round
SETTLE_S = 2.0


async def measure() -> list[Figure]:
    async with open_stage() as stage:
        artifact = stage.directory / "site"
        artifact.mkdir()
        (artifact / "index.html").write_text("<!doctype html><title>site</title>\n")
        async with api_of(stage) as api:
            await fill(api, artifact)
        ready = []
        for _ in range(STARTS):
            await stage.manager.stop()
            ready.append(await stage.start_manager())
        await asyncio.sleep(SETTLE_S)
        total = (await stage.client.list(limit=1)).total
        rss = psutil.Process(stage.manager.pid).memory_info().rss / 1e6
    return [
        Figure("deployments in the store", total, at_least=DEPLOYMENTS, note="of files, each rolled out once"),
        Figure("start until ready", median(ready), "s", at_most=READY_S, note=f"median of {STARTS}"),
        Figure("resident memory of the manager", rss, "MB", at_most=RSS_MB, note=f"{SETTLE_S:g} s after that"),
    ]


async def fill(api: Api, artifact: Path) -> None:
    waiting = iter(range(DEPLOYMENTS))

    async def deploy() -> None:
        for number in waiting:
            await api.post("", {"name": f"site-{number:03d}", "version": "1.0", "artifact_path": str(artifact)})

    await asyncio.gather(*(deploy() for _ in range(ABREAST)))


if __name__ == "__main__":
    main("Start with 500 deployments", measure)
