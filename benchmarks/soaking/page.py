"""The table of a soak, where docs/reliability.md has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from all import machine
from harness import Figure, show

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- soaked: begin -->", "<!-- soaked: end -->"


def write(title: str, figures: Sequence[Figure]) -> Path:
    """Replace what is between the two marks. Returns the page, from the project's directory."""
    PAGE.write_text(rewritten(PAGE.read_text(), title, figures))
    return PAGE.relative_to(ROOT)


def rewritten(page: str, title: str, figures: Sequence[Figure]) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [f"{title}; {machine()}.", "", "| figure | value | target | |", "|---|---:|---:|---|"]
    for figure in figures:
        mark = "" if figure.ok else " **missed**"
        value = f"{show(figure.value, figure.unit)}{mark}"
        lines.append(f"| {figure.name} | {value} | {figure.target} | {figure.note} |")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"
