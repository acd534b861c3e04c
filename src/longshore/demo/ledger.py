"""Every request recorded: what it was, who answered, how it ended, how long it took."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

#: outcome of a request that was answered as it should be; every other outcome is a failure
OK = "ok"
#: kinds whose latency says something about the proxy and the application; the others last as long as they are told to
QUICK_KINDS = frozenset({"get", "post"})


@dataclass(frozen=True, slots=True)
class Summary:
    """What a stretch of the ledger comes to. Latencies in seconds, of quick requests alone; 0.0 without any."""

    sent: int
    failed: int
    #: outcome → count, without "ok"
    failures: Counter[str] = field(default_factory=Counter)
    #: version → requests it answered well
    versions: Counter[str] = field(default_factory=Counter)
    #: kind → requests
    kinds: Counter[str] = field(default_factory=Counter)
    p50_s: float = 0.0
    p99_s: float = 0.0
    max_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Loss:
    """A request that failed. ended: time.monotonic(); version: "" where it is not known whom it was lost by."""

    ended: float
    kind: str
    outcome: str
    version: str


class Ledger:
    """One row for each request that ended, in the order in which they ended; 21 bytes a row, so that millions fit."""

    def __init__(self) -> None:
        self._ended = array("d")
        self._took = array("d")
        self._kind = array("B")
        self._outcome = array("H")
        self._version = array("H")
        self._names: dict[str, int] = {}
        self._texts: list[str] = []

    def __len__(self) -> int:
        return len(self._ended)

    def record(self, kind: str, outcome: str, version: str, started: float) -> None:
        """A request that has just ended. started: time.monotonic(); version: "" where nobody answered."""
        now = time.monotonic()
        self._ended.append(now)
        self._took.append(now - started)
        self._kind.append(self._number(kind))
        self._outcome.append(self._number(outcome))
        self._version.append(self._number(version))

    def since(self, moment: float) -> int:
        """The first row that ended at or after `moment` (time.monotonic())."""
        row = len(self._ended)
        while row and self._ended[row - 1] >= moment:
            row -= 1
        return row

    def last_answer(self, version: str, first: int = 0) -> float | None:
        """When (time.monotonic()) `version` last answered a quick request well, among the rows from `first` on.

        None: never. Requests that last as long as they are told to are left out: they may end long after a switch.
        """
        return self._answered_at(version, range(len(self) - 1, first - 1, -1))

    def first_answer(self, version: str, first: int = 0) -> float | None:
        """When `version` answered a quick request well for the first time; otherwise as last_answer()."""
        return self._answered_at(version, range(first, len(self)))

    def losses(self, first: int = 0) -> list[Loss]:
        """Every request that failed, among the rows from `first` on."""
        ok, text = self._names.get(OK), self._texts
        return [
            Loss(self._ended[row], text[self._kind[row]], text[self._outcome[row]], text[self._version[row]])
            for row in range(first, len(self))
            if self._outcome[row] != ok
        ]

    def latencies(self) -> dict[str, list[float]]:
        """Kind → seconds of each request of that kind that was answered well, in the order in which they ended."""
        found: dict[int, list[float]] = {}
        ok = self._names.get(OK)
        for took, kind, outcome in zip(self._took, self._kind, self._outcome, strict=True):
            if outcome == ok:
                found.setdefault(kind, []).append(took)
        return {self._texts[kind]: seconds for kind, seconds in found.items()}

    def summary(self, first: int = 0, end: int | None = None) -> Summary:
        """Rows `first` up to, not including, `end`."""
        rows = slice(first, len(self) if end is None else end)
        outcomes, kinds = self._outcome[rows], self._kind[rows]
        ok = self._names.get(OK, -1)
        quick = self._quick()
        latencies = sorted(took for took, kind in zip(self._took[rows], kinds, strict=True) if kind in quick)
        failures = self._named(number for number in outcomes if number != ok)
        return Summary(
            sent=len(outcomes),
            failed=failures.total(),
            failures=failures,
            versions=self._named(v for v, o in zip(self._version[rows], outcomes, strict=True) if o == ok),
            kinds=self._named(kinds),
            p50_s=percentile(latencies, 50),
            p99_s=percentile(latencies, 99),
            max_s=latencies[-1] if latencies else 0.0,
        )

    def _answered_at(self, version: str, rows: Iterable[int]) -> float | None:
        wanted, ok, quick = self._names.get(version), self._names.get(OK), self._quick()
        for row in rows:
            if self._version[row] == wanted and self._outcome[row] == ok and self._kind[row] in quick:
                return self._ended[row]
        return None

    def _quick(self) -> set[int]:
        return {number for text, number in self._names.items() if text in QUICK_KINDS}

    def _number(self, text: str) -> int:
        number = self._names.get(text)
        if number is None:
            number = self._names[text] = len(self._texts)
            self._texts.append(text)
        return number

    def _named(self, numbers: Iterable[int]) -> Counter[str]:
        return Counter({self._texts[number]: count for number, count in Counter(numbers).items()})


def percentile(ordered: list[float], percent: float) -> float:
    """Nearest rank: the smallest value that at least `percent` of all do not exceed; 0.0 of nothing.

    Worked: 200 values, 99 percent: the 198th, index 197.
    """
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
