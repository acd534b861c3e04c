"""How the demo looks: a live table on a terminal, plain lines elsewhere, the same table at the end of both."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from longshore.demo.ledger import Ledger, Summary
from longshore.demo.scenes import Scene

#: frames a second
FRAMES = 8
#: seconds that the figures of the live view look back
WINDOW_S = 0.5
#: columns of the sparkline and of the bar of shares
SPARKS = 48
BAR = 56
BLOCKS = "▁▂▃▄▅▆▇█"
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")


@dataclass(slots=True)
class Row:
    """A scene, and how it went once it is over."""

    scene: Scene
    result: str = ""
    #: time.monotonic(); 0.0 before it began
    began: float = 0.0
    seconds: float = 0.0
    summary: Summary | None = None
    failed: bool = False

    @property
    def over(self) -> bool:
        return self.summary is not None


class View:
    """`with View(scenes, ledger) as view:` shows what happens; `begin`, `tell` and `end` say what does."""

    def __init__(self, scenes: tuple[Scene, ...], ledger: Ledger, console: Console | None = None) -> None:
        self.rows = [Row(scene) for scene in scenes]
        self.console = console or Console()
        self._ledger = ledger
        self._step, self._percent, self._told = "", 0, ""
        self._current: Row | None = None
        self._rates: deque[float] = deque(maxlen=SPARKS)
        self._colours: dict[str, str] = {}
        self._spinner = Spinner("dots")
        self._live: Live | None = None
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._frame, refresh_per_second=FRAMES)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    # ------------------------------------------------------------------------------------------- what happens

    def begin(self, scene: Scene) -> None:
        self._current = next(row for row in self.rows if row.scene is scene)
        self._current.began = time.monotonic()
        self._step, self._percent, self._told = "", 0, ""
        if not self._live:
            self.console.print(f"\n{scene.title}: {scene.about}", highlight=False)

    def tell(self, step: str, percent: int) -> None:
        self._step, self._percent = step, percent
        if not self._live and step != self._told:
            self._told = step
            self.console.print(f"  {percent:3d} %  {step}", highlight=False, markup=False, soft_wrap=True)

    def curtain(self) -> None:
        """What the scene shows has been shown: its seconds stand."""
        assert self._current is not None
        self._current.seconds = time.monotonic() - self._current.began

    def end(self, result: str, summary: Summary, *, failed: bool = False) -> None:
        assert self._current is not None
        row, self._current = self._current, None
        row.result, row.summary, row.failed = result, summary, failed
        if not self._live:
            mark = "FAILED" if failed else "ok"
            figures = f"{summary.sent} requests, {summary.failed} failed"
            self.console.print(f"  {mark}: {result}; {row.seconds:.1f} s, {figures}", highlight=False, markup=False)

    def scene_at(self, moment: float) -> str:
        """What was being shown then (time.monotonic()), and for how long."""
        row = max((row for row in self.rows if 0 < row.began <= moment), key=lambda row: row.began, default=None)
        return f"{moment - row.began:.1f} s into {row.scene.title}" if row else "before the first scene"

    # ------------------------------------------------------------------------------------------- what is shown

    def _frame(self) -> RenderableType:
        return Group(self.table(), Panel(self._traffic(), title="traffic", title_align="left", border_style="dim"))

    def table(self) -> Table:
        table = Table(expand=True, border_style="dim", header_style="bold")
        table.add_column("scene", no_wrap=True)
        # One line each, so that all of it fits a terminal of 24 lines.
        table.add_column("result", ratio=1, no_wrap=True, overflow="ellipsis")
        for name in ("seconds", "requests", "failed", "p99 ms"):
            table.add_column(name, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(row.scene.title, *self._cells(row))
        return table

    def _cells(self, row: Row) -> tuple[RenderableType, ...]:
        if row is self._current:
            self._spinner.update(text=Text(self._step or row.scene.about, style="italic", overflow="ellipsis"))
            going_on = Group(self._spinner, ProgressBar(100, self._percent, width=40))
            return going_on, f"{row.seconds or time.monotonic() - row.began:.1f}", "", "", ""
        if row.summary is None:
            return Text(row.scene.about, style="dim"), "", "", "", ""
        result = Text(f"✗ {row.result}" if row.failed else f"✓ {row.result}", style="red" if row.failed else "green")
        sent = row.summary.sent
        lost = Text(str(row.summary.failed), style="bold red" if row.summary.failed else "green")
        p99 = f"{row.summary.p99_s * 1000:.0f}" if sent else ""
        return result, f"{row.seconds:.1f}", f"{sent:,}" if sent else "", lost if sent else "", p99

    def _traffic(self) -> RenderableType:
        recent = self._ledger.summary(self._ledger.since(time.monotonic() - WINDOW_S))
        rate = recent.sent / WINDOW_S
        self._rates.append(rate)
        grid = Table.grid(padding=(0, 2))
        grid.add_row("requests/s", Text(sparkline(self._rates), style="cyan"), f"{rate:,.0f}")
        grid.add_row("versions", self._shares(recent), "")
        return grid

    def _shares(self, recent: Summary) -> Text:
        """One bar, each version as wide as its share of the answers of the last half second."""
        bar, answered = Text(), recent.versions.total()
        for version in sorted(recent.versions):
            colour = self._colours.setdefault(version, COLOURS[len(self._colours) % len(COLOURS)])
            share = recent.versions[version] / answered
            label = f" {version} {share:.0%}"
            bar.append(label.ljust(max(len(label) + 1, round(BAR * share)))[:BAR], style=f"black on {colour}")
        return bar or Text("nobody answers", style="bold red" if self._current else "dim")


def sparkline(values: deque[float]) -> str:
    """One block a value, the highest one full.

    Worked: 0, 50, 100 is ▁▅█: 50 of 100 is 3.5 of the 7 steps above the lowest block, which rounds to 4.
    """
    top = max(values, default=0.0) or 1.0
    return "".join(BLOCKS[round(value / top * (len(BLOCKS) - 1))] for value in values)
