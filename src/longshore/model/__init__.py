"""The nouns (docs/glossary.md) as frozen records, a file for each, and the two pure rules about them.

    spec.py                                 what is asked for
    deployment.py release.py instance.py    what there is
    routing.py                              … and which of it gets the requests
    waiting.py                              what was asked for and has not begun
    rollout.py journal.py events.py         what is done, and told of it
    access.py                               who may do what, and what is closed
    delivery.py                             … also to programs elsewhere
    rollout.TRANSITIONS                     the one rule: which status of a rollout may follow which
    states.derive_health, derive_state      the other: what a deployment is called, from facts alone

Inside Longshore times are float seconds since the epoch (UTC), durations float seconds, weights percent 0-100, sizes
bytes. RFC 3339 and Go durations exist only in `api/wire.py`.
"""

from longshore.model.access import Lock, LockScope, Role, Token
from longshore.model.delivery import Delivery, DeliveryState
from longshore.model.deployment import Deployment
from longshore.model.events import Event, Progress
from longshore.model.instance import Instance, InstanceState
from longshore.model.journal import StepRecord, StepStatus
from longshore.model.release import Release, ReleaseState
from longshore.model.rollout import OPEN_STATUSES, TRANSITIONS, Failure, Rollout, RolloutKind, RolloutStatus, WaitingFor
from longshore.model.routing import Pool, Routing
from longshore.model.spec import (
    STRATEGY_NAMES,
    Analysis,
    BlueGreen,
    Canary,
    CanaryCheck,
    CanaryStep,
    HealthCheck,
    HooksOn,
    Recreate,
    Resources,
    Rolling,
    Spec,
    StrategyName,
    Systemd,
    is_local_http,
)
from longshore.model.states import Health, State, derive_health, derive_state
from longshore.model.verdict import Checked, Observed, Verdict, VerdictReport, Weighed
from longshore.model.waiting import Ask, Waiting

__all__ = [
    "OPEN_STATUSES",
    "STRATEGY_NAMES",
    "TRANSITIONS",
    "Analysis",
    "Ask",
    "BlueGreen",
    "Canary",
    "CanaryCheck",
    "CanaryStep",
    "Checked",
    "Delivery",
    "DeliveryState",
    "Deployment",
    "Event",
    "Failure",
    "Health",
    "HealthCheck",
    "HooksOn",
    "Instance",
    "InstanceState",
    "Lock",
    "LockScope",
    "Observed",
    "Pool",
    "Progress",
    "Recreate",
    "Release",
    "ReleaseState",
    "Resources",
    "Role",
    "Rolling",
    "Rollout",
    "RolloutKind",
    "RolloutStatus",
    "Routing",
    "Spec",
    "State",
    "StepRecord",
    "StepStatus",
    "StrategyName",
    "Systemd",
    "Token",
    "Verdict",
    "VerdictReport",
    "Waiting",
    "WaitingFor",
    "Weighed",
    "derive_health",
    "derive_state",
    "is_local_http",
]
