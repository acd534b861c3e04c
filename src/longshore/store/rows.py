"""Rows of the store → records of the model."""

from __future__ import annotations

import json
import sqlite3

from longshore.model import (
    Ask,
    Delivery,
    DeliveryState,
    Deployment,
    Event,
    Instance,
    InstanceState,
    Lock,
    Progress,
    Release,
    ReleaseState,
    Role,
    Rollout,
    RolloutKind,
    RolloutStatus,
    StepRecord,
    StepStatus,
    Token,
    Waiting,
    WaitingFor,
)
from longshore.store import codec


def deployment(row: sqlite3.Row) -> Deployment:
    return Deployment(
        name=row["name"],
        environment=row["environment"],
        working_directory=row["working_directory"],
        public_port=row["public_port"],
        current_version=row["current_version"],
        previous_version=row["previous_version"],
        routing=codec.decode_routing(row["routing"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        instances=tuple(json.loads(row["instances"])),
        deleting=row["deleting"],
        stopped=bool(row["stopped"]),
        revision=row["revision"],
        changed_by=row["changed_by"],
    )


def release(row: sqlite3.Row) -> Release:
    return Release(
        deployment=row["deployment"],
        version=row["version"],
        sha256=row["sha256"],
        spec=codec.decode_spec(row["spec"]),
        command=codec.decode_command(row["command"]),
        path=row["path"],
        size_bytes=row["size_bytes"],
        state=ReleaseState(row["state"]),
        created_at=row["created_at"],
        healthy_at=row["healthy_at"],
        pinned=row["pinned"],
    )


def instance(row: sqlite3.Row) -> Instance:
    return Instance(
        id=row["id"],
        deployment=row["deployment"],
        version=row["version"],
        slot=row["slot"],
        port=row["port"],
        state=InstanceState(row["state"]),
        handle=None if row["handle"] is None else json.loads(row["handle"]),
        launch_id=row["launch_id"],
        started_at=row["started_at"],
        restarts=row["restarts"],
        retire_at=row["retire_at"],
        host=row["host"],
        leased=bool(row["leased"]),
    )


def rollout(row: sqlite3.Row) -> Rollout:
    return Rollout(
        id=row["id"],
        deployment=row["deployment"],
        number=row["number"],
        kind=RolloutKind(row["kind"]),
        version=row["version"],
        previous_version=row["previous_version"],
        strategy=row["strategy"],
        status=RolloutStatus(row["status"]),
        spec=codec.decode_spec(row["spec"]),
        requested_by=row["requested_by"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        message=row["message"],
        failure=codec.decode_failure(row["failure"]),
        abort_requested=row["abort_requested"],
        override=row["override"],
        approved_by=row["approved_by"],
    )


def waiting(row: sqlite3.Row) -> Waiting:
    kind, name, unreadable = RolloutKind(row["kind"]), row["deployment"], ""
    try:
        fields, dropped = codec.decode_asked(row["asked"])
    except (ValueError, LookupError) as error:
        # It is shown all the same, and says why when it should begin.
        fields, dropped, unreadable = {}, frozenset(), str(error)
    return Waiting(
        id=row["id"],
        ask=Ask(kind, name, fields, dropped, unreadable),
        spec=codec.decode_spec(row["spec"]),
        strategy=row["strategy"],
        requested_by=row["requested_by"],
        since=row["since"],
        expires_at=row["expires_at"],
        waiting_for=WaitingFor(row["waiting_for"]),
        supersedes=bool(row["supersedes"]),
        approved_by=row["approved_by"],
        override=row["override"],
        ended_at=row["ended_at"],
        message=row["message"],
    )


def delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        id=row["id"],
        webhook=row["webhook"],
        event=row["event"],
        deployment=row["deployment"],
        body=row["body"],
        state=DeliveryState(row["state"]),
        created_at=row["created_at"],
        next_at=row["next_at"],
        attempts=row["attempts"],
        ended_at=row["ended_at"],
        answer=row["answer"],
    )


def token(row: sqlite3.Row) -> Token:
    return Token(
        name=row["name"],
        sha256=row["sha256"],
        role=Role(row["role"]),
        environments=None if row["environments"] is None else tuple(json.loads(row["environments"])),
        created_by=row["created_by"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        revoked_at=row["revoked_at"],
    )


def lock(row: sqlite3.Row) -> Lock:
    return Lock(row["scope"], row["name"], row["holder"], row["message"], row["since"], row["expires_at"])


def step_record(row: sqlite3.Row) -> StepRecord:
    return StepRecord(
        rollout_id=row["rollout_id"],
        position=row["position"],
        name=row["name"],
        undo=bool(row["undo"]),
        status=StepStatus(row["status"]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        message=row["message"],
        error=row["error"],
        verdict=codec.decode_verdict(row["verdict"]),
    )


def progress(row: sqlite3.Row) -> Progress:
    return Progress(
        rollout_id=row["rollout_id"],
        deployment=row["deployment"],
        seq=row["seq"],
        step=row["step"],
        status=row["status"],
        message=row["message"],
        progress_pct=row["progress_pct"],
        timestamp=row["timestamp"],
        last=bool(row["last"]),
        verdict=codec.decode_verdict(row["verdict"]),
    )


def event(row: sqlite3.Row) -> Event:
    return Event(
        id=row["id"],
        deployment=row["deployment"],
        timestamp=row["timestamp"],
        type=row["type"],
        message=row["message"],
        source=row["source"],
        rollout_id=row["rollout_id"],
        verdict=codec.decode_verdict(row["verdict"]),
    )
