"""How long a version that is rolled back from goes on answering, after blue-green, under load."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from api import api_of
from harness import Figure, main

from longshore.demo.ledger import Ledger
from longshore.demo.load import Load, Mix
from longshore.demo.stage import NAME, open_stage

ROUNDS = 10
LATENCY_MS = 200
#: The clients leave the processors time: what is measured is the manager, not who gets the next slice.
MIX = Mix(pause_s=0.01)
#: seconds of load before and after each rollback
AROUND_S = 0.3


async def measure() -> list[Figure]:
    async with open_stage() as stage, api_of(stage) as api:
        for version in ("1", "2"):
            await api.post("", stage.spec(version, "blue-green", blue_green={"keep_old": "10m"}))
        last, answered = [], []
        async with Load("127.0.0.1", stage.port, MIX) as load:
            for number in range(ROUNDS):
                leaving, coming = ("2", "1") if number % 2 == 0 else ("1", "2")
                await asyncio.sleep(AROUND_S)
                first, started = len(load.ledger), time.monotonic()
                seconds, _ = await api.post(f"/{NAME}/rollback", {"version": coming})
                answered.append(seconds * 1000)
                await asyncio.sleep(AROUND_S)
                last.append(last_answer_ms(load.ledger, leaving, first, started))
        total = load.ledger.summary()
    return [
        Figure("request to the last answer of the version that leaves, worst", max(last), "ms", at_most=LATENCY_MS),
        Figure("the same, median", median(last), "ms", note=f"of {ROUNDS}, 3 replicas, both sets warm"),
        Figure("request to its own answer, median", median(answered), "ms"),
        Figure("requests meanwhile", total.sent),
        Figure("failed", total.failed, at_most=0, note=", ".join(total.failures)),
    ]


def last_answer_ms(ledger: Ledger, version: str, first: int, started: float) -> float:
    """0 where it answered nothing any more after the request was sent."""
    last = ledger.last_answer(version, first)
    return 0.0 if last is None else max(0.0, last - started) * 1000


if __name__ == "__main__":
    main("Rollback latency, blue-green warm", measure)
