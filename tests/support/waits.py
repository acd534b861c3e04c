"""How long a recovery had to wait for others: a request that was being answered, an application that starts or ends.

Only the steps that such a wait is made of count, and none of them for longer than what it waits for can take: what a
step needs beyond that is the manager's own slowness, however the step is called.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from longshore.client.results import Rollout, Step


@dataclass(frozen=True, slots=True)
class Patience:
    """How long others may take, in seconds."""

    #: the longest request of the load
    request_s: float
    #: an application, from its start until it is ready
    start_s: float
    #: an application, from SIGTERM until it has ended
    end_s: float

    def of(self, step: Step) -> float:
        match step.name, step.undo:
            case "drain", False:
                return self.request_s
            case "start_instances", True:
                return self.request_s + self.end_s
            case ("await_ready", False) | ("stop_instances", True):
                return self.start_s
            case (("stop_instances" | "retire"), False):
                return self.end_s
        return 0.0


def waited(rollout: Rollout, since: datetime, patience: Patience) -> float:
    """Seconds after `since` that steps of an ended rollout waited for others."""
    total = 0.0
    for step in rollout.steps:
        if step.start_time is not None and (end := step.end_time or rollout.end_time) is not None:
            took = (end - max(step.start_time, since)).total_seconds()
            total += min(max(0.0, took), patience.of(step))
    return total
