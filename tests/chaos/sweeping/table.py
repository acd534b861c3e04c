"""What a sweep comes to: a row for each group, for people on a terminal and for docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.table import Table

from chaos.sweeping.cases import Course, Group
from longshore.demo.ledger import percentile

BEGIN, END = "<!-- sweep: begin -->", "<!-- sweep: end -->"
HEADINGS = (
    "strategy", "act", "writes", "kills", "second kills", "requests", "lost", "ready", "settled", "median", "in all",
    "violations",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """Sums and figures of one or more groups. Times in seconds, 0.0 of nothing."""

    writes: int
    kills: int
    #: writes of the recoveries that a successor was killed at, and how many there are
    hit: int
    hittable: int
    second_kills: int
    requests: int
    lost: int
    ready_worst_s: float
    settled_worst_s: float
    settled_p50_s: float
    whole_worst_s: float
    violations: int

    def cells(self) -> tuple[str, ...]:
        return (
            f"{self.writes:,}",
            f"{self.kills:,}",
            f"{self.second_kills:,} at {self.hit:,} of {self.hittable:,}",
            f"{self.requests:,}",
            f"{self.lost:,}",
            f"{self.ready_worst_s:.2f} s",
            f"{self.settled_worst_s:.2f} s",
            f"{self.settled_p50_s:.2f} s",
            f"{self.whole_worst_s:.2f} s",
            f"{self.violations:,}",
        )


def row(courses: Iterable[Course], faults: Iterable[Group] = ()) -> Row:
    """Of these courses. faults: the groups of violations that belong to no case."""
    courses = list(courses)
    results = [result for course in courses for result in course.results]
    groups = {course.group for course in courses}
    settled = sorted(result.settled_s for result in results)
    recoveries = [course.recovery_writes() for course in courses]
    return Row(
        writes=sum(course.writes for course in courses),
        kills=sum(result.reached for result in results),
        hit=sum(hit for hit, _ in recoveries),
        hittable=sum(all for _, all in recoveries),
        second_kills=sum(result.second_reached for result in results),
        requests=sum(result.requests for result in results),
        lost=sum(result.lost for result in results),
        ready_worst_s=max((result.ready_s for result in results), default=0.0),
        settled_worst_s=settled[-1] if settled else 0.0,
        settled_p50_s=percentile(settled, 50),
        whole_worst_s=max((result.whole_s for result in results), default=0.0),
        violations=sum(1 for result in results if result.violation) + sum(1 for group in faults if group in groups),
    )


def rows(courses: Iterable[Course], faults: Iterable[Group] = ()) -> list[tuple[str, ...]]:
    """The cells of every group that was begun, and of all of them together."""
    begun, faults = [course for course in courses if course.measured or course.results], list(faults)
    told = [(course.group.strategy, course.group.act, *row([course], faults).cells()) for course in begun]
    return [*told, ("all", "", *row(begun, faults).cells())]


def terminal(courses: Iterable[Course], faults: Iterable[Group] = ()) -> Table:
    grid = Table(title="Killed at every write", title_justify="left", border_style="dim")
    for number, heading in enumerate(HEADINGS):
        grid.add_column(heading, justify="right" if number > 1 else "left", no_wrap=True)
    for cells in rows(courses, faults):
        grid.add_row(*cells)
    return grid


def markdown(courses: Iterable[Course], faults: Iterable[Group] = (), *, about: str) -> str:
    """The lines between the marks. about: a sentence on the machine and the run."""
    lines = [about, "", f"| {' | '.join(HEADINGS)} |", "|---|---|" + "---:|" * (len(HEADINGS) - 2)]
    lines += [f"| {' | '.join(cells)} |" for cells in rows(courses, faults)]
    return "\n".join(lines)


def rewritten(page: str, lines: str) -> str:
    """The page with what is between its two marks replaced. Raises ValueError where it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{lines}\n{END}{after}"
