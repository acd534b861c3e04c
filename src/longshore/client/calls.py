"""The calls that are one request and one answer (or a page after the other), as flows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

from longshore.client import results
from longshore.client.decode import decode
from longshore.client.effects import ANSWER_TIMEOUT, Emit, Flow, Reply, Request
from longshore.client.errors import ConnectionLost, NotFound, UnexpectedAnswer, error_of_body
from longshore.durations import format_duration

T = TypeVar("T")

ROOT = "/api/v1/deployments"
#: an aware time; or how long ago, in seconds or as Go writes durations
Since: TypeAlias = datetime | float | str | None
#: rows asked for at a time when all are wanted; the API allows up to 500
PAGE = 200
#: seconds for an answer that the API itself may keep back for 50 s
WAIT_TIMEOUT = 80.0


def path_of(name: str, *parts: str) -> str:
    return "/".join((ROOT, quote(name, safe=""), *(quote(part, safe="") for part in parts)))


def checked(request: Request, reply: Reply) -> Any:
    """The decoded body of a successful answer; any other is raised as the error it is."""
    if not 200 <= reply.status < 300:
        raise error_of_body(
            reply.body, url=request.path, status=reply.status, retry_after=_seconds(reply.headers.get("retry-after"))
        )
    try:
        return reply.json()
    except ValueError as error:
        raise UnexpectedAnswer(f"{request.path} answered {reply.status} with something that is no JSON") from error


def fetch(request: Request) -> Flow[Any]:
    """Ask for something that changes nothing: once more where the connection broke, as that is harmless."""
    try:
        reply = yield request
    except ConnectionLost:
        reply = yield request
    return checked(request, reply)


def send(request: Request) -> Flow[Any]:
    """Ask for something that must not happen twice."""
    reply = yield request
    return checked(request, reply)


def get(kind: type[T], path: str, **params: Any) -> Flow[T]:
    body = yield from fetch(Request("GET", path, {key: _param(v) for key, v in params.items() if v is not None}))
    return decode(kind, body)


def ready() -> Flow[None]:
    reply: Reply = yield Request("GET", "/readyz")
    if reply.status != 200:
        raise error_of_body(reply.body, url="/readyz", status=reply.status)


def all_pages(*, environment: str | None, state: str | None) -> Flow[None]:
    """Emits each Summary, page after page."""
    offset = 0
    while True:
        page = yield from get(
            results.Deployments, ROOT, environment=environment, state=state, limit=PAGE, offset=offset
        )
        for row in page.deployments:
            yield Emit(row)
        offset += len(page.deployments)
        if not page.deployments or offset >= page.total:
            return


def validate(spec: Mapping[str, Any]) -> Flow[results.Validation]:
    """A 400 in the shape of a validation is an answer, in the shape of an error it is one."""
    request = Request("POST", f"{ROOT}/validate", json=spec)
    reply: Reply = yield request
    if reply.status == 400:
        with contextlib.suppress(ValueError, UnexpectedAnswer):
            return decode(results.Validation, reply.json())
    return decode(results.Validation, checked(request, reply))


def plan(spec: Mapping[str, Any]) -> Flow[results.Preview]:
    return decode(results.Preview, (yield from send(Request("POST", f"{ROOT}/plan", json=spec))))


def open_rollout(name: str) -> Flow[results.Rollout]:
    """The rollout in progress. Raises NotFound where there is none."""
    page = yield from get(results.Rollouts, path_of(name, "rollouts"), limit=1)
    if not page.rollouts or page.rollouts[0].is_over:
        raise NotFound(404, "NOT_FOUND", f"no rollout of {name} is in progress", {"deployment": name})
    return page.rollouts[0]


def at_revision(revision: int | None, override: str | None = None) -> dict[str, str]:
    """The headers that have a change refused unless the deployment is at this revision (None: it is not asked), and
    let it pass a lock or a freeze window for a reason. Raises ValueError for a reason that says nothing."""
    match = {} if revision is None else {"If-Match": f'"{revision}"'}
    if override is None:
        return match
    if not (override.strip() and override.isprintable()):
        raise ValueError("an override needs a reason, on one line")
    return {**match, "Longshore-Override": override}


def control(
    name: str, rollout_id: str | None, verb: str, reason: str = "", if_revision: int | None = None
) -> Flow[results.Rollout]:
    """pause, resume, promote or abort a rollout; None is the one in progress."""
    chosen = rollout_id or (yield from open_rollout(name)).id
    body = {"reason": reason} if reason else None
    # An abort is answered when everything is undone, and draining takes as long as it takes.
    timeout = None if verb == "abort" else ANSWER_TIMEOUT
    path, headers = path_of(name, "rollouts", chosen, verb), at_revision(if_revision)
    answer = yield from send(Request("POST", path, json=body, headers=headers, timeout=timeout))
    return decode(results.Rollout, answer)


def conflict(on_conflict: str | None, queue_timeout: float | str | None) -> dict[str, Any]:
    """What a body says of a rollout that is in progress; nothing where None is given."""
    given = {"on_conflict": on_conflict, "queue_timeout": queue_timeout}
    return {key: value for key, value in given.items() if value is not None}


def approve(
    name: str, rollout_id: str | None, comment: str, queue_timeout: float | str | None, if_revision: int | None
) -> Flow[results.Rollout]:
    """Approve what waits for that; None is the one that does. Raises NotFound where none does, or several."""
    chosen = rollout_id or (yield from _to_approve(name)).rollout_id
    body = {**({"comment": comment} if comment else {}), **conflict(None, queue_timeout)}
    path, headers = path_of(name, "rollouts", chosen, "approve"), at_revision(if_revision)
    return decode(results.Rollout, (yield from send(Request("POST", path, json=body or None, headers=headers))))


def _to_approve(name: str) -> Flow[results.Waiting]:
    status = yield from get(results.Status, path_of(name))
    waiting = [each for each in status.queue if each.waiting_for == "approval"]
    if len(waiting) == 1:
        return waiting[0]
    message = f"nothing of {name} waits for an approval"
    if waiting:
        listed = ", ".join(f"{w.rollout_id} ({w.kind} of {w.version} by {w.requested_by})" for w in waiting)
        message = f"{len(waiting)} requests for {name} wait for an approval, so say which: {listed}"
    raise NotFound(404, "NOT_FOUND", message, {"deployment": name})


def delete(
    name: str, keep_files: bool, if_revision: int | None = None, override: str | None = None
) -> Flow[results.Deleted]:
    params = {"keep_files": "true"} if keep_files else {}
    # Stopping instances takes as long as they take to drain.
    request = Request("DELETE", path_of(name), params, headers=at_revision(if_revision, override), timeout=None)
    return decode(results.Deleted, (yield from send(request)))


def pin(name: str, version: str, verb: str, reason: str, if_revision: int | None) -> Flow[results.Release]:
    """pin or unpin a release."""
    path, body = path_of(name, "releases", version, verb), {"reason": reason} if reason else None
    return decode(
        results.Release, (yield from send(Request("POST", path, json=body, headers=at_revision(if_revision))))
    )


def prune(name: str, keep: int | None, if_revision: int | None, override: str | None = None) -> Flow[results.Pruned]:
    body = None if keep is None else {"keep": keep}
    # Removing files takes as long as the disk takes.
    headers = at_revision(if_revision, override)
    request = Request("POST", path_of(name, "prune"), json=body, headers=headers, timeout=None)
    return decode(results.Pruned, (yield from send(request)))


def at(kind: type[T], name: str, what: str, after: str | None) -> Flow[T]:
    """What has a revision, endpoints or instances. after: a revision; answered when it is another, or after a while."""
    params = {} if after is None else {"wait": after}
    timeout = ANSWER_TIMEOUT if after is None else WAIT_TIMEOUT
    return decode(kind, (yield from fetch(Request("GET", path_of(name, what), params, timeout=timeout))))


def since_of(since: Since) -> str | None:
    """As the API reads it. Raises ValueError for a time that does not say of which zone it is."""
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise ValueError(f"since has to be an aware time, or how long ago: {since} says no time zone")
        return since.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return since if since is None or isinstance(since, str) else format_duration(since)


def hooks(name: str, rollout: str | None, tail: int) -> Flow[results.Hooks]:
    """None: of the rollout in progress, or the last."""
    chosen = rollout or (yield from last_rollout(name)).id
    return (yield from get(results.Hooks, path_of(name, "rollouts", chosen, "hooks"), tail=tail))


def last_rollout(name: str) -> Flow[results.Rollout]:
    """The one in progress, or the last. Raises NotFound where there was none."""
    page = yield from get(results.Rollouts, path_of(name, "rollouts"), limit=1)
    if not page.rollouts:
        raise NotFound(404, "NOT_FOUND", f"{name} has no rollouts", {"deployment": name})
    return page.rollouts[0]


def loads(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnexpectedAnswer(f"a message of the manager is no JSON: {text[:80]!r}") from error


def _param(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is not used by Longshore."""
    try:
        return float(header) if header else None
    except ValueError:
        return None
