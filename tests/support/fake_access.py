"""Tokens over a store in memory, and locks that know no deployments, for tests of the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from longshore.access.tokens import Tokens
from longshore.clock import SystemClock
from longshore.errors import NotFound
from longshore.model import Lock, LockScope
from longshore.rollout.terms import Terms
from longshore.store import Store


def no_tokens() -> Tokens:
    store = Store(Path(":memory:"), SystemClock())
    store.take_over()
    return Tokens(store, SystemClock())


@dataclass
class FakeLocks:
    held: dict[tuple[LockScope, str], Lock] = field(default_factory=dict)

    def all(self) -> list[Lock]:
        return list(self.held.values())

    def get(self, scope: LockScope, name: str) -> Lock:
        if (scope, name) not in self.held:
            raise NotFound(f"{name} is not locked.")
        return self.held[scope, name]

    def put(self, scope: LockScope, name: str, message: str, lifetime: float | None, *, terms: Terms) -> Lock:
        return self.held.setdefault((scope, name), Lock(scope, name, terms.caller, message, 1.0, lifetime))

    def remove(self, scope: LockScope, name: str, *, force: bool, terms: Terms) -> Lock:
        self.get(scope, name)
        return self.held.pop((scope, name))
