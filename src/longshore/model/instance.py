"""Instances: what runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class InstanceState(StrEnum):
    #: intended; a process may or may not exist (its launch id tells)
    starting = "starting"
    #: started; `handle` finds it
    running = "running"
    #: stopped by a rollout that may still start it again
    stopped = "stopped"


@dataclass(frozen=True, slots=True)
class Instance:
    """One running copy of a release."""

    #: `NAME-NUMBER-SLOT`, NUMBER being the rollout's: unique for ever
    id: str
    deployment: str
    version: str
    slot: int
    port: int | None
    state: InstanceState
    #: what the driver needs to find it again; None while starting
    handle: Mapping[str, Any] | None
    #: in the child's environment, so that one started but not yet recorded can be found
    launch_id: str
    started_at: float | None = None
    restarts: int = 0
    #: set on the old set that blue-green keeps warm: when it is retired
    retire_at: float | None = None
    #: name of the host it runs on; "": the manager's own machine
    host: str = ""
    #: `port` was given to it, and nobody else gets it; False: it is the one that the user's own unit listens on
    leased: bool = True
