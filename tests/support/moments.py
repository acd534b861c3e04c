"""Moments of a rollout, as its journal has them, read beside the manager: `await begun(site.data, "shift_traffic")`."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: between two looks: a step writes that it begins before it does anything
LOOK_S = 0.001

_LAST = "(SELECT id FROM rollouts ORDER BY number DESC LIMIT 1)"


@contextmanager
def journal(data: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(f"file:{data / 'longshore.db'}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


async def begun(data: Path, step: str, *, undo: bool = False, after: int = 0, bound_s: float = 30.0) -> int:
    """Until that step, or its undo, has begun in a rollout whose number is above `after`; returns that number.

    Whether it still runs is not known: most take milliseconds.
    """
    sql = (
        "SELECT r.number FROM journal j JOIN rollouts r ON r.id = j.rollout_id "
        "WHERE j.name = ? AND j.undo = ? AND r.number > ?"
    )
    with journal(data) as connection:
        try:
            async with asyncio.timeout(bound_s):
                while True:
                    if (row := connection.execute(sql, (step, int(undo), after)).fetchone()) is not None:
                        return int(row[0])
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            there = connection.execute(f"SELECT name, status, undo FROM journal WHERE rollout_id = {_LAST}").fetchall()
            what = f"the undo of {step}" if undo else step
            raise AssertionError(f"waited {bound_s:g} s for {what}: {there}") from None
