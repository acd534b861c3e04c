"""Rollouts: at most one open for each deployment, moved on only as model.TRANSITIONS allows."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from longshore.clock import to_datetime
from longshore.errors import DeploymentInProgress
from longshore.model import OPEN_STATUSES, TRANSITIONS, Failure, Rollout, RolloutStatus
from longshore.store import codec, rows
from longshore.store.base import Base, expect

_OPEN = ", ".join(f"'{s}'" for s in sorted(OPEN_STATUSES))


class Rollouts(Base):
    def open_rollout(self, rollout: Rollout) -> Rollout:
        """Insert it as the deployment's one open rollout, numbered. Raises DeploymentInProgress if there is another."""
        with self.db.transaction():
            row = self.db.one(
                "SELECT coalesce(max(number), 0) + 1 AS number FROM rollouts WHERE deployment = :name",
                name=rollout.deployment,
            )
            rollout = replace(rollout, number=row["number"] if row else 1)
            try:
                self._write(
                    rollout.deployment,
                    "INSERT INTO rollouts (id, deployment, number, kind, version, previous_version, strategy, status, "
                    "spec, requested_by, started_at, message, epoch, override, approved_by) VALUES (:id, :deployment, "
                    ":number, :kind, :version, :previous_version, :strategy, :status, :spec, :requested_by, "
                    ":started_at, '', :epoch, :override, :approved_by)",
                    id=rollout.id,
                    deployment=rollout.deployment,
                    number=rollout.number,
                    kind=rollout.kind.value,
                    version=rollout.version,
                    previous_version=rollout.previous_version,
                    strategy=rollout.strategy,
                    status=rollout.status.value,
                    spec=codec.encode_spec(rollout.spec),
                    requested_by=rollout.requested_by,
                    started_at=rollout.started_at,
                    epoch=self.db.epoch,
                    override=rollout.override,
                    approved_by=rollout.approved_by,
                )
            except sqlite3.IntegrityError as error:
                holder = self.open_rollout_of(rollout.deployment)
                if holder is None:
                    raise
                raise in_progress(holder) from error
        return rollout

    def rollout(self, rollout_id: str) -> Rollout | None:
        row = self.db.one("SELECT * FROM rollouts WHERE id = :id", id=rollout_id)
        return None if row is None else rows.rollout(row)

    def open_rollout_of(self, deployment: str) -> Rollout | None:
        row = self.db.one(f"SELECT * FROM rollouts WHERE deployment = :name AND status IN ({_OPEN})", name=deployment)
        return None if row is None else rows.rollout(row)

    def last_rollout_of(self, deployment: str) -> Rollout | None:
        row = self.db.one(
            "SELECT * FROM rollouts WHERE deployment = :name ORDER BY number DESC LIMIT 1", name=deployment
        )
        return None if row is None else rows.rollout(row)

    def last_rollouts(self) -> dict[str, Rollout]:
        """The last rollout of each deployment that has one open or that did not end well; others are left out."""
        sql = (
            "SELECT r.* FROM rollouts r JOIN "
            "(SELECT deployment, max(number) AS number FROM rollouts GROUP BY deployment) l "
            "ON l.deployment = r.deployment AND l.number = r.number WHERE r.status <> 'succeeded'"
        )
        return {row["deployment"]: rows.rollout(row) for row in self.db.all(sql)}

    def left_behind(self, deployment: str) -> list[Rollout]:
        """Those held or stuck, oldest first: what they have left is yet to be undone."""
        sql = "SELECT * FROM rollouts WHERE deployment = :name AND status IN ('held', 'stuck') ORDER BY number"
        return [rows.rollout(row) for row in self.db.all(sql, name=deployment)]

    def open_rollouts(self) -> list[Rollout]:
        return [rows.rollout(r) for r in self.db.all(f"SELECT * FROM rollouts WHERE status IN ({_OPEN}) ORDER BY id")]

    def rollouts(self, deployment: str, *, limit: int, offset: int) -> tuple[list[Rollout], int]:
        """Newest first, and how many there are."""
        sql = "SELECT * FROM rollouts WHERE deployment = :name ORDER BY number DESC LIMIT :limit OFFSET :offset"
        found = [rows.rollout(row) for row in self.db.all(sql, name=deployment, limit=limit, offset=offset)]
        total = self.db.one("SELECT count(*) AS n FROM rollouts WHERE deployment = :name", name=deployment)
        return found, total["n"] if total else 0

    def trim_rollouts(self, deployment: str, keep: int, at_once: int = 50) -> None:
        """Drop all but the newest `keep` rollouts of a deployment, with their steps and progress, oldest first.

        Never one that is open, or whose undoing a later one still has to do, or that an Idempotency-Key stands for.
        at_once   most that are dropped in one call, so that a long history does not hold everything up
        """
        sql = (
            "SELECT id FROM rollouts WHERE deployment = :name AND status IN ('succeeded', 'unwound') "
            "AND number <= (SELECT number FROM rollouts WHERE deployment = :name ORDER BY number DESC LIMIT 1 "
            "OFFSET :keep) AND id NOT IN (SELECT rollout_id FROM idempotency WHERE rollout_id IS NOT NULL) "
            "ORDER BY number LIMIT :most"
        )
        if found := self.db.all(sql, name=deployment, keep=keep, most=at_once):
            with self.db.transaction():
                for row in found:
                    self._write(deployment, "DELETE FROM rollouts WHERE id = :id", id=row["id"])

    def save_plan(self, rollout: Rollout, plan: str) -> None:
        """The plan is written once, before its first step; what runs, now or after a crash, is what is written here."""
        changed = self._write(
            rollout.deployment,
            "UPDATE rollouts SET plan = :plan WHERE id = :id AND plan IS NULL",
            id=rollout.id,
            plan=plan,
        )
        expect(changed, f"rollout {rollout.id} without a plan")

    def plan_of(self, rollout_id: str) -> str | None:
        row = self.db.one("SELECT plan FROM rollouts WHERE id = :id", id=rollout_id)
        return None if row is None else row["plan"]

    def set_status(
        self, rollout: Rollout, status: RolloutStatus, *, message: str = "", failure: Failure | None = None
    ) -> Rollout:
        """Move it on. A move that TRANSITIONS does not know from the stored status is an error."""
        sources = sorted(s for s, following in TRANSITIONS.items() if status in following)
        marks = ", ".join(f"'{s}'" for s in sources)
        ended = None if status in OPEN_STATUSES else self.clock.now()
        changed = self._write(
            rollout.deployment,
            "UPDATE rollouts SET status = :status, ended_at = coalesce(:ended, ended_at), epoch = :epoch, "
            "message = CASE WHEN :message = '' THEN message ELSE :message END, "
            f"failure = coalesce(:failure, failure) WHERE id = :id AND status IN ({marks})",
            id=rollout.id,
            status=status.value,
            ended=ended,
            epoch=self.db.epoch,
            message=message,
            failure=codec.encode_failure(failure),
        )
        expect(changed, f"rollout {rollout.id} in a status that may become {status}")
        updated = self.rollout(rollout.id)
        assert updated is not None
        return updated

    def request_abort(self, rollout: Rollout, reason: str) -> bool:
        """Journal the wish before it acts. False: it is past the commit or over."""
        return bool(
            self._write(
                rollout.deployment,
                "UPDATE rollouts SET abort_requested = coalesce(abort_requested, :reason) "
                "WHERE id = :id AND status IN ('running', 'paused', 'unwinding')",
                id=rollout.id,
                reason=reason,
            )
        )


def in_progress(holder: Rollout) -> DeploymentInProgress:
    """The 409, saying who started the rollout in progress, and when."""
    started = to_datetime(holder.started_at).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return DeploymentInProgress(
        f"A {holder.kind} of {holder.deployment} to {holder.version} is {holder.status}: started by "
        f"{holder.requested_by} at {started}. Wait for it, abort it, or roll back (which aborts it).",
        deployment=holder.deployment,
        operation=holder.kind.value,
        cause=f"rollout {holder.id} is {holder.status}",
        rollout_id=holder.id,
        started_by=holder.requested_by,
        started_at=started,
    )
