"""The store as the rest of Longshore sees it: named reads and writes of records, and the rules the database enforces.

Writes outside of a `transaction()` are a transaction of their own. Every write names the deployment it concerns, so
that `revision(name)` moves whenever something stored about it has changed.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from longshore.clock import Clock, to_datetime
from longshore.errors import DeploymentInProgress, InternalError
from longshore.model import (
    OPEN_STATUSES,
    TRANSITIONS,
    Deployment,
    Event,
    Failure,
    Instance,
    Progress,
    Release,
    ReleaseState,
    Rollout,
    RolloutStatus,
    Routing,
    StepRecord,
    StepStatus,
)
from longshore.store import codec, rows
from longshore.store.sqlite import Database, WriteHook

_OPEN = ", ".join(f"'{s}'" for s in sorted(OPEN_STATUSES))


class Store:
    """Open one with a path; the manager then calls take_over() before it writes."""

    def __init__(self, path: Path, clock: Clock, on_write: WriteHook | None = None) -> None:
        self.db = Database(path, on_write)
        self.clock = clock
        self.manager_id = ""
        self._revisions: dict[str, int] = {}
        #: grows with every change of anything, and with what touch() is told
        self.changes = 0

    def take_over(self) -> None:
        self.manager_id, _ = self.db.take_over()

    def transaction(self) -> AbstractContextManager[None]:
        return self.db.transaction()

    def close(self) -> None:
        self.db.close()

    def revision(self, name: str) -> int:
        return self._revisions.get(name, 0)

    def touch(self, name: str) -> None:
        """What is shown of this deployment may have changed."""
        self._revisions[name] = self._revisions.get(name, 0) + 1
        self.changes += 1

    # ------------------------------------------------------------------------------------------------ deployments

    def deployment(self, name: str) -> Deployment | None:
        row = self.db.one("SELECT * FROM deployments WHERE name = :name", name=name)
        return None if row is None else rows.deployment(row)

    def deployments(self, environment: str | None = None) -> list[Deployment]:
        """All of them (of an environment), by name."""
        sql = "SELECT * FROM deployments WHERE :environment IS NULL OR environment = :environment ORDER BY name"
        return [rows.deployment(row) for row in self.db.all(sql, environment=environment)]

    def deployment_using(self, *, working_directory: str = "", port: int | None = None) -> Deployment | None:
        row = self.db.one(
            "SELECT * FROM deployments WHERE working_directory = :directory OR public_port = :port",
            directory=working_directory,
            port=port,
        )
        return None if row is None else rows.deployment(row)

    def save_deployment(self, deployment: Deployment) -> None:
        """Insert, or replace all that may change. Raises sqlite3.IntegrityError where a directory or port is taken."""
        self._write(
            deployment.name,
            "INSERT INTO deployments VALUES (:name, :environment, :working_directory, :public_port, :current_version, "
            ":previous_version, :routing, :instances, :created_at, :updated_at) "
            "ON CONFLICT (name) DO UPDATE SET environment = :environment, working_directory = :working_directory, "
            "public_port = :public_port, current_version = :current_version, previous_version = :previous_version, "
            "routing = :routing, instances = :instances, updated_at = :updated_at",
            name=deployment.name,
            environment=deployment.environment,
            working_directory=deployment.working_directory,
            public_port=deployment.public_port,
            current_version=deployment.current_version,
            previous_version=deployment.previous_version,
            routing=codec.encode_routing(deployment.routing),
            instances=json.dumps(deployment.instances),
            created_at=deployment.created_at,
            updated_at=self.clock.now(),
        )

    def set_routing(self, name: str, routing: Routing | None) -> None:
        changed = self._write(
            name,
            "UPDATE deployments SET routing = :routing, updated_at = :now WHERE name = :name",
            name=name,
            routing=codec.encode_routing(routing),
            now=self.clock.now(),
        )
        _expect(changed, f"deployment {name}")

    def delete_deployment(self, name: str) -> None:
        """With everything that is stored about it."""
        self._write(name, "DELETE FROM deployments WHERE name = :name", name=name)

    # --------------------------------------------------------------------------------------------------- releases

    def release(self, deployment: str, version: str) -> Release | None:
        row = self.db.one(
            "SELECT * FROM releases WHERE deployment = :deployment AND version = :version",
            deployment=deployment,
            version=version,
        )
        return None if row is None else rows.release(row)

    def releases(self, deployment: str) -> list[Release]:
        """Newest first."""
        sql = "SELECT * FROM releases WHERE deployment = :deployment ORDER BY created_at DESC, rowid DESC"
        return [rows.release(row) for row in self.db.all(sql, deployment=deployment)]

    def save_release(self, release: Release) -> None:
        self._write(
            release.deployment,
            "INSERT INTO releases VALUES (:deployment, :version, :sha256, :spec, :command, :path, :size_bytes, :state, "
            ":created_at, :healthy_at) ON CONFLICT (deployment, version) DO UPDATE SET sha256 = :sha256, spec = :spec, "
            "command = :command, path = :path, size_bytes = :size_bytes, state = :state, healthy_at = :healthy_at",
            deployment=release.deployment,
            version=release.version,
            sha256=release.sha256,
            spec=codec.encode_spec(release.spec),
            command=codec.encode_command(release.command),
            path=release.path,
            size_bytes=release.size_bytes,
            state=release.state.value,
            created_at=release.created_at,
            healthy_at=release.healthy_at,
        )

    def set_release_state(self, deployment: str, version: str, state: ReleaseState) -> None:
        self._write(
            deployment,
            "UPDATE releases SET state = :state WHERE deployment = :deployment AND version = :version",
            deployment=deployment,
            version=version,
            state=state.value,
        )

    def delete_release(self, deployment: str, version: str) -> None:
        self._write(
            deployment,
            "DELETE FROM releases WHERE deployment = :deployment AND version = :version",
            deployment=deployment,
            version=version,
        )

    # -------------------------------------------------------------------------------------------------- instances

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
            ":started_at, :restarts, :retire_at) ON CONFLICT (id) DO UPDATE SET port = :port, state = :state, "
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
        )

    def delete_instance(self, instance: Instance) -> None:
        self._write(instance.deployment, "DELETE FROM instances WHERE id = :id", id=instance.id)

    # --------------------------------------------------------------------------------------------------- rollouts

    def open_rollout(self, rollout: Rollout) -> Rollout:
        """Insert it as the deployment's one open rollout, numbered. Raises DeploymentInProgress if there is another."""
        with self.transaction():
            row = self.db.one(
                "SELECT coalesce(max(number), 0) + 1 AS number FROM rollouts WHERE deployment = :name",
                name=rollout.deployment,
            )
            rollout = replace(rollout, number=row["number"] if row else 1)
            try:
                self._write(
                    rollout.deployment,
                    "INSERT INTO rollouts VALUES (:id, :deployment, :number, :kind, :version, :previous_version, "
                    ":strategy, :status, :spec, NULL, :requested_by, :started_at, NULL, '', NULL, NULL, :epoch)",
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
        row = self.db.one(
            f"SELECT * FROM rollouts WHERE deployment = :name AND status IN ({_OPEN})", name=deployment
        )
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

    def open_rollouts(self) -> list[Rollout]:
        return [rows.rollout(r) for r in self.db.all(f"SELECT * FROM rollouts WHERE status IN ({_OPEN}) ORDER BY id")]

    def rollouts(self, deployment: str, *, limit: int, offset: int) -> tuple[list[Rollout], int]:
        """Newest first, and how many there are."""
        sql = "SELECT * FROM rollouts WHERE deployment = :name ORDER BY number DESC LIMIT :limit OFFSET :offset"
        found = [rows.rollout(row) for row in self.db.all(sql, name=deployment, limit=limit, offset=offset)]
        total = self.db.one("SELECT count(*) AS n FROM rollouts WHERE deployment = :name", name=deployment)
        return found, total["n"] if total else 0

    def save_plan(self, rollout: Rollout, plan: str) -> None:
        """The plan is written once, before its first step; what runs, now or after a crash, is what is written here."""
        changed = self._write(
            rollout.deployment,
            "UPDATE rollouts SET plan = :plan WHERE id = :id AND plan IS NULL",
            id=rollout.id,
            plan=plan,
        )
        _expect(changed, f"rollout {rollout.id} without a plan")

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
        _expect(changed, f"rollout {rollout.id} in a status that may become {status}")
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

    # ---------------------------------------------------------------------------------------------------- journal

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
            ":message, :error) ON CONFLICT (rollout_id, undo, position) DO UPDATE SET status = :status, "
            "ended_at = :ended_at, message = :message, error = :error",
            rollout_id=record.rollout_id,
            position=record.position,
            undo=int(record.undo),
            name=record.name,
            status=record.status.value,
            started_at=record.started_at,
            ended_at=record.ended_at,
            message=record.message,
            error=record.error,
        )

    def completed_positions(self, rollout_id: str) -> int:
        row = self.db.one(
            "SELECT count(*) AS n FROM journal WHERE rollout_id = :id AND undo = 0 AND status <> :running",
            id=rollout_id,
            running=StepStatus.running.value,
        )
        return int(row["n"]) if row else 0

    def add_progress(
        self, rollout: Rollout, *, step: str, status: str, message: str, progress_pct: int, last: bool = False
    ) -> Progress:
        with self.transaction():
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
            )
            self._write(
                rollout.deployment,
                "INSERT INTO progress VALUES (:rollout_id, :seq, :deployment, :step, :status, :message, :pct, "
                ":timestamp, :last)",
                rollout_id=message_row.rollout_id,
                seq=message_row.seq,
                deployment=message_row.deployment,
                step=step,
                status=status,
                message=message,
                pct=message_row.progress_pct,
                timestamp=message_row.timestamp,
                last=int(last),
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

    # ------------------------------------------------------------------------------------------------------ events

    def add_event(
        self, deployment: str, type: str, message: str, *, source: str, rollout_id: str | None = None
    ) -> None:
        self._write(
            deployment,
            "INSERT INTO events (deployment, timestamp, type, message, source, rollout_id) "
            "SELECT name, :timestamp, :type, :message, :source, :rollout_id FROM deployments WHERE name = :deployment",
            deployment=deployment,
            timestamp=self.clock.now(),
            type=type,
            message=message,
            source=source,
            rollout_id=rollout_id,
        )

    def events(self, deployment: str | None, *, limit: int, before: int | None = None, after: int = 0) -> list[Event]:
        """Newest first; `before` and `after` are event ids, exclusive. None: of all deployments."""
        sql = (
            "SELECT * FROM events WHERE (:name IS NULL OR deployment = :name) AND id > :after "
            "AND (:before IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
        )
        return [
            rows.event(row) for row in self.db.all(sql, name=deployment, limit=limit, before=before, after=after)
        ]

    # ------------------------------------------------------------------------------------------------- idempotency

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

    # --- private

    def _write(self, name: str, sql: str, /, **parameters: Any) -> int:
        with self.transaction():
            changed = self.db.write(sql, parameters)
            self.db.after_commit(lambda: self.touch(name))
        return changed


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


def _expect(changed: int, what: str) -> None:
    if changed != 1:
        raise InternalError(f"The store has no {what}: an update that had to change one row changed {changed}.")
