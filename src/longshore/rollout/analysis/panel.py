"""Everybody who judges one watch of a candidate: the router's figures, and the user's own checks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from longshore.clock import Clock
from longshore.concurrency import all_of
from longshore.model import Analysis, Checked, Verdict, VerdictReport
from longshore.rollout.analysis.checks import Asking, Record, Shell, ask
from longshore.rollout.analysis.judge import Comparison, Judgement
from longshore.routers.base import Figures


class Panel:
    """Figures are given to it, checks it asks by itself, from begin() to close()."""

    def __init__(
        self,
        limits: Analysis,
        clock: Clock,
        variables: Mapping[str, str],
        shell: Shell,
        *,
        watches: int,
        alone: bool,
        without: str | None,
    ) -> None:
        """variables, shell: what checks may use; watches, alone: of Comparison; without: why there are no figures"""
        self._limits, self._alone = limits, alone
        self._clock, self._asking = clock, Asking(variables, shell)
        self._comparison = None if without else Comparison(limits, watches, alone)
        self._without = f"healthy; {without}"
        self._records = {check.name: Record(check) for check in limits.checks}
        #: they end only by an error, which judgement() raises
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        self.tasks = [asyncio.create_task(self._ask_on(name)) for name in self._records]

    def look(self, stable: Figures | None, candidate: Figures | None) -> None:
        if self._comparison is not None:
            self._comparison = self._comparison.look(stable, candidate)

    async def ask_all(self) -> None:
        """Once more, all at once: at the end what counts is what they say now."""
        await self.close()
        await all_of(*(self._ask(name) for name in self._records))
        self.begin()

    def judgement(self) -> Judgement:
        """Failed where one of them says so, else inconclusive where one says so, else passed; with all their words."""
        for task in self.tasks:
            if task.done() and not task.cancelled():
                task.result()
        figures = (
            self._comparison.judgement() if self._comparison is not None else Judgement(Verdict.passed, self._without)
        )
        each = [figures, *(Judgement(record.verdict, str(record)) for record in self._records.values())]
        for verdict in (Verdict.failed, Verdict.inconclusive):
            if decisive := [one for one in each if one.verdict is verdict]:
                rest = [one for one in each if one.verdict is not verdict]
                return Judgement(verdict, "; ".join(one.reason for one in (*decisive, *rest)))
        return Judgement(Verdict.passed, "; ".join(one.reason for one in each))

    def report(self, weight: int) -> VerdictReport:
        """The same in numbers. weight: percent of the requests that the candidate has."""
        judged, comparison = self.judgement(), self._comparison
        observed = comparison.observed() if comparison is not None else None
        return VerdictReport(
            judged.verdict,
            weight,
            judged.reason,
            self._limits.min_requests,
            candidate=observed[0] if observed is not None else None,
            stable=observed[1] if observed is not None and not self._alone else None,
            evidence=comparison.weighed() if comparison is not None else (),
            checks=tuple(
                Checked(name, record.verdict, record.passed, record.failed, record.check.failure_limit)
                for name, record in self._records.items()
            ),
        )

    async def close(self) -> None:
        """Nobody is asked any more; a command that still runs is ended."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- private

    async def _ask_on(self, name: str) -> None:
        while True:
            await self._clock.sleep(self._records[name].check.interval)
            await self._ask(name)

    async def _ask(self, name: str) -> None:
        record = self._records[name]
        self._records[name] = record.after(await ask(record.check, self._asking))
