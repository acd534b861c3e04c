"""Instances, and with them the leases on their ports."""

from __future__ import annotations

from longshore.model import Instance
from longshore.store import codec, rows
from longshore.store.base import Base


class Instances(Base):
    def instance(self, instance_id: str) -> Instance | None:
        row = self.db.one("SELECT * FROM instances WHERE id = :id", id=instance_id)
        return None if row is None else rows.instance(row)

    def instances(self, deployment: str | None = None) -> list[Instance]:
        """Of a deployment, or all; by deployment, then age, then slot."""
        sql = (
            "SELECT * FROM instances WHERE :deployment IS NULL OR deployment = :deployment "
            "ORDER BY deployment, rowid, slot"
        )
        return [rows.instance(row) for row in self.db.all(sql, deployment=deployment)]

    def ports_in_use(self) -> set[int]:
        return {row["port"] for row in self.db.all("SELECT port FROM instances WHERE port IS NOT NULL")}

    def save_instance(self, instance: Instance) -> None:
        self._write(
            instance.deployment,
            "INSERT INTO instances VALUES (:id, :deployment, :version, :slot, :port, :state, :handle, :launch_id, "
            ":started_at, :restarts, :retire_at, :host, :leased) "
            "ON CONFLICT (id) DO UPDATE SET port = :port, state = :state, "
            "handle = :handle, launch_id = :launch_id, started_at = :started_at, restarts = :restarts, "
            "retire_at = :retire_at",
            id=instance.id,
            deployment=instance.deployment,
            version=instance.version,
            slot=instance.slot,
            port=instance.port,
            state=instance.state.value,
            handle=codec.encode_handle(instance.handle),
            launch_id=instance.launch_id,
            started_at=instance.started_at,
            restarts=instance.restarts,
            retire_at=instance.retire_at,
            host=instance.host,
            leased=instance.leased,
        )

    def delete_instance(self, instance: Instance) -> None:
        self._write(instance.deployment, "DELETE FROM instances WHERE id = :id", id=instance.id)
