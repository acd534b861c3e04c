"""The deployment: what stays while releases come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longshore.model.routing import Routing


@dataclass(frozen=True, slots=True)
class Deployment:
    """The named, long-lived thing of the API. Facts only; state and health are derived."""

    name: str
    environment: str
    working_directory: str
    public_port: int | None
    #: the committed version; None until the first commit
    current_version: str | None
    #: version that was committed before `current_version`; what rollback goes to if it was healthy
    previous_version: str | None
    #: the desired routing; None without a port or before the first shift
    routing: Routing | None
    created_at: float
    updated_at: float
    #: ids of the instances that were committed; whatever else runs belongs to an open rollout or is swept
    instances: tuple[str, ...] = ()
    #: it is to go, "all" of it or without its files; begun is not yet done, and a restarted manager goes on with it
    deleting: Literal["all", "keep_files"] | None = None
    #: nothing is to run until it is started, deployed or rolled back
    stopped: bool = False
    #: grows with each accepted change that somebody asked for, and with its end; the store counts it
    revision: int = 0
    #: who asked for the last of them
    changed_by: str = ""
