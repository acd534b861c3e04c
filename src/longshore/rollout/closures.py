"""What stands against a change: a lock, or a freeze window. An override with a reason passes both, and is written down.

Rolling back, aborting, pausing, resuming and promoting pass always: what is under way can be ended, and a bad version
taken back, at three in the morning.
"""

from __future__ import annotations

from longshore.clock import to_datetime
from longshore.errors import DeploymentLocked, DeploymentsFrozen
from longshore.freezes import Freeze, frozen
from longshore.model import Lock, Role
from longshore.rollout.terms import Terms
from longshore.rollout.world import World
from longshore.settings import Settings


class Closures:
    def __init__(self, world: World, settings: Settings) -> None:
        self._world, self._settings = world, settings

    def refuse(self, name: str, environment: str, terms: Terms) -> None:
        """Raise DeploymentLocked or DeploymentsFrozen where something stands against it and there is no override."""
        problem = self._problem(name, environment)
        if problem is not None and terms.override is None:
            raise problem

    def pass_over(self, name: str, environment: str, terms: Terms, rollout_id: str | None = None) -> None:
        """Inside the transaction of the change: refuse it, or note in the history what the override passes over."""
        problem = self._problem(name, environment)
        if problem is None:
            return
        if terms.override is None:
            raise problem
        said = f"{terms.caller} passed over this: {problem.message} The reason: {terms.override}"
        self._world.event(name, "warning", said, source="control", rollout_id=rollout_id)

    def refuse_deletion(self, name: str, environment: str, terms: Terms) -> None:
        """A deletion cannot wait for approval: where changes do, it takes an admin, and a reason."""
        if not self._settings.environment(environment).approval:
            return
        if terms.override is None or terms.role is not Role.admin:
            raise DeploymentLocked(
                f"Changes of {environment} wait for approval, and a deletion cannot wait: an admin may delete {name}, "
                "with an override and its reason.",
                deployment=name,
                operation="delete",
                cause=f"{environment} asks for approval",
            )

    def _problem(self, name: str, environment: str) -> DeploymentLocked | DeploymentsFrozen | None:
        lock = self._world.store.lock_on(name, environment)
        if lock is not None:
            return _locked(name, lock)
        found = frozen(self._settings.environment(environment).freeze, self._world.clock.now())
        return None if found is None else _frozen(name, environment, *found)


def _locked(name: str, lock: Lock) -> DeploymentLocked:
    until = f" until {_shown(lock.expires_at)}" if lock.expires_at is not None else ""
    return DeploymentLocked(
        f"{lock.called} is locked by {lock.holder} since {_shown(lock.since)}{until}{_why(lock.message)} Have it "
        "unlocked, or ask with an override and its reason.",
        deployment=name,
        cause=f"locked by {lock.holder}",
        scope=lock.scope,
        holder=lock.holder,
        since=_shown(lock.since),
        until=None if lock.expires_at is None else _shown(lock.expires_at),
        reason=lock.message,
    )


def _frozen(name: str, environment: str, freeze: Freeze, until: float) -> DeploymentsFrozen:
    return DeploymentsFrozen(
        f"Nothing of {environment} is changed until {_shown(until)}{_why(freeze.message)} Wait, or ask with an "
        "override and its reason.",
        deployment=name,
        cause=f"freeze window {freeze.cron!r} of {freeze.time_zone}, for {freeze.duration}",
        until=_shown(until),
        reason=freeze.message,
    )


def _why(message: str) -> str:
    return f": {message.rstrip('.')}." if message else "."


def _shown(seconds: float) -> str:
    return to_datetime(seconds).isoformat(timespec="seconds").replace("+00:00", "Z")
