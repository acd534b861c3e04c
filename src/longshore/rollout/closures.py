"""What stands against a change: a lock, or a freeze window. An override with a reason passes both, and is written down.

Rolling back, aborting, pausing, resuming and promoting pass always: what is under way can be ended, and a bad version
taken back, at three in the morning.
"""

from __future__ import annotations

from longshore.clock import to_datetime
from longshore.errors import DeploymentLocked, DeploymentsFrozen
from longshore.freezes import frozen
from longshore.model import Lock
from longshore.rollout.terms import Terms
from longshore.rollout.world import World
from longshore.settings import Settings


class Closures:
    def __init__(self, world: World, settings: Settings) -> None:
        self._world, self._settings = world, settings

    def check(self, name: str, environment: str, terms: Terms) -> None:
        """Raise DeploymentLocked or DeploymentsFrozen; with an override, note in the history what was passed over."""
        problem = self.problem(name, environment)
        if problem is None:
            return
        if terms.override is None:
            raise problem
        if self._world.store.deployment(name) is not None:
            said = f"{terms.caller} passed over this: {problem.message} Reason: {terms.override}"
            self._world.event(name, "warning", said, source="control")

    def problem(self, name: str, environment: str) -> DeploymentLocked | DeploymentsFrozen | None:
        """What stands against changes of this deployment now."""
        store, now = self._world.store, self._world.clock.now()
        lock = store.lock("deployment", name) or store.lock("environment", environment)
        if lock is not None:
            return _locked(name, lock)
        found = frozen(self._settings.environment(environment).freeze, now)
        if found is None:
            return None
        freeze, until = found
        why = f": {freeze.message}" if freeze.message else "."
        return DeploymentsFrozen(
            f"Nothing of {environment} is changed until {_shown(until)}{why} Wait, or ask with an override and its reason.",
            deployment=name,
            cause=f"freeze window {freeze.cron!r} of {freeze.time_zone}, {freeze.duration}",
            until=_shown(until),
        )


def _locked(name: str, lock: Lock) -> DeploymentLocked:
    what = name if lock.scope == "deployment" else f"the environment {lock.name}"
    why = f": {lock.message}" if lock.message else "."
    until = f" until {_shown(lock.expires_at)}" if lock.expires_at is not None else ""
    return DeploymentLocked(
        f"{what} is locked by {lock.holder} since {_shown(lock.since)}{until}{why} Ask {lock.holder} to unlock it, or ask "
        "with an override and its reason.",
        deployment=name,
        cause=f"locked by {lock.holder}",
        holder=lock.holder,
        since=_shown(lock.since),
        reason=lock.message,
    )


def _shown(seconds: float) -> str:
    return to_datetime(seconds).isoformat(timespec="seconds").replace("+00:00", "Z")
