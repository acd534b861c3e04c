"""Events: the history of a deployment that an operator reads."""

from __future__ import annotations

from longshore.model import Event, VerdictReport
from longshore.store import codec, rows
from longshore.store.base import Base


class Events(Base):
    def add_event(
        self,
        deployment: str,
        type: str,
        message: str,
        *,
        source: str,
        rollout_id: str | None = None,
        verdict: VerdictReport | None = None,
    ) -> None:
        self._write(
            deployment,
            "INSERT INTO events (deployment, timestamp, type, message, source, rollout_id, verdict) "
            "SELECT name, :timestamp, :type, :message, :source, :rollout_id, :verdict "
            "FROM deployments WHERE name = :deployment",
            deployment=deployment,
            timestamp=self.clock.now(),
            type=type,
            message=message,
            source=source,
            rollout_id=rollout_id,
            verdict=codec.encode_verdict(verdict),
        )

    def events(self, deployment: str | None, *, limit: int, before: int | None = None, after: int = 0) -> list[Event]:
        """Newest first; `before` and `after` are event ids, exclusive. None: of all deployments."""
        sql = (
            "SELECT * FROM events WHERE (:name IS NULL OR deployment = :name) AND id > :after "
            "AND (:before IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
        )
        return [rows.event(row) for row in self.db.all(sql, name=deployment, limit=limit, before=before, after=after)]

    def trim_events(self, deployment: str, keep: int) -> None:
        """Drop all but the newest `keep` events of a deployment; writes nothing where there are no more."""
        oldest = self.db.one(
            "SELECT id FROM events WHERE deployment = :name ORDER BY id DESC LIMIT 1 OFFSET :keep",
            name=deployment,
            keep=keep,
        )
        if oldest is None:
            return
        self._write(
            deployment,
            "DELETE FROM events WHERE deployment = :name AND id <= :id",
            name=deployment,
            id=oldest["id"],
        )
