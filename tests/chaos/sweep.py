"""The sweep: a real manager is killed at every write of everything it does, and its successor at every write of the
recovery, under load, with real processes and a real Envoy.

    make chaos MINUTES=60              as much as fits; called again it goes on; FRESH=1 begins anew
    PYTHONPATH=tests python -m chaos.sweep --only canary/abort --every 10

Exit status 0 only if no promise was broken, 1 otherwise, 130 after Ctrl-C. See docs/reliability.md.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop
from rich.console import Console

from chaos.sweeping import table
from chaos.sweeping.acts import ACTS, groups
from chaos.sweeping.cases import Course, Result
from chaos.sweeping.record import Fault, Record, code_of
from chaos.sweeping.stand import Stand, open_stand
from chaos.sweeping.trial import carry_out, measure
from longshore.client import ClientError
from longshore.demo.manager import ManagerFailed

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reliability.md"
#: what the results are of: where any of it changes they are set aside
CODE = (ROOT / "src/longshore", ROOT / "tests/support", ROOT / "tests/chaos/sweeping")


@dataclass(frozen=True, slots=True)
class Options:
    minutes: float
    file: Path
    fresh: bool
    only: list[str]
    every: int
    all_points: bool
    sites: int
    markdown: bool


class Unusable(Exception):
    """A site that a promise was broken on."""


class Sweep:
    """Several sites side by side, each with a group at a time, until all is done or the time is over."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options, self.console = options, console
        chosen = [group for group in groups() if not options.only or str(group) in options.only]
        courses = [Course(group, options.all_points, options.every) for group in chosen]
        self.record = Record(options.file, code_of(*CODE), courses, fresh=options.fresh)
        self.waiting = [course for course in courses if not course.measured or course.next_case() is not None]
        self.began = time.monotonic()

    @property
    def courses(self) -> list[Course]:
        return list(self.record.courses.values())

    @property
    def complete(self) -> bool:
        return all(course.measured and course.next_case() is None for course in self.courses)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self.options.sites):
                group.create_task(self._work())

    def time_is_over(self) -> bool:
        return time.monotonic() - self.began > 60 * self.options.minutes

    async def _work(self) -> None:
        while self.waiting and not self.time_is_over():
            course = self.waiting.pop(0)
            # After a broken promise the rest of the group goes on, with a new site.
            while not self.time_is_over() and (not course.measured or course.next_case() is not None):
                with suppress(Unusable):
                    if not await self._one_site(course):
                        break

    async def _one_site(self, course: Course) -> bool:
        """As much of a group as fits. False: the group cannot be measured, so there is nothing more to do in it."""
        measured = course.measured
        try:
            async with open_stand(course.group, loaded=ACTS[course.group.act].loaded) as stand:
                if not course.measured:
                    await measure(stand, course)
                    self.record.add_whole(course)
                    measured = True
                    self._say(f"{course.group}: {course.writes} writes")
                while not self.time_is_over() and (case := course.next_case()) is not None:
                    self._take(stand, await carry_out(stand, case))
        except (AssertionError, ClientError, ManagerFailed) as error:
            self.record.add_fault(Fault(course.group, f"{type(error).__name__}: {error}"))
            self._say(f"{course.group}: {error}", style="bold red")
        return measured

    def _take(self, stand: Stand, result: Result) -> None:
        self.record.add(result)
        case, course = result.case, self.record.courses[result.case.group]
        aborted = f", aborted at {case.abort_at}" if case.abort_at else ""
        hit = "" if result.reached else " (not reached)"
        second = f"{case.second_point} {case.second}{'' if result.second_reached else ' (not reached)'}"
        self._say(
            f"{case.group} {case.point} {case.write}/{course.writes}{hit}{aborted}: {result.at}; then {second} of "
            f"{result.recovery}: {result.outcome}; {result.requests} requests, {result.lost} lost; ready "
            f"{result.ready_s:.2f} s, settled {result.settled_s:.2f} s, in all {result.whole_s:.2f} s; "
            f"{result.took_s:.1f} s, {course.left()} left"
        )
        if result.violation:
            evidence = self.options.file.parent / "evidence" / f"{case.group.strategy}-{case.group.act}-{case.write}"
            stand.keep_evidence(evidence)
            self._say(f"  {result.violation}\n  its log and store: {evidence}", style="bold red")
        if result.broken:
            raise Unusable

    def _say(self, what: str, style: str | None = None) -> None:
        now = time.monotonic() - self.began
        self.console.print(f"[{now:.0f} s] {what}", style=style, highlight=False, markup=False, soft_wrap=True)


