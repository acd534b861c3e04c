"""Idempotency keys, so that a repeated request starts nothing twice, across restarts too."""

from __future__ import annotations

from longshore.store.base import Base


class Idempotency(Base):
    def idempotency(self, caller: str, key: str) -> tuple[str, str | None] | None:
        """(fingerprint, rollout id) that the key came with first; None: a new key."""
        row = self.db.one(
            "SELECT fingerprint, rollout_id FROM idempotency WHERE caller = :caller AND key = :key",
            caller=caller,
            key=key,
        )
        return None if row is None else (row["fingerprint"], row["rollout_id"])

    def remember_key(self, caller: str, key: str, fingerprint: str, rollout_id: str | None) -> None:
        self.db.write(
            "INSERT INTO idempotency VALUES (:caller, :key, :fingerprint, :rollout_id, :now) "
            "ON CONFLICT (caller, key) DO UPDATE SET rollout_id = :rollout_id",
            {
                "caller": caller,
                "key": key,
                "fingerprint": fingerprint,
                "rollout_id": rollout_id,
                "now": self.clock.now(),
            },
        )

    def forget_keys(self, older_than: float) -> None:
        self.db.write("DELETE FROM idempotency WHERE created_at < :limit", {"limit": older_than})
