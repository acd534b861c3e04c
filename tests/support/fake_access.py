"""Tokens over a store in memory, locks that know no deployments, a doctor who sees one host: for tests of the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from longshore.access.tokens import Tokens
from longshore.clock import SystemClock
from longshore.doctor import Finding
from longshore.errors import NotFound
from longshore.model import Lock, LockScope, Role
from longshore.rollout.terms import Terms
from longshore.store import Store


def tokens_in_memory(*names: str) -> Tokens:
    store = Store(Path(":memory:"), SystemClock())
    store.take_over()
    tokens = Tokens(store, SystemClock())
    for name in names:
        tokens.create(name, Role.read, None, None, by="admin")
    return tokens


@dataclass
class FakeLocks:
    held: dict[tuple[LockScope, str], Lock] = field(
        default_factory=lambda: {
            ("deployment", "shop"): Lock("deployment", "shop", "admin", "migration", 1.0),
            ("environment", "live"): Lock("environment", "live", "admin", "", 1.0, 2.0),
        }
    )

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


class FakeDoctor:
    async def examine(self, name: str) -> list[Finding]:
        return [Finding("web1", "clock", "warn", "its clock is 9 s behind the manager's", "timedatectl set-ntp true")]
