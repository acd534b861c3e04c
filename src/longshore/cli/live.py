"""A rollout on a terminal: the steps that ended; below them bars for the whole, the traffic and each instance."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias

from rich.console import Group
from rich.table import Table
from rich.text import Text

from longshore.cli.output import seconds

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from longshore.client.results import Instance, Instances, Progress

#: how a step's end is marked
MARKS = {"success": ("✓", "green"), "failed": ("✗", "red"), "warning": ("!", "yellow")}
#: an instance's state → how much of its bar is full, in which colour
STATES = {
    "starting": (0.4, "cyan"),
    "healthy": (1.0, "green"),
    "unhealthy": (1.0, "red"),
    "draining": (0.5, "yellow"),
    "stopped": (0.0, "bright_black"),
}
#: what it is of, a bar, a word, the rest
Row: TypeAlias = tuple[Text, Text, Text, Text]
#: spaces between two of them
GAP = 2
#: columns of a bar
WIDTH = 30
#: lines of the terminal that are left for the steps above
ABOVE = 10
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class Picture:
    """What is seen. Messages come from the thread that waits, what runs from one that follows it."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title = console, title
        self._lock = threading.Lock()
        self._pct, self._step = 0, ""
        self._began_at: datetime | None = None
        self._began: dict[str, datetime] = {}
        self._now: Instances | None = None
        #: all that was seen; what is not there any more has stopped
        self._seen: dict[str, Instance] = {}
        self._turns = 0

    def hear(self, message: Progress) -> None:
        """A message of the rollout; a step that ended becomes a line above."""
        with self._lock:
            self._began_at = self._began_at or message.timestamp
            self._pct = message.progress_pct
            self._step = _short(message)
        if message.last or message.status not in MARKS:
            self._began.setdefault(message.step, message.timestamp)
            return
        began = self._began.pop(message.step, message.timestamp)
        mark, colour = MARKS[message.status]
        took = seconds((message.timestamp - began).total_seconds())
        line = Text.assemble((mark, colour), f" {message.step}  ", (took, "bright_black"))
        if message.message and message.status != "success":
            line.append(f"  {message.message}", style=colour)
        self._console.print(line)

    def see(self, now: Instances) -> None:
        """What runs now."""
        with self._lock:
            self._now = now
            self._seen |= {each.id: each for each in now.instances}

    def __rich__(self) -> RenderableType:
        with self._lock:
            self._turns += 1
            rows = [self._whole()]
            if self._now is not None:
                rows.append(self._traffic(self._now))
            instances = self._instances()
            most = max(3, self._console.height - ABOVE)
            table = _fitted([*rows, *instances[:most]], self._console.width)
            rest = len(instances) - most
            return Group(table, Text(f"… and {rest} more", "bright_black")) if rest > 0 else table

    # --- private: rows of four columns

    def _whole(self) -> Row:
        spin = _SPINNER[self._turns % len(_SPINNER)]
        since = seconds((datetime.now(UTC) - self._began_at).total_seconds()) if self._began_at else ""
        name = Text.assemble((spin, "cyan"), " ", (self._title, "bold"))
        return name, bar((self._pct / 100, "cyan")), Text(f"{self._pct} %"), Text(f"{since}  {self._step}".strip())

    def _traffic(self, now: Instances) -> Row:
        shares = sorted(now.traffic, key=lambda share: share.pool == "stable")
        if not shares:
            return Text("  traffic"), bar(), Text(""), Text("nobody gets requests", "bright_black")
        colours = {"candidate": "magenta", "stable": "green"}
        said = Text(" · ").join(
            Text(f"{share.version} {share.weight} %", colours.get(share.pool, "")) for share in shares
        )
        marks = "".join("█" if share.pool == "candidate" else "▒" for share in shares)
        filled = bar(*((share.weight / 100, colours.get(share.pool, "")) for share in shares), marks=marks)
        return Text("  traffic"), filled, Text(""), said

    def _instances(self) -> list[Row]:
        there = {each.id for each in self._now.instances} if self._now is not None else set()
        rows = []
        # Those that come before those that go: they are what one waits for.
        for each in sorted(self._seen.values(), key=lambda each: (each.id not in there, _order(each.id))):
            state = each.state if each.id in there else "stopped"
            full, colour = STATES.get(state, (0.0, ""))
            where = f"{each.version} on {each.host}" if each.host else each.version
            said = Text(state, colour)
            if state in ("unhealthy", "starting") and each.message:
                said.append(f"  {each.message.splitlines()[0]}", "bright_black")
            rows.append((Text(f"  {each.id}"), bar((full, colour)), Text(where), said))
        return rows


def _fitted(rows: list[Row], width: int) -> Table:
    """The last column is cut where a line would be longer than the terminal is wide."""
    taken = sum(max(row[column].cell_len for row in rows) + GAP for column in range(3))
    table = Table.grid(padding=(0, GAP, 0, 0))
    for *columns, last in rows:
        last.truncate(max(8, width - taken - 1), overflow="ellipsis")
        table.add_row(*columns, last)
    return table


def bar(*parts: tuple[float, str], marks: str = "█▒") -> Text:
    """A bar of WIDTH columns: so much of it (0 to 1) in that colour, then the next part, which differs without colours
    as well; the rest is empty."""
    text, filled, total = Text(), 0, 0.0
    for (share, colour), mark in zip(parts, marks, strict=False):
        total += share
        until = min(WIDTH, round(total * WIDTH))
        text.append(mark * (until - filled), colour)
        filled = until
    return text.append("░" * (WIDTH - filled), "bright_black")


def _order(id: str) -> tuple[int, int]:
    """Newest rollout first, by slot within it."""
    _, number, slot = ["", "", *id.rsplit("-", 2)][-3:]
    return (-int(number), int(slot)) if number.isdigit() and slot.isdigit() else (0, 0)


def _short(message: Progress) -> str:
    text = f"{message.step}: {message.message}" if message.message else message.step
    return text.splitlines()[0] if text else ""
