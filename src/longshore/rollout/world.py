"""What rollouts work with: one record of collaborators, built in app.py (and, with fakes, in tests of the engine)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from weakref import WeakValueDictionary

from longshore.artifacts.base import Limits
from longshore.bus import Bus
from longshore.clock import Clock
from longshore.drivers.base import Driver
from longshore.fence import Fence, unfenced
from longshore.files import WorkingDirectory
from longshore.files.far import FarDirectory
from longshore.fleet import Fleet, base_environment
from longshore.health.board import Board
from longshore.health.readiness import Readiness
from longshore.hosts.base import HERE, Host, HostUnreachable, Place, just_here
from longshore.model import Deployment, Health, Rollout, RolloutStatus, Spec, VerdictReport
from longshore.ports import PortRange
from longshore.routers.base import Router
from longshore.store import Store

log = logging.getLogger("longshore")

#: what would begin a line of its own in the log, or be obeyed by a terminal
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass
class World:
    store: Store
    clock: Clock
    bus: Bus
    board: Board
    fleet: Fleet
    readiness: Readiness
    #: tells by the deployment which environment's router is meant
    router: Router
    #: environment → what sends traffic there
    router_of: Callable[[str], Router]
    #: environment → what runs its instances
    driver_of: Callable[[str], Driver]
    ports: PortRange
    artifact_limits: Limits
    keep_releases: int
    logs: Path
    #: user that instances and hooks of a spec's environment run as
    user_of: Callable[[Spec], str | None]
    #: numeric (uid, gid) of that user, for the files
    owner_of: Callable[[Spec], tuple[int, int] | None]
    directory_of: Callable[[Path], WorkingDirectory] = WorkingDirectory
    #: a working directory on another host
    far_directory: Callable[[Host, str], FarDirectory] = FarDirectory
    #: environment → the hosts its instances run on
    hosts_of: Callable[[str], Mapping[str, Place]] = just_here
    #: passed before each effect that no driver, router or working directory looks after
    fence: Fence = unfenced
    #: set by the service and the monitor once they exist
    ask_health: Callable[[str], Awaitable[Health]] = field(init=False)
    health_now: Callable[[str], Health] = field(init=False)
    wake_monitor: Callable[[], None] = field(default=lambda: None)
    #: set by the runner: goes on with what is open and nobody is at
    pick_up: Callable[[], None] = field(default=lambda: None)
    #: set by the app: writes down for webhooks that the rollout has become as it is, and which status it had before
    #: (None: none), in the transaction that made it so
    tell: Callable[[Rollout, RolloutStatus | None], None] = field(default=lambda rollout, before: None)
    #: set by the queue: begins what waits for this deployment (None: for any), where nothing is in progress
    look_at_queue: Callable[[str | None], None] = field(default=lambda _: None)
    #: by name, for as long as somebody holds or waits for it: names come and go
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def lock(self, name: str) -> asyncio.Lock:
        """Whoever acts on a deployment, a rollout or the monitor, holds this."""
        return self._locks.setdefault(name, asyncio.Lock())

    def files_of(self, owner: Spec | Deployment) -> WorkingDirectory:
        """The releases on this machine: the working directory, or where that is on other hosts, our copy of it."""
        if self.is_far(owner.environment):
            return self.directory_of(self.logs.parent / "apps" / owner.name)
        return self.directory_of(Path(owner.working_directory))

    def host(self, environment: str, name: str) -> Host:
        """One that is no place only. Raises HostUnreachable where it is not in the configuration (any more)."""
        found = self.hosts_of(environment).get(name)
        if found is None:
            raise HostUnreachable(name, f"Host {name} is not in the configuration of {environment!r} any more.")
        return cast(Host, found)

    def is_far(self, environment: str) -> bool:
        """Whether its instances run on other hosts than this machine."""
        return HERE not in self.hosts_of(environment)

    def claim_of(self, name: str) -> str:
        """What a working directory's lock file says of its owner."""
        return f"deployment {name} of the manager {self.store.manager_id}"

    def base_environment(self, spec: Spec) -> Mapping[str, str]:
        """What hooks of this spec inherit."""
        return base_environment(self.user_of(spec))

    def instance_log(self, deployment: str, instance: str) -> Path:
        return self.logs / deployment / f"{instance}.log"

    def hook_log(self, deployment: str, number: int, phase: str) -> Path:
        return self.logs / deployment / f"rollout-{number}-{phase}.log"

    def event(
        self,
        deployment: str,
        type: str,
        message: str,
        *,
        source: str,
        rollout_id: str | None = None,
        verdict: VerdictReport | None = None,
    ) -> None:
        """A line of the deployment's history, and of the log."""
        level = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}[type]
        line = _CONTROL.sub(lambda found: repr(found[0])[1:-1], message)
        log.log(level, "%s: %s", deployment, line, extra={"action": source, "deployment": deployment})
        self.store.add_event(deployment, type, message, source=source, rollout_id=rollout_id, verdict=verdict)
