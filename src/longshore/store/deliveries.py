"""The outbox of webhooks."""

from __future__ import annotations

from longshore.model import Delivery, DeliveryState
from longshore.store import rows
from longshore.store.base import Base


class Deliveries(Base):
    def delivery(self, id: str) -> Delivery | None:
        row = self.db.one("SELECT * FROM deliveries WHERE id = :id", id=id)
        return None if row is None else rows.delivery(row)

    def deliveries(
        self, webhook: str, *, state: DeliveryState | None, limit: int, offset: int
    ) -> tuple[list[Delivery], int]:
        """Newest first, and how many there are."""
        where = "WHERE webhook = :webhook AND (:state IS NULL OR state = :state)"
        found = self.db.all(
            f"SELECT * FROM deliveries {where} ORDER BY created_at DESC, rowid DESC LIMIT :limit OFFSET :offset",
            webhook=webhook,
            state=state,
            limit=limit,
            offset=offset,
        )
        total = self.db.one(f"SELECT count(*) AS n FROM deliveries {where}", webhook=webhook, state=state)
        return [rows.delivery(row) for row in found], total["n"] if total else 0

    def next_delivery(self, webhook: str) -> Delivery | None:
        """The one that is to be tried first; it may not be due yet."""
        row = self.db.one(
            "SELECT * FROM deliveries WHERE webhook = :webhook AND state = 'pending' ORDER BY next_at, rowid LIMIT 1",
            webhook=webhook,
        )
        return None if row is None else rows.delivery(row)

    def add_delivery(self, delivery: Delivery) -> None:
        self._write(
            delivery.deployment,
            "INSERT INTO deliveries (id, webhook, event, deployment, body, state, created_at, next_at) VALUES (:id, "
            ":webhook, :event, :deployment, :body, :state, :created_at, :next_at)",
            id=delivery.id,
            webhook=delivery.webhook,
            event=delivery.event,
            deployment=delivery.deployment,
            body=delivery.body,
            state=delivery.state.value,
            created_at=delivery.created_at,
            next_at=delivery.next_at,
        )

    def note_attempt(self, delivery: Delivery) -> None:
        """How the last attempt went."""
        self._write(
            delivery.deployment,
            "UPDATE deliveries SET state = :state, next_at = :next_at, attempts = :attempts, ended_at = :ended_at, "
            "answer = :answer WHERE id = :id",
            id=delivery.id,
            state=delivery.state.value,
            next_at=delivery.next_at,
            attempts=delivery.attempts,
            ended_at=delivery.ended_at,
            answer=delivery.answer,
        )

    def count_deliveries(self) -> dict[tuple[str, str], int]:
        """(webhook, state) → how many."""
        sql = "SELECT webhook, state, count(*) AS n FROM deliveries GROUP BY webhook, state"
        return {(row["webhook"], row["state"]): row["n"] for row in self.db.all(sql)}

    def trim_deliveries(self, before: float) -> None:
        """Forget those that ended before that time."""
        self._write("", "DELETE FROM deliveries WHERE ended_at < :before", before=before)
