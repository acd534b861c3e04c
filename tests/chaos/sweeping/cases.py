"""Which kill comes next: every write of an act, and every write of the recoveries that such kills lead to.

Pure: what comes next follows from what was measured and done so far, so that a sweep goes on wherever it stopped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

#: where at a write the manager is killed: nothing is written yet, written but not on disk, on disk and nobody told, and
#: up to a tenth of a second later, in the middle of what the write stands for
POINTS = ("begin", "commit", "committed", "amid")
#: a write that was not reached (this time there were fewer of them) is tried so often in all
TRIES = 2


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """What one site is used for."""

    strategy: str
    act: str

    def __str__(self) -> str:
        return f"{self.strategy}/{self.act}"


@dataclass(frozen=True, slots=True)
class Case:
    """One kill, and one of the next manager."""

    group: Group
    #: the manager dies at this write of the act, counted from 1; of an abort: from the request on
    write: int
    point: str
    #: and the next one at this write of its recovery; 0: it is left alone
    second: int
    second_point: str
    #: an abort comes right after this write of the deploy; 0: there is none
    abort_at: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a case. Times in seconds."""

    case: Case
    #: the manager died at its write; False: the act had fewer of them, and it was killed at rest
    reached: bool
    #: the same of its successor
    second_reached: bool
    #: writes of the recovery; of one that was cut off those up to there and of the one after it, which does some again
    recovery: int
    #: what the journal said of the moment of death
    at: str = ""
    #: how it ended
    outcome: str = ""
    requests: int = 0
    lost: int = 0
    #: from the exec of the last manager until it was ready
    ready_s: float = 0.0
    #: from ready until the rollout was over, its waits for others left out
    settled_s: float = 0.0
    #: from the exec until the rollout was over, nothing left out
    whole_s: float = 0.0
    took_s: float = 0.0
    #: which promise was broken; "": none
    violation: str = ""
    #: the site can be used no more
    broken: bool = False


@dataclass
class Course:
    """The way through all kills of one group."""

    group: Group
    #: each write is killed at all points, not at one of them in turn
    all_points: bool = False
    #: only each so-many-th write: a sample
    every: int = 1
    #: writes of the act, by one whole run; of an abort the most there can be
    writes: int = 0
    #: write of the deploy at which an abort came → writes from the abort on, by one whole run each
    aborts: dict[int, int] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    @property
    def measured(self) -> bool:
        return self.writes > 0

    def slots(self) -> list[tuple[int, str]]:
        """(write, point) of every first kill."""
        numbers = range(1, self.writes + 1, self.every)
        if self.all_points:
            return [(number, point) for number in numbers for point in POINTS]
        # The steps of a plan mostly have two writes each: in turn alone, some points would never meet a step's end.
        return [(number, POINTS[(number + number // len(POINTS)) % len(POINTS)]) for number in numbers]

    def left(self) -> int:
        """First kills that are still to be done, at least."""
        return sum(1 for slot in self.slots() if not self._done(*slot))

    def unreached(self) -> list[int]:
        """Writes that were tried, and that no kill came to."""
        reached = {result.case.write for result in self.results if result.reached}
        return sorted({result.case.write for result in self.results} - reached)

    def next_case(self) -> Case | None:
        """None: every write was killed. Of a sample the recoveries' writes need not all be hit."""
        for write, point in self.slots():
            if not self._done(write, point):
                return self._case(write, point, self._second_for(write))
        if self.every > 1 or not any(result.reached for result in self.results):
            return None
        longest = self._longest().case
        if not any(result.case.second == 0 for result in self.results):
            return self._case(longest.write, longest.point, 0)  # left alone: how many writes it has
        missing = self.missing()
        return self._case(longest.write, longest.point, missing[0]) if missing else None

    def missing(self) -> list[int]:
        """Writes of recoveries at which no successor was killed yet, though one that was left alone had as many."""
        length = max((result.recovery for result in self.results if not result.second_reached), default=0)
        hits = self._hits()
        misses = Counter(result.case.second for result in self.results if not result.second_reached)
        return [number for number in range(1, length + 1) if not hits[number] and misses[number] < TRIES]

    def recovery_writes(self) -> tuple[int, int]:
        """(writes of recoveries that were hit, writes of the longest recovery that can be)."""
        hits = {number for number, count in self._hits().items() if count}
        return len(hits), len(hits) + len(self.missing())

    # --- private

    def _done(self, write: int, point: str) -> bool:
        tried = [r for r in self.results if (r.case.write, r.case.point) == (write, point)]
        return len(tried) >= TRIES or any(result.reached or result.violation for result in tried)

    def _case(self, write: int, point: str, second: int) -> Case:
        second_point = POINTS[(write + second) % len(POINTS)]
        return Case(self.group, write, point, second, second_point, self._abort_at(write))

    def _abort_at(self, write: int) -> int:
        """Of the moments whose unwinding is long enough the one that had the fewest; the early ones first, as only the
        late ones will do for the writes to come."""
        if not self.aborts:
            return 0
        if any(r.case.write == write and not r.reached for r in self.results):
            return max(self.aborts, key=lambda at: self.aborts[at])
        used = Counter(result.case.abort_at for result in self.results)
        fitting = [at for at, writes in self.aborts.items() if writes >= write] or [max(self.aborts)]
        return min(fitting, key=lambda at: (used[at], at))

    def _second_for(self, write: int) -> int:
        """A write of the recovery that had the fewest kills, no later than the recovery is likely to have."""
        before = [r for r in self.results if r.case.write <= write and r.reached]
        likely = max(1, before[-1].recovery) if before else 1
        hits = self._hits()
        return min(range(1, likely + 1), key=lambda number: (hits[number], number))

    def _hits(self) -> Counter[int]:
        return Counter(result.case.second for result in self.results if result.second_reached)

    def _longest(self) -> Result:
        return max(self.results, key=lambda result: (result.reached, result.recovery))