def main() -> int:
    options = parsed()
    console = Console(width=None if sys.stdout.isatty() else 150)
    sweep = Sweep(options, console)
    if sweep.record.found:
        console.print(f"going on with {options.file}: {sweep.record.found} lines", highlight=False)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_interruptible(sweep))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted; everything it started was taken down, and it goes on from here when called again")
        return 130
    return report(sweep, console)


async def _interruptible(sweep: Sweep) -> None:
    task = asyncio.current_task()
    assert task is not None
    # Ctrl-C cancels the task already; a service manager's SIGTERM is to take everything down as well.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await sweep.run()


def report(sweep: Sweep, console: Console) -> int:
    """The table, what was broken, and the exit status."""
    faults = [fault.group for fault in sweep.record.faults]
    console.print(table.terminal(sweep.courses, faults))
    for violation in sweep.record.violations:
        console.print(violation, style="bold red", highlight=False, markup=False)
    left = sum(course.left() if course.measured else 1 for course in sweep.courses)
    missed = [f"{course.group}: {numbers}" for course in sweep.courses if (numbers := course.unreached())]
    if missed:
        console.print(f"writes that no kill came to, as the act had fewer of them: {'; '.join(missed)}", markup=False)
    if not sweep.complete:
        console.print(f"not complete: {left} kills and more are left; called again it goes on", highlight=False)
    if sweep.options.markdown:
        lines = table.markdown(sweep.courses, faults, about=about(sweep))
        PAGE.write_text(table.rewritten(PAGE.read_text(), lines))
        console.print(f"written to {PAGE.relative_to(ROOT)}", highlight=False)
    return 1 if sweep.record.violations else 0


def about(sweep: Sweep) -> str:
    """What the figures are of, and nothing that names the machine."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    whole = sweep.complete and sweep.options.every == 1
    missed = sum(len(course.unreached()) for course in sweep.courses)
    how = f"Every write{f' but {missed} that no kill came to' * bool(missed)}" if whole else "A part of the writes"
    return (
        f"{how}, {sweep.options.sites} sites side by side, on {psutil.cpu_count() or 0} processors, "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"{platform.python_implementation()} {platform.python_version()}"
        + (f"; commit {commit.stdout.strip()}." if commit.returncode == 0 else ".")
    )


def parsed() -> Options:
    known = [str(group) for group in groups()]
    parser = argparse.ArgumentParser(description="Longshore, killed at every write of everything it does.")
    parser.add_argument("--minutes", type=float, default=60.0, help="bound; called again it goes on (60)")
    parser.add_argument("--file", type=Path, default=ROOT / ".chaos/sweep.jsonl", help="of the results")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever was found before")
    parser.add_argument("--only", nargs="+", choices=known, default=[], metavar="STRATEGY/ACT", help=", ".join(known))
    parser.add_argument("--every", type=int, default=1, help="only each so-many-th write: a sample (1)")
    parser.add_argument("--all-points", action="store_true", help="each write at every point, not at one in turn")
    parser.add_argument("--sites", type=int, default=2, help="side by side (2)")
    parser.add_argument("--markdown", action="store_true", help="write the table into docs/reliability.md")
    given = parser.parse_args()
    if given.minutes <= 0 or given.every < 1 or given.sites < 1:
        parser.error("--minutes must be above 0, --every and --sites 1 or more")
    return Options(**vars(given))


if __name__ == "__main__":
    sys.exit(main())
