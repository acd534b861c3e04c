"""The journal: what a rollout did, step by step."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from longshore.model.verdict import VerdictReport


class StepStatus(StrEnum):
    running = "running"
    completed = "completed"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A row of the journal: one step run, or undone. It *is* the entry of `steps[]` in the API."""

    rollout_id: str
    #: index in the plan
    position: int
    name: str
    #: False: the run; True: its undo
    undo: bool
    status: StepStatus
    started_at: float
    ended_at: float | None = None
    message: str = ""
    error: str = ""
    #: what a candidate was judged by in it
    verdict: VerdictReport | None = None
