"""The journal: what happened to each step of a rollout, and what watchers were told."""

from __future__ import annotations

from longshore.model import Progress, Rollout, StepRecord, StepStatus, VerdictReport
from longshore.store import codec, rows
from longshore.store.base import Base


class Journal(Base):
    def journal(self, rollout_id: str) -> list[StepRecord]:
        """In the order in which things happened."""
        sql = (
            "SELECT * FROM journal WHERE rollout_id = :id "
            "ORDER BY undo, CASE undo WHEN 0 THEN position ELSE -position END"
        )
        return [rows.step_record(row) for row in self.db.all(sql, id=rollout_id)]

    def write_step(self, deployment: str, record: StepRecord) -> None:
        """Begin, end or repeat a step: a row each run and each undo."""
        self._write(
            deployment,
            "INSERT INTO journal VALUES (:rollout_id, :position, :undo, :name, :status, :started_at, :ended_at, "
            ":message, :error, :verdict) ON CONFLICT (rollout_id, undo, position) DO UPDATE SET status = :status, "
            "ended_at = :ended_at, message = :message, error = :error, verdict = :verdict",
            rollout_id=record.rollout_id,
            position=record.position,
            undo=int(record.undo),
            name=record.name,
            status=record.status.value,
            started_at=record.started_at,
            ended_at=record.ended_at,
            message=record.message,
            error=record.error,
            verdict=codec.encode_verdict(record.verdict),
        )

    def completed_positions(self, rollout_id: str) -> int:
        row = self.db.one(
            "SELECT count(*) AS n FROM journal WHERE rollout_id = :id AND undo = 0 AND status <> :running",
            id=rollout_id,
            running=StepStatus.running.value,
        )
        return int(row["n"]) if row else 0

    def add_progress(
        self,
        rollout: Rollout,
        *,
        step: str,
        status: str,
        message: str,
        progress_pct: int,
        last: bool = False,
        verdict: VerdictReport | None = None,
    ) -> Progress:
        with self.db.transaction():
            row = self.db.one(
                "SELECT coalesce(max(seq), 0) + 1 AS seq, coalesce(max(progress_pct), 0) AS pct "
                "FROM progress WHERE rollout_id = :id",
                id=rollout.id,
            )
            assert row is not None
            message_row = Progress(
                rollout_id=rollout.id,
                deployment=rollout.deployment,
                seq=row["seq"],
                step=step,
                status=status,
                message=message,
                progress_pct=max(progress_pct, row["pct"]),
                timestamp=self.clock.now(),
                last=last,
                verdict=verdict,
            )
            self._write(
                rollout.deployment,
                "INSERT INTO progress VALUES (:rollout_id, :seq, :deployment, :step, :status, :message, :pct, "
                ":timestamp, :last, :verdict)",
                rollout_id=message_row.rollout_id,
                seq=message_row.seq,
                deployment=message_row.deployment,
                step=step,
                status=status,
                message=message,
                pct=message_row.progress_pct,
                timestamp=message_row.timestamp,
                last=int(last),
                verdict=codec.encode_verdict(verdict),
            )
        return message_row

    def progress(self, rollout_id: str, after: int = 0) -> list[Progress]:
        sql = "SELECT * FROM progress WHERE rollout_id = :id AND seq > :after ORDER BY seq"
        return [rows.progress(row) for row in self.db.all(sql, id=rollout_id, after=after)]

    def progress_pct(self, rollout_id: str) -> int:
        row = self.db.one(
            "SELECT coalesce(max(progress_pct), 0) AS pct FROM progress WHERE rollout_id = :id", id=rollout_id
        )
        return int(row["pct"]) if row else 0
