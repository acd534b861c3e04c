"""What every benchmark shares: figures with their targets, a table for people, JSON for `all.py`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

import uvloop
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. unit: ms, s, MB, % or x (a ratio), or "" for a count."""

    name: str
    value: float
    unit: str = ""
    #: what it has to keep to; both None: for information
    at_most: float | None = None
    at_least: float | None = None
    #: how it came about, a few words
    note: str = ""

    @property
    def ok(self) -> bool:
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"≤ {show(self.at_most, self.unit)}"
        return "" if self.at_least is None else f"≥ {show(self.at_least, self.unit)}"


def show(value: float, unit: str) -> str:
    """Counts whole, ratios and seconds with two digits, milliseconds and megabytes with none."""
    if unit in ("x", "s"):
        return f"{value:.2f} {unit}"
    if unit == "%":
        return f"{value:.1f} %"
    return f"{value:,.0f} {unit}".rstrip()


Measure = Callable[[], Awaitable[Sequence[Figure]]]


def main(title: str, measure: Measure) -> None:
    """Measure, print, and exit: 0 where every target is kept, 1 where one is not."""
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", action="store_true", help="numbers for programs")
    as_json = parser.parse_args().json
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(_gather(measure))
    if as_json:
        print(json.dumps({"title": title, "figures": [asdict(figure) for figure in figures]}))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(title, figures))
    sys.exit(0 if all(figure.ok for figure in figures) else 1)


async def _gather(measure: Measure) -> Sequence[Figure]:
    return await measure()


def table(title: str, figures: Sequence[Figure]) -> Table:
    grid = Table(title=title, title_justify="left", border_style="dim")
    grid.add_column("figure")
    for name in ("value", "target"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("")
    for figure in figures:
        style = "" if not figure.target else "green" if figure.ok else "bold red"
        value = f"[{style}]{show(figure.value, figure.unit)}[/]" if style else show(figure.value, figure.unit)
        grid.add_row(figure.name, value, figure.target, figure.note)
    return grid
