"""Deployments: their status, their health, and what is said of one before it is rolled out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from longshore.client.decode import Seconds
from longshore.client.results.access import Lock
from longshore.client.results.base import Result
from longshore.client.results.history import Event
from longshore.client.results.rollout import Waiting

NO_TIME = Seconds(0)


@dataclass(frozen=True, kw_only=True)
class Replicas:
    desired: int
    available: int
    ready: int
    updated: int


@dataclass(frozen=True, kw_only=True)
class Status(Result):
    """state: unknown | deploying | healthy | unhealthy | failed | rolling_back; health: unknown | healthy | …"""

    name: str
    version: str
    environment: str
    state: str
    health: str
    last_updated: datetime
    replicas: Replicas
    configuration: Mapping[str, str] = field(default_factory=dict)
    #: newest first, at most 50
    events: tuple[Event, ...] = ()
    strategy: str = ""
    #: what served before
    previous_version: str = ""
    #: the public port, where it has one
    port: int | None = None
    #: the rollout in progress
    rollout_id: str | None = None
    #: what `if_revision` of a changing method is compared with
    revision: int = 0
    #: nothing runs until it is started, deployed or rolled back
    stopped: bool = False
    #: its own, else that of its environment
    lock: Lock | None = None
    #: first come first
    queue: tuple[Waiting, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A row of the list."""

    name: str
    version: str
    environment: str
    state: str
    health: str
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class Deployments(Result):
    """A page of the list, sorted by name. total: all that match, on whatever page."""

    deployments: tuple[Summary, ...]
    total: int
    limit: int
    offset: int


@dataclass(frozen=True, kw_only=True)
class Deleted(Result):
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Issue:
    """field: dotted path such as `health_check.interval`; severity: error | warning."""

    field: str
    message: str
    severity: str = "error"


@dataclass(frozen=True, kw_only=True)
class Validation(Result):
    """issues: what a deploy would refuse; warnings: what would surprise."""

    valid: bool
    issues: tuple[Issue, ...] = ()
    warnings: tuple[Issue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    name: str
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A field that a deploy would change, compared with what serves; the values are for display."""

    field: str
    before: Any = dataclasses.field(default=None, metadata={"keys": ("from",)})
    after: Any = dataclasses.field(default=None, metadata={"keys": ("to",)})


@dataclass(frozen=True, kw_only=True)
class Preview(Result):
    """What a deploy would do."""

    steps: tuple[PlannedStep, ...]
    changes: tuple[Change, ...] = ()
    warnings: tuple[Issue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Check:
    name: str
    status: str
    message: str = ""
    duration: Seconds = NO_TIME
    last_run: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Component:
    name: str
    status: str
    message: str = ""
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Health(Result):
    """What probing now found. overall: healthy | unhealthy | degraded | unknown."""

    overall: str
    components: Mapping[str, Component]
    last_check: datetime
    message: str = ""
