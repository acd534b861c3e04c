"""The outbox of webhooks. Nothing that is shown of a deployment changes with it, so none is touched."""

from __future__ import annotations

from collections.abc import Collection

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
            f"SELECT * FROM deliveries {where} ORDER BY place DESC LIMIT :limit OFFSET :offset",
            webhook=webhook,
            state=state,
            limit=limit,
            offset=offset,
        )
        total = self.db.one(f"SELECT count(*) AS n FROM deliveries {where}", webhook=webhook, state=state)
        return [rows.delivery(row) for row in found], total["n"] if total else 0

    def next_delivery(self, webhook: str, *, in_order: int) -> Delivery | None:
        """The one that is to be tried first; it may not be due yet. None waits behind an earlier one of its deployment
        that was tried `in_order` times or more."""
        row = self.db.one(
            "SELECT * FROM deliveries d WHERE webhook = :webhook AND state = 'pending' AND NOT EXISTS (SELECT 1 FROM "
            "deliveries WHERE webhook = :webhook AND state = 'pending' AND deployment = d.deployment "
            "AND place < d.place AND attempts < :in_order) ORDER BY next_at, place LIMIT 1",
            webhook=webhook,
            in_order=in_order,
        )
        return None if row is None else rows.delivery(row)

    def add_delivery(self, delivery: Delivery) -> None:
        self.db.write(
            "INSERT INTO deliveries (id, webhook, event, deployment, body, state, created_at, next_at) VALUES (:id, "
            ":webhook, :event, :deployment, :body, :state, :created_at, :next_at)",
            {
                "id": delivery.id,
                "webhook": delivery.webhook,
                "event": delivery.event,
                "deployment": delivery.deployment,
                "body": delivery.body,
                "state": delivery.state.value,
                "created_at": delivery.created_at,
                "next_at": delivery.next_at,
            },
        )

    def note_attempt(self, delivery: Delivery) -> None:
        """How it stands after an attempt, or before the first of a new series. One that was forgotten stays so."""
        self.db.write(
            "UPDATE deliveries SET state = :state, next_at = :next_at, attempts = :attempts, ended_at = :ended_at, "
            "answer = :answer WHERE id = :id",
            {
                "id": delivery.id,
                "state": delivery.state.value,
                "next_at": delivery.next_at,
                "attempts": delivery.attempts,
                "ended_at": delivery.ended_at,
                "answer": delivery.answer,
            },
        )

    def give_up_deliveries(self, known: Collection[str], why: str) -> dict[str, int]:
        """What is pending for other webhooks than these is dead. Returns how many of each."""
        sql = "SELECT webhook, count(*) AS n FROM deliveries WHERE state = 'pending' GROUP BY webhook"
        found = {row["webhook"]: row["n"] for row in self.db.all(sql) if row["webhook"] not in known}
        with self.db.transaction():
            for name in found:
                self.db.write(
                    "UPDATE deliveries SET state = 'dead', ended_at = :now, answer = :why "
                    "WHERE webhook = :name AND state = 'pending'",
                    {"name": name, "now": self.clock.now(), "why": why},
                )
        return found

    def count_deliveries(self) -> dict[tuple[str, str], int]:
        """(webhook, state) → how many."""
        sql = "SELECT webhook, state, count(*) AS n FROM deliveries GROUP BY webhook, state"
        return {(row["webhook"], row["state"]): row["n"] for row in self.db.all(sql)}

    def trim_deliveries(self, keep: int, at_once: int = 500) -> None:
        """Forget all but the newest `keep` that arrived, and as many that were given up, of each webhook.

        at_once   most that are dropped in one call
        """
        too_many = (
            "SELECT place FROM (SELECT place, row_number() OVER (PARTITION BY webhook, state ORDER BY place DESC) AS n "
            "FROM deliveries WHERE state <> 'pending') WHERE n > :keep ORDER BY place LIMIT :most"
        )
        if self.db.one(too_many, keep=keep, most=1) is not None:
            self.db.write(f"DELETE FROM deliveries WHERE place IN ({too_many})", {"keep": keep, "most": at_once})
