"""Run every benchmark, each in a process of its own, and rewrite the table in docs/benchmarks.md."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
from harness import Figure, show, table
from rich.console import Console

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs/benchmarks.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

# To add a benchmark: a file here that calls harness.main(title, measure), its name below, and a section in
# docs/benchmarks.md that says what is measured and why the target is what it is.
BENCHMARKS = (
    *("deploy_overhead", "rollback_latency", "status_reads", "start_with_500", "zero_loss", "canary_analysis"),
    *("shipping", "hosts"),
)


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 120)
    measured: list[tuple[str, str, list[Figure]]] = []
    failed: list[str] = []
    for name in BENCHMARKS:
        console.print(f"{name} …", highlight=False)
        done = subprocess.run([sys.executable, str(HERE / f"{name}.py"), "--json"], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed.append(name)
        if done.stdout.strip():
            report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            figures = [Figure(**figure) for figure in report["figures"]]
            measured.append((name, report["title"], figures))
            console.print(table(report["title"], figures))
    PAGE.write_text(rewritten(PAGE.read_text(), measured))
    console.print(f"written to {PAGE.relative_to(HERE.parent)}", highlight=False)
    if failed:
        console.print(f"targets missed, or not measured: {', '.join(failed)}", style="bold red")
    return 1 if failed else 0


def rewritten(page: str, measured: list[tuple[str, str, list[Figure]]]) -> str:
    """The page with the lines between its two marks replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = [f"On {machine()}.", "", "| benchmark | figure | value | target | |", "|---|---|---:|---:|---|"]
    for name, _, figures in measured:
        for figure in figures:
            mark = "" if figure.ok else " **missed**"
            value = f"{show(figure.value, figure.unit)}{mark}"
            lines.append(f"| `{name}` | {figure.name} | {value} | {figure.target} | {figure.note} |")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"


def machine() -> str:
    """What figures depend on, and nothing that names the machine."""
    processors = psutil.cpu_count() or 0
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{processors} processors, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
