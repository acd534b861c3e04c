"""Starting a rollout and waiting for its outcome, whatever happens to the connection or to the manager meanwhile."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from longshore.client.calls import ROOT, at_revision, checked, get, path_of
from longshore.client.decode import decode
from longshore.client.effects import Emit, Flow, Pause, Reply, Request
from longshore.client.errors import (
    ApiError,
    ConnectionLost,
    InternalError,
    ManagerUnreachable,
    RateLimited,
    UnexpectedAnswer,
    WaitTimeout,
    api_error,
)
from longshore.client.results import Progress, RollbackResult, Rollout
from longshore.client.watching import Cursor, Patience, listen, open_progress

#: seconds between two looks at a rollout where the WebSocket cannot be had: 60 a minute, under the 100 of the API
POLL = 1.0
#: and at first: the record may lag behind the WebSocket's last message for a moment
POLL_FIRST = 0.05


def deploy(
    spec: Mapping[str, Any],
    *,
    wait: bool,
    key: str | None,
    timeout: float | None,
    patience_s: float,
    if_revision: int | None = None,
    override: str | None = None,
) -> Flow[Rollout]:
    """POST the deployment, and wait for its outcome. Emits Progress."""
    request = _starting("POST", ROOT, spec, key, timeout, if_revision, override)
    reply = yield from _send_again_if_lost(request, patience_s)
    name = str(spec.get("name", ""))
    return (yield from _outcome(name, request, reply, wait=wait, timeout=timeout, patience_s=patience_s))


def rollback(
    name: str, version: str, *, timeout: float | None, patience_s: float, if_revision: int | None = None
) -> Flow[RollbackResult]:
    """Emits Progress where the manager answers before the rollback is over."""
    request = _starting("POST", path_of(name, "rollback"), {"version": version}, None, timeout, if_revision)
    reply = yield from _send_again_if_lost(request, patience_s)
    if reply.status != 202:
        return decode(RollbackResult, checked(request, reply))
    try:
        done = yield from _outcome(name, request, reply, wait=True, timeout=timeout, patience_s=patience_s)
    except ApiError as error:
        raise api_error("ROLLBACK_FAILED", error.message, error.details) from error
    raw = {"message": done.message, "version": done.version, "timestamp": done.raw.get("end_time")}
    return decode(RollbackResult, {**done.raw, **raw})


def change(
    name: str,
    verb: str,
    body: Mapping[str, Any],
    *,
    wait: bool,
    timeout: float | None,
    patience_s: float,
    if_revision: int | None = None,
    override: str | None = None,
) -> Flow[Rollout]:
    """restart, scale, stop, start; "" is the merge patch of a change. A rollout of what serves. Emits Progress."""
    method, path = ("POST", path_of(name, verb)) if verb else ("PATCH", path_of(name))
    request = _starting(method, path, body or (None if verb else {}), None, timeout, if_revision, override)
    reply = yield from _send_again_if_lost(request, patience_s)
    return (yield from _outcome(name, request, reply, wait=wait, timeout=timeout, patience_s=patience_s))


def follow(name: str, rollout_id: str, *, timeout: float | None, patience_s: float) -> Flow[Rollout]:
    """Emits Progress until the rollout is over, and returns it however it ended.

    The WebSocket tells what happens; the rollout's own record decides. Where there is no WebSocket (a proxy that
    passes none, say) the record is read every second.
    """
    until = None if timeout is None else time.monotonic() + timeout
    cursor, patience, sockets, pause = Cursor(rollout_id), Patience(patience_s), True, POLL_FIRST
    shown: Progress | None = None
    while True:
        if sockets:
            sockets = yield from _listen_if_possible(name, cursor, until)
        try:
            rollout = yield from get(Rollout, path_of(name, "rollouts", rollout_id))
            patience.reset()
        except RateLimited as limited:
            yield Pause(min(limited.retry_after or POLL, 60.0))
            continue
        except (ConnectionLost, ManagerUnreachable) as error:
            yield from patience.wait(error)
            continue
        if rollout.is_over:
            return rollout
        if until is not None and time.monotonic() >= until:
            raise WaitTimeout(name, rollout_id, timeout or 0.0)
        if not sockets and (now := _record_as_progress(rollout)) != shown:
            shown = now
            yield Emit(now)
        yield Pause(pause)
        pause = min(pause * 2, POLL)


def failure_of(rollout: Rollout) -> ApiError:
    """The error that the synchronous request would have answered with for a rollout that failed."""
    details: dict[str, Any] = {
        "deployment": rollout.deployment,
        "rollout_id": rollout.id,
        "rolled_back": rollout.status == "unwound",
        "steps": rollout.raw.get("steps", []),
    }
    if rollout.error is None:
        return api_error("DEPLOYMENT_FAILED", rollout.message or "the rollout failed", details)
    return api_error(rollout.error.code, rollout.error.message, {**details, **rollout.error.details})


def _starting(
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    key: str | None,
    timeout: float | None,
    if_revision: int | None,
    override: str | None = None,
) -> Request:
    terms = at_revision(if_revision, override)
    headers = {"Prefer": "respond-async", "Idempotency-Key": key or str(uuid4()), **terms}
    return Request(method, path, json=body, headers=headers, timeout=timeout)


def _send_again_if_lost(request: Request, patience_s: float) -> Flow[Reply]:
    """The Idempotency-Key makes it safe to repeat a request whose connection broke before the answer came."""
    patience, sent = Patience(patience_s), False
    while True:
        try:
            reply: Reply = yield request
            return reply
        except ConnectionLost as error:
            sent = True
            yield from patience.wait(error)
        except ManagerUnreachable as error:
            if not sent:
                raise
            yield from patience.wait(error)


def _listen_if_possible(name: str, cursor: Cursor, until: float | None) -> Flow[bool]:
    """Emits what the WebSocket says, until it ends. False: it cannot be had here."""
    try:
        yield from open_progress(name, cursor)
        yield from listen(name, cursor, until=until)
    except (ApiError, UnexpectedAnswer):
        return False
    except (ConnectionLost, ManagerUnreachable):
        return True
    return True


def _outcome(
    name: str, request: Request, reply: Reply, *, wait: bool, timeout: float | None, patience_s: float
) -> Flow[Rollout]:
    """The rollout that an answer to a starting request means, waited for unless it is over or `wait` is False."""
    try:
        answer = decode(Rollout, checked(request, reply))
    except InternalError as stopping:
        # A manager that stops while it is being waited for answers so; the rollout goes on in the next one.
        rollout_id = str(stopping.details.get("rollout_id") or "")
        if not (wait and rollout_id):
            raise
    else:
        # Who has to approve it may be asleep.
        if not wait or reply.status != 202 or answer.waiting_for == "approval":
            return answer
        location = reply.headers.get("location", "")
        rollout_id = answer.id or unquote(location.rstrip("/").rpartition("/")[2])
        if not rollout_id:
            raise UnexpectedAnswer(f"{request.path} answered 202 without saying which rollout it began")
    rollout = yield from follow(name, rollout_id, timeout=timeout, patience_s=patience_s)
    if not rollout.success:
        raise failure_of(rollout)
    return rollout


def _record_as_progress(rollout: Rollout) -> Progress:
    """What the WebSocket would have said last, from the rollout's record."""
    step = rollout.steps[-1] if rollout.steps else None
    status = {"completed": "success", "failed": "failed"}.get(step.status, "running") if step else "running"
    return Progress(
        step=step.name if step else "",
        status=status,
        message=(step.error or step.message) if step else rollout.message,
        progress_pct=rollout.progress_pct,
        timestamp=(step.end_time or step.start_time if step else None) or rollout.start_time,
        rollout_id=rollout.id,
    )
