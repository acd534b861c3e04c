"""status: what one wants to see at three in the morning."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from longshore.cli.look import list_
from longshore.cli.output import facts, paint, say, say_json, seconds, stamp, when
from longshore.cli.session import Session, in_session

if TYPE_CHECKING:
    from longshore.client import Longshore
    from longshore.client.results import Health, Rollout, Status

#: events shown; `longshore events` has the rest
EVENTS = 8


@click.command()
@click.argument("name", required=False)
@in_session
def status(session: Session, name: str | None) -> None:
    """Show the state of a deployment, or of all.

    Of one: what serves, how many instances are ready, the rollout in progress or why the last one failed, what the
    probes say where it is not healthy, and the last events.
    """
    if name is None:
        click.get_current_context().invoke(list_)
        return
    with session.client() as client:
        found = client.get(name)
        if session.json:
            say_json(found.raw)
            return
        last, probed = _last_rollout(client, name), _probes_where_unwell(client, found)
    _say_status(found)
    if last is not None:
        _say_rollout(found, last)
    _say_queue(found)
    if probed is not None:
        _say_probes(probed)
    _say_events(found)


def _last_rollout(client: Longshore, name: str) -> Rollout | None:
    from longshore.client import ApiError

    # What is known is shown, even by a manager that lacks this or has had enough questions.
    with contextlib.suppress(ApiError):
        page = client.rollouts(name, limit=1)
        return page.rollouts[0] if page.rollouts else None
    return None


def _probes_where_unwell(client: Longshore, found: Status) -> Health | None:
    from longshore.client import ApiError

    if found.health == "healthy" or found.stopped:
        return None
    with contextlib.suppress(ApiError):
        return client.health(found.name)
    return None


def _say_status(found: Status) -> None:
    replicas = found.replicas
    state = paint("stopped", "yellow") if found.stopped and not found.rollout_id else paint(found.state)
    say(f"{paint(found.name, bold=True)} {found.version}  {state}")
    counts = f"{replicas.ready} of {replicas.desired} ready, {replicas.available} available"
    facts(
        {
            "stopped": f"nothing runs: longshore start {found.name}" if found.stopped else "",
            "locked": _lock_line(found),
            "health": f"{paint(found.health)}  {counts}, {replicas.updated} on the newest release",
            "strategy": found.strategy,
            "before": found.previous_version,
            "port": str(found.port or ""),
            "environment": found.environment,
            "revision": str(found.revision or ""),
            "updated": when(found.last_updated),
            "configuration": "  ".join(f"{key}={value}" for key, value in sorted(found.configuration.items())),
        },
        indent="  ",
    )


def _lock_line(found: Status) -> str:
    lock = found.lock
    if lock is None:
        return ""
    what = f"with {lock.name} " if lock.scope == "environment" else ""
    until = f", until {stamp(lock.expires_at)}" if lock.expires_at is not None else ""
    why = f": {lock.message}" if lock.message else ""
    return f"{what}by {lock.holder}, {when(lock.since)}{until}{why}"


def _say_rollout(found: Status, last: Rollout) -> None:
    step = last.steps[-1] if last.steps else None
    head = f"{last.kind} #{last.number} to {last.version}: {paint(last.status)}"
    say()
    if not last.is_over:
        say(f"{head}  {last.progress_pct} %, by {last.requested_by}, began {when(last.start_time)}")
        at = f"{step.name}: {step.message or step.status}" if step else ""
        verbs = "resume|promote|abort" if last.status == "paused" else "pause|abort"
        facts({"at": at, "then": f"longshore watch {found.name}; longshore {verbs} {found.name}"}, indent="  ")
        return
    say(f"{head}  ended {when(last.end_time)} after {seconds(last.duration)}")
    if last.error is not None:
        facts(
            {
                "step": str(last.error.details.get("operation") or ""),
                "error": f"{last.error.message} [{last.error.code}]",
                "cause": str(last.error.details.get("cause") or "").rstrip(),
                "then": f"longshore logs {found.name}; longshore history {found.name}",
            },
            indent="  ",
        )


def _say_queue(found: Status) -> None:
    if not found.queue:
        return
    say("\nwaits")
    for each in found.queue:
        say(f"  {each.kind} of {each.version}, by {each.requested_by} {when(each.since)}  {each.rollout_id}")
        then = "approve" if each.waiting_for == "approval" else "abort"
        say(f"    {each.message}  `longshore {then} {found.name} {each.rollout_id}`")


def _say_probes(probed: Health) -> None:
    lines = {
        f"{component.name or key}{f' {check.name}' if check else ''}": (check or component).message
        for key, component in probed.components.items()
        for check in (component.checks or (None,))
        if (check or component).status != "healthy"
    }
    if lines:
        say("\nnot healthy")
        facts(lines, indent="  ")


def _say_events(found: Status) -> None:
    if not found.events:
        return
    say("\nevents")
    for event in reversed(found.events[:EVENTS]):
        say(f"  {when(event.timestamp):<12}  {paint(event.type)}  {event.message}")
