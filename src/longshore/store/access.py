"""Tokens, by their hashes, and locks."""

from __future__ import annotations

import json

from longshore.model import Lock, LockScope, Token
from longshore.store import rows
from longshore.store.base import Base


class Access(Base):
    def tokens(self) -> list[Token]:
        """All that were ever made, by name."""
        return [rows.token(row) for row in self.db.all("SELECT * FROM tokens ORDER BY name")]

    def token(self, name: str) -> Token | None:
        row = self.db.one("SELECT * FROM tokens WHERE name = :name", name=name)
        return None if row is None else rows.token(row)

    def add_token(self, token: Token) -> None:
        """Raises sqlite3.IntegrityError where the name was used."""
        self.db.write(
            "INSERT INTO tokens (name, sha256, role, environments, created_by, created_at, expires_at) VALUES (:name, "
            ":sha256, :role, :environments, :created_by, :created_at, :expires_at)",
            {
                "name": token.name,
                "sha256": token.sha256,
                "role": token.role.value,
                "environments": None if token.environments is None else json.dumps(token.environments),
                "created_by": token.created_by,
                "created_at": token.created_at,
                "expires_at": token.expires_at,
            },
        )

    def note_use(self, name: str, now: float) -> None:
        self.db.write("UPDATE tokens SET last_used_at = :now WHERE name = :name", {"name": name, "now": now})

    def revoke_token(self, name: str, now: float) -> None:
        sql = "UPDATE tokens SET revoked_at = coalesce(revoked_at, :now) WHERE name = :name"
        self.db.write(sql, {"name": name, "now": now})

    def locks(self) -> list[Lock]:
        """Those that hold now, by scope and name."""
        sql = "SELECT * FROM locks WHERE expires_at IS NULL OR expires_at > :now ORDER BY scope, name"
        return [rows.lock(row) for row in self.db.all(sql, now=self.clock.now())]

    def lock(self, scope: LockScope, name: str) -> Lock | None:
        """The one that holds now."""
        row = self.db.one(
            "SELECT * FROM locks WHERE scope = :scope AND name = :name AND (expires_at IS NULL OR expires_at > :now)",
            scope=scope,
            name=name,
            now=self.clock.now(),
        )
        return None if row is None else rows.lock(row)

    def lock_on(self, deployment: str, environment: str) -> Lock | None:
        """The one that holds now against changes of this deployment: its own, else that of its environment."""
        row = self.db.one(
            "SELECT * FROM locks WHERE (scope = 'deployment' AND name = :deployment OR scope = 'environment' AND "
            "name = :environment) AND (expires_at IS NULL OR expires_at > :now) ORDER BY scope LIMIT 1",
            deployment=deployment,
            environment=environment,
            now=self.clock.now(),
        )
        return None if row is None else rows.lock(row)

    def put_lock(self, lock: Lock) -> None:
        self._write(
            _about(lock.scope, lock.name),
            "INSERT OR REPLACE INTO locks (scope, name, holder, message, since, expires_at) VALUES (:scope, :name, "
            ":holder, :message, :since, :expires_at)",
            scope=lock.scope,
            name=lock.name,
            holder=lock.holder,
            message=lock.message,
            since=lock.since,
            expires_at=lock.expires_at,
        )

    def remove_lock(self, scope: LockScope, name: str) -> None:
        sql = "DELETE FROM locks WHERE scope = :scope AND name = :name"
        self._write(_about(scope, name), sql, scope=scope, name=name)


def _about(scope: LockScope, name: str) -> str:
    """The one deployment whose status it changes; of an environment each is told by an event."""
    return name if scope == "deployment" else ""
