"""What the client answers with: the objects of the API as frozen records.

Times are aware UTC datetimes, durations float seconds, sizes bytes, percentages 0-100. `raw` is the JSON as it came,
with whatever a newer manager added.
"""

from __future__ import annotations

from longshore.client.results.access import Lock, Locks, Token, Tokens
from longshore.client.results.base import Result
from longshore.client.results.deployment import (
    Change,
    Check,
    Component,
    Deleted,
    Deployments,
    Health,
    Issue,
    PlannedStep,
    Preview,
    Replicas,
    Status,
    Summary,
    Validation,
)
from longshore.client.results.diagnosis import Diagnosis, Finding
from longshore.client.results.history import Event, Events
from longshore.client.results.output import HookLine, Hooks, LogLine, LogProblem, Logs
from longshore.client.results.release import Pruned, Release, Releases
from longshore.client.results.rollout import (
    OPEN_STATUSES,
    Failure,
    Progress,
    RollbackResult,
    Rollout,
    Rollouts,
    Step,
    Waiting,
)
from longshore.client.results.running import EndpointPool, Endpoints, EndpointTarget, Instance, Instances, Share
from longshore.client.results.verdict import Checked, Observed, Verdict, Weighed

__all__ = [
    "OPEN_STATUSES",
    "Change",
    "Check",
    "Checked",
    "Component",
    "Deleted",
    "Deployments",
    "Diagnosis",
    "EndpointPool",
    "EndpointTarget",
    "Endpoints",
    "Event",
    "Events",
    "Failure",
    "Finding",
    "Health",
    "HookLine",
    "Hooks",
    "Instance",
    "Instances",
    "Issue",
    "Lock",
    "Locks",
    "LogLine",
    "LogProblem",
    "Logs",
    "Observed",
    "PlannedStep",
    "Preview",
    "Progress",
    "Pruned",
    "Release",
    "Releases",
    "Replicas",
    "Result",
    "RollbackResult",
    "Rollout",
    "Rollouts",
    "Share",
    "Status",
    "Step",
    "Summary",
    "Token",
    "Tokens",
    "Validation",
    "Verdict",
    "Waiting",
    "Weighed",
]
