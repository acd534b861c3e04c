"""Words, colours and tables. On a terminal: colours, times relative to now. Elsewhere: plain lines, absolute times."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

#: a word of the API → its colour, wherever it is shown
COLOURS: dict[str, str] = {
    "healthy": "green",
    "succeeded": "green",
    "completed": "green",
    "success": "green",
    "ok": "green",
    "delivered": "green",
    "deploying": "cyan",
    "running": "cyan",
    "committed": "cyan",
    "rolling_back": "yellow",
    "unwinding": "yellow",
    "unwound": "yellow",
    "paused": "yellow",
    "pending": "yellow",
    "degraded": "yellow",
    "warning": "yellow",
    "warn": "yellow",
    "unhealthy": "red",
    "failed": "red",
    "fail": "red",
    "error": "red",
    "held": "red",
    "stuck": "red",
    "dead": "red",
    "unknown": "bright_black",
    "pruned": "bright_black",
}


def on_terminal() -> bool:
    return sys.stdout.isatty()


def wants_colour() -> bool | None:
    """False where the environment asks for none (no-color.org, a dumb terminal); None leaves it to the stream."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def paint(text: str, colour: str | None = None, *, bold: bool = False) -> str:
    """Text in a colour, or in the one its word has."""
    colour = colour or COLOURS.get(text)
    return click.style(text, fg=colour, bold=bold or None) if colour or bold else text


def say(text: str = "", *, err: bool = False) -> None:
    click.echo(text, err=err)


def say_json(body: Any) -> None:
    """One JSON document on a line of its own; indented for a person."""
    click.echo(json.dumps(body, ensure_ascii=False, indent=2 if on_terminal() else None))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns. On a terminal fitted to its width; elsewhere nothing is ever cut or wrapped."""
    if on_terminal():
        _rich_table(headers, rows)
        return
    lines = [[header.upper() for header in headers], *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def facts(pairs: Mapping[str, str], *, indent: str = "", err: bool = False) -> None:
    """`name   value` lines; values of several lines stay below each other. Empty ones are left out."""
    shown = {name: value for name, value in pairs.items() if value}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        first, *rest = value.splitlines() or [""]
        say(f"{indent}{paint(name.ljust(width), 'bright_black')}  {first}", err=err)
        for line in rest:
            say(f"{indent}{' ' * width}  {line}", err=err)


def when(moment: datetime | None, now: datetime | None = None) -> str:
    """A time: `3 min ago` on a terminal, `2026-01-31T09:15:00Z` elsewhere, `-` for none."""
    if moment is None:
        return "-"
    return ago(moment, now or datetime.now(UTC)) if on_terminal() else stamp(moment)


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(moment: datetime) -> str:
    """To the millisecond, in 24 characters."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def ago(moment: datetime, now: datetime) -> str:
    """How long since, in its largest unit that is full: `now`, `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`."""
    seconds = int((now - moment).total_seconds())
    if seconds < 1:
        return "now"
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return "now"


def seconds(duration: float | None) -> str:
    """A duration for people: `12 ms`, `1.2 s`, `5 min 3 s`; `-` for none."""
    if duration is None:
        return "-"
    if duration < 1:
        return f"{duration * 1000:.0f} ms"
    if duration < 60:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: int) -> str:
    """Bytes for people, in powers of 1024."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{count} B"


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in headers:
        shown.add_column(header.upper(), overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    Console(color_system=None if wants_colour() is False else "auto", highlight=False).print(shown)
