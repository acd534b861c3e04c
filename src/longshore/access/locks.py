"""Locks of deployments and environments."""

from __future__ import annotations

from longshore.errors import DeploymentLocked, NotFound
from longshore.model import Lock, LockScope
from longshore.rollout.status import get_deployment
from longshore.rollout.terms import Terms
from longshore.rollout.world import World
from longshore.settings import Settings


class Locks:
    """Methods that name a scope raise NotFound for an environment, DeploymentNotFound for a deployment there is not."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world, self._store, self._settings = world, world.store, settings

    def all(self) -> list[Lock]:
        """Those that hold now."""
        return self._store.locks()

    def get(self, scope: LockScope, name: str) -> Lock:
        """Raises NotFound where it is not locked."""
        self._check(scope, name)
        lock = self._store.lock(scope, name)
        if lock is None:
            raise NotFound(f"The {scope} {name} is not locked.", operation="find")
        return lock

    def put(self, scope: LockScope, name: str, message: str, lifetime: float | None, *, terms: Terms) -> Lock:
        """Lock it, or give one's own lock another message or end.

        lifetime  seconds; None: until it is unlocked
        Raises    DeploymentLocked for somebody else's, Forbidden, PreconditionFailed
        """
        now = self._world.clock.now()
        with self._store.transaction():
            self._check(scope, name, terms)
            held = self._store.lock(scope, name)
            if held is not None and held.holder != terms.caller:
                raise _not_yours(held, "is locked by {} already")
            lock = Lock(
                scope, name, terms.caller, message, held.since if held is not None else now,
                None if lifetime is None else now + lifetime,
            )  # fmt: skip
            self._store.put_lock(lock)
            self._told(scope, name, terms, f"{terms.caller} locked {lock.called}" + (f": {message}" if message else ""))
        return lock

    def remove(self, scope: LockScope, name: str, *, force: bool, terms: Terms) -> Lock:
        """Unlock it; what waits then begins. Raises NotFound where it is not locked, Forbidden, PreconditionFailed, and
        DeploymentLocked for somebody else's without `force`."""
        with self._store.transaction():
            self._check(scope, name, terms)
            lock = self.get(scope, name)
            if lock.holder != terms.caller and not force:
                raise _not_yours(lock, "is locked by {}")
            self._store.remove_lock(scope, name)
            whose = "" if lock.holder == terms.caller else f", which {lock.holder} had locked"
            self._told(scope, name, terms, f"{terms.caller} unlocked {lock.called}{whose}")
        self._world.look_at_queue(None)
        return lock

    def _check(self, scope: LockScope, name: str, terms: Terms | None = None) -> None:
        """That there is what is meant: who mistypes `production` must not believe it locked. And that it is theirs."""
        if scope == "deployment":
            deployment = get_deployment(self._world, name)
            if terms is not None:
                terms.hold_for(name, deployment)
            return
        self.check_environment(name)
        if terms is not None:
            terms.may_change(name)

    def check_environment(self, name: str) -> None:
        """Raises NotFound for one that neither the configuration names nor a deployment is in."""
        if name not in self._settings.environments and not self._store.deployments(name):
            known = sorted({*self._settings.environments, *(d.environment for d in self._store.deployments(None))})
            hint = f"known are {', '.join(known)}" if known else "none is known yet"
            raise NotFound(f"No deployment is in an environment {name[:80]!r}, and none is configured: {hint}.")

    def _told(self, scope: LockScope, name: str, terms: Terms, message: str) -> None:
        """In the history of every deployment that it is about."""
        if scope == "deployment":
            self._store.count_change(name, terms.caller)
        for each in [name] if scope == "deployment" else [d.name for d in self._store.deployments(name)]:
            self._world.event(each, "info", message, source="control")


def _not_yours(lock: Lock, how: str) -> DeploymentLocked:
    why = f": {lock.message.rstrip('.')}" if lock.message else ""
    return DeploymentLocked(
        f"{lock.called} {how.format(lock.holder)}{why}. Ask them to unlock it, or have an admin force it.",
        cause=f"locked by {lock.holder}",
        scope=lock.scope,
        holder=lock.holder,
        reason=lock.message,
    )
