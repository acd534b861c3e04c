"""What waits, in the order in which it was asked for."""

from __future__ import annotations

from longshore.model import Waiting, WaitingFor
from longshore.store import codec, rows
from longshore.store.base import Base, expect


class WaitingList(Base):
    def waiting(self, id: str) -> Waiting | None:
        """What waits, or was cancelled; None: there never was such a thing, or it has begun."""
        row = self.db.one("SELECT * FROM waiting WHERE id = :id", id=id)
        return None if row is None else rows.waiting(row)

    def waiting_of(self, deployment: str) -> list[Waiting]:
        """All that wait, first come first."""
        sql = "SELECT * FROM waiting WHERE deployment = :name AND ended_at IS NULL ORDER BY place"
        return [rows.waiting(row) for row in self.db.all(sql, name=deployment)]

    def last_waiting(self, deployment: str) -> Waiting | None:
        """The last that was asked for and has not begun, cancelled or not."""
        sql = "SELECT * FROM waiting WHERE deployment = :name ORDER BY place DESC LIMIT 1"
        row = self.db.one(sql, name=deployment)
        return None if row is None else rows.waiting(row)

    def who_waits(self) -> list[str]:
        """Names of the deployments that something waits for."""
        sql = "SELECT DISTINCT deployment FROM waiting WHERE ended_at IS NULL ORDER BY deployment"
        return [row["deployment"] for row in self.db.all(sql)]

    def add_waiting(self, waiting: Waiting, message: str) -> None:
        self._write(
            waiting.ask.deployment,
            "INSERT INTO waiting (id, place, deployment, kind, asked, spec, strategy, requested_by, since, expires_at, "
            "waiting_for, supersedes, override, message) "
            "VALUES (:id, (SELECT coalesce(max(place), 0) + 1 FROM waiting), :deployment, :kind, :asked, :spec, "
            ":strategy, :requested_by, :since, :expires_at, :waiting_for, :supersedes, :override, :message)",
            id=waiting.id,
            deployment=waiting.ask.deployment,
            kind=waiting.ask.kind.value,
            asked=codec.encode_asked(waiting.ask.fields, waiting.ask.dropped),
            spec=codec.encode_spec(waiting.spec),
            strategy=waiting.strategy,
            requested_by=waiting.requested_by,
            since=waiting.since,
            expires_at=waiting.expires_at,
            waiting_for=waiting.waiting_for.value,
            supersedes=waiting.supersedes,
            override=waiting.override,
            message=message,
        )

    def approve_waiting(self, waiting: Waiting, by: str, *, expires_at: float, message: str) -> None:
        """From here on it waits for its turn. An InternalError where it does not wait for approval any more."""
        changed = self._write(
            waiting.ask.deployment,
            "UPDATE waiting SET waiting_for = 'turn', approved_by = :by, expires_at = :expires_at, message = :message "
            "WHERE id = :id AND ended_at IS NULL AND waiting_for = :from",
            id=waiting.id,
            by=by,
            expires_at=expires_at,
            message=message,
            **{"from": WaitingFor.approval.value},
        )
        expect(changed, f"request {waiting.id} that waits for approval")

    def cancel_waiting(self, waiting: Waiting, message: str) -> bool:
        """False: it has begun, or was cancelled already."""
        return bool(
            self._write(
                waiting.ask.deployment,
                "UPDATE waiting SET ended_at = :now, message = :message WHERE id = :id AND ended_at IS NULL",
                id=waiting.id,
                now=self.clock.now(),
                message=message,
            )
        )

    def begin_waiting(self, deployment: str, id: str) -> None:
        """Inside the transaction that opens its rollout: it waits no more. An InternalError where it was cancelled."""
        changed = self._write(deployment, "DELETE FROM waiting WHERE id = :id AND ended_at IS NULL", id=id)
        expect(changed, f"request {id} that waits")

    def trim_waiting(self, deployment: str, keep: int) -> None:
        """Forget all but the last `keep` that were cancelled, and those that an Idempotency-Key stands for.
        Writes nothing where there are no more."""
        row = self.db.one(
            "SELECT count(*) AS n FROM waiting WHERE deployment = :name AND ended_at IS NOT NULL", name=deployment
        )
        if row is None or row["n"] <= keep:
            return
        self._write(
            deployment,
            "DELETE FROM waiting WHERE deployment = :name AND ended_at IS NOT NULL AND id NOT IN (SELECT id FROM "
            "waiting WHERE deployment = :name AND ended_at IS NOT NULL ORDER BY place DESC LIMIT :keep) "
            "AND id NOT IN (SELECT rollout_id FROM idempotency WHERE rollout_id IS NOT NULL)",
            name=deployment,
            keep=keep,
        )
