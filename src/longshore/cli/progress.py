"""A rollout as it goes: bars on a terminal, a line for each message elsewhere, nothing with --json."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from longshore.cli.output import on_terminal, paint, say, seconds, stamp, wants_colour

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from longshore.client.results import Progress

OnProgress = Callable[["Progress"], None]

#: how a step's end is marked on a terminal
_MARKS = {"success": ("✓", "green"), "failed": ("✗", "red"), "warning": ("!", "yellow")}


@contextlib.contextmanager
def shown_progress(title: str, *, silent: bool = False) -> Iterator[OnProgress | None]:
    """What `on_progress` of the client is to be, for as long as the block lasts."""
    if silent:
        yield None
    elif on_terminal():
        with _bars() as bars:
            yield LiveProgress(bars, title)
    else:
        yield show_line


def show_line(message: Progress) -> None:
    """`12:00:03Z  40%  running  wait_ready: 2 of 3 instances are ready`."""
    text = f": {message.message}" if message.message else ""
    first, *rest = f"{message.step}{text}".splitlines() or [""]
    clock = stamp(message.timestamp)[11:]
    say(f"{clock}  {message.progress_pct:3d}%  {message.status:<7}  {first}")
    for line in rest:
        say(" " * 26 + line)


class LiveProgress:
    """One bar for the whole with the current step; each step that ended is a line above it, with its time."""

    def __init__(self, bars: Bars, title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(title, total=100, step="")
        self._title = title
        self._began: dict[str, datetime] = {}

    def __call__(self, message: Progress) -> None:
        self._bars.update(self._task, completed=message.progress_pct, step=_short(message))
        if message.last or message.status not in _MARKS:
            self._began.setdefault(message.step, message.timestamp)
            return
        began = self._began.pop(message.step, message.timestamp)
        took = seconds((message.timestamp - began).total_seconds())
        mark, colour = _MARKS[message.status]
        self._line(mark, colour, message, took)

    def _line(self, mark: str, colour: str, message: Progress, took: str) -> None:
        from rich.text import Text

        line = Text.assemble((mark, colour), f" {message.step}  ", (took, "bright_black"))
        if message.message and message.status != "success":
            line.append(f"  {message.message}", style=colour)
        self._bars.console.print(line)


def _short(message: Progress) -> str:
    text = f"{message.step}: {message.message}" if message.message else message.step
    return text.splitlines()[0] if text else ""


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False, style="bold"),
        BarColumn(bar_width=30),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[step]}", markup=False),
        console=Console(color_system=None if wants_colour() is False else "auto", highlight=False),
        transient=True,
    )


def outcome_line(good: bool, text: str) -> None:
    """The last line of a rollout."""
    say(paint("✓ " if good else "✗ ", "green" if good else "red") + text if on_terminal() else text)
