"""Locks of deployments and environments."""

from __future__ import annotations

from longshore.clock import Clock
from longshore.errors import DeploymentLocked, NotFound
from longshore.model import Lock, LockScope
from longshore.rollout.status import get_deployment
from longshore.rollout.terms import Terms
from longshore.rollout.world import World


class Locks:
    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def _clock(self) -> Clock:
        return self._world.clock

    def all(self) -> list[Lock]:
        """Those that hold now."""
        return self._world.store.locks()

    def get(self, scope: LockScope, name: str) -> Lock:
        """Raises NotFound, for a deployment that does not exist DeploymentNotFound."""
        if scope == "deployment":
            get_deployment(self._world, name)
        lock = self._world.store.lock(scope, name)
        if lock is None:
            raise NotFound(f"{_called(scope, name)} is not locked.", deployment=name, operation="find")
        return lock

    def put(self, scope: LockScope, name: str, message: str, lifetime: float | None, *, terms: Terms) -> Lock:
        """Lock it, or give one's own lock another message or end. Raises DeploymentLocked for somebody else's.

        lifetime  seconds; None: until it is unlocked
        """
        now = self._clock.now()
        with self._world.store.transaction():
            if scope == "deployment":
                deployment = get_deployment(self._world, name)
                terms.hold_for(name, deployment)
            held = self._world.store.lock(scope, name)
            if held is not None and held.holder != terms.caller:
                message = f"{_called(scope, name)} is locked by {held.holder} already: {held.message or 'no reason given'}."
                raise DeploymentLocked(message, deployment=name, holder=held.holder)
            since = held.since if held is not None else now
            lock = Lock(scope, name, terms.caller, message, since, None if lifetime is None else now + lifetime)
            self._world.store.put_lock(lock)
            self._told(scope, name, terms.caller, f"{terms.caller} locked {_called(scope, name)}" + (f": {message}" if message else ""))
        return lock

    def remove(self, scope: LockScope, name: str, *, force: bool, terms: Terms) -> Lock:
        """Unlock it. Raises NotFound, and DeploymentLocked for somebody else's without `force`."""
        lock = self.get(scope, name)
        if lock.holder != terms.caller and not force:
            message = f"{_called(scope, name)} is locked by {lock.holder}: ask them, or force it."
            raise DeploymentLocked(message, deployment=name, holder=lock.holder)
        with self._world.store.transaction():
            self._world.store.remove_lock(scope, name)
            whose = "" if lock.holder == terms.caller else f", which {lock.holder} had locked"
            self._told(scope, name, terms.caller, f"{terms.caller} unlocked {_called(scope, name)}{whose}")
        self._world.look_at_queue(None)
        return lock

    def _told(self, scope: LockScope, name: str, caller: str, message: str) -> None:
        """In the history of every deployment that it is about."""
        store = self._world.store
        for each in [name] if scope == "deployment" else [d.name for d in store.deployments(name)]:
            self._world.event(each, "info", message, source="control")
            if scope == "deployment":
                store.count_change(each, caller)


def _called(scope: LockScope, name: str) -> str:
    return name if scope == "deployment" else f"The environment {name}"
