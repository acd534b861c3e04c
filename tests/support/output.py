"""Reading what instances wrote through a driver."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

from longshore.drivers.base import Driver, Output


def output_of(log: Path, instance: str = "shop-1-0") -> Output:
    return Output("shop", instance, log)


async def written(
    driver: Driver, log: Path, tail: int | None = None, *, instance: str = "shop-1-0", **asked: Any
) -> list[str]:
    """The lines of a log, oldest first."""
    async with aclosing(driver.logs(output_of(log, instance), tail=tail, **asked)) as lines:
        return [line.text async for line in lines]
