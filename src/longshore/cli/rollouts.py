"""What is done with rollouts: rollback, watch, history, pause, resume, promote, abort, approve."""

from __future__ import annotations

import click

from longshore.cli.output import on_terminal, say, say_json, seconds, table, when
from longshore.cli.progress import outcome_line, show_line, shown_progress
from longshore.cli.session import Session, in_session
from longshore.cli.terms import change_options
from longshore.cli.waiting import rollout_goes_on

#: what is said of a control: it is carried out between two steps, so the answer has the status of before
_CARRIED_OUT = {"pause": "pauses before its next step", "resume": "goes on", "promote": "is promoted"}

_rollout_argument = click.argument("rollout", required=False)


@click.command()
@click.argument("name")
@click.argument("version", required=False)
@click.option("--timeout", type=float, metavar="SECONDS", help="Stop waiting after so long; the rollback goes on.")
@change_options
@in_session
def rollback(session: Session, name: str, version: str | None, timeout: float | None, if_revision: int | None) -> None:
    """Go back to VERSION, or to the one before that was healthy.

    A rollout in progress is aborted first. `longshore releases NAME` shows what can be gone back to.
    """
    title = f"{name} back to {version or 'the version before'}"
    with (
        session.client() as client,
        rollout_goes_on(name),
        shown_progress(session, name, title, silent=session.json) as on_progress,
    ):
        result = client.rollback(name, version, on_progress=on_progress, timeout=timeout, if_revision=if_revision)
    if session.json:
        say_json(result.raw)
    else:
        outcome_line(True, f"{name} {result.version} serves again")


@click.command()
@click.argument("name")
@click.option("--rollout", metavar="ID", help="That one, instead of the one in progress, the last or the next.")
@click.option("--after", type=int, default=0, metavar="SEQ", help="Only what follows that message of it.")
@in_session
def watch(session: Session, name: str, rollout: str | None, after: int) -> None:
    """Follow a rollout to its end. Exit status 1 if it failed.

    Waits up to a minute for a deployment's first rollout. With --json each message is a line.
    """
    good = False
    with session.client() as client, shown_progress(session, name, name, silent=session.json) as on_progress:
        for message in client.watch(name, rollout, after):
            if session.json:
                import json

                click.echo(json.dumps(message.raw, ensure_ascii=False))
            else:
                (on_progress or show_line)(message)
            if message.last:
                good = message.status == "success"
                text = message.message or f"{name}: {message.status}"
    if good or session.json:
        # Elsewhere the last message has been printed as it came.
        if not session.json and on_terminal():
            outcome_line(True, text)
        click.get_current_context().exit(0 if good else 1)
    say(f"the rollout of {name} failed: `longshore history {name}` says why", err=True)
    click.get_current_context().exit(1)


@click.command()
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0)
@in_session
def history(session: Session, name: str, limit: int, offset: int) -> None:
    """List the rollouts of a deployment, newest first, with why each failed."""
    with session.client() as client:
        page = client.rollouts(name, limit=limit, offset=offset)
    if session.json:
        say_json(page.raw)
        return
    rows = [
        [
            str(rollout.number),
            rollout.status,
            rollout.kind,
            f"{rollout.previous_version or '-'} → {rollout.version}",
            rollout.strategy,
            when(rollout.start_time),
            seconds(rollout.duration),
            rollout.requested_by,
            rollout.id,
        ]
        for rollout in page.rollouts
    ]
    table(["#", "status", "kind", "version", "strategy", "started", "took", "by", "id"], rows)
    for rollout in page.rollouts:
        if rollout.error is not None:
            step = rollout.error.details.get("operation")
            say(f"#{rollout.number}: {f'{step}: ' if step else ''}{rollout.error.message} [{rollout.error.code}]")
    if page.total > offset + len(page.rollouts):
        say(f"{page.total} in all: --offset {offset + len(page.rollouts)} shows older ones")


@click.command()
@click.argument("name")
@_rollout_argument
@change_options
@in_session
def pause(session: Session, name: str, rollout: str | None, if_revision: int | None) -> None:
    """Hold a rollout before its next step."""
    _control(session, "pause", name, rollout, if_revision)


@click.command()
@click.argument("name")
@_rollout_argument
@change_options
@in_session
def resume(session: Session, name: str, rollout: str | None, if_revision: int | None) -> None:
    """Let a paused rollout go on."""
    _control(session, "resume", name, rollout, if_revision)


@click.command()
@click.argument("name")
@_rollout_argument
@change_options
@in_session
def promote(session: Session, name: str, rollout: str | None, if_revision: int | None) -> None:
    """Take a canary to its end without its remaining pauses."""
    _control(session, "promote", name, rollout, if_revision)


@click.command()
@click.argument("name")
@_rollout_argument
@click.option("--reason", default="", help="Kept in the history.")
@click.option("--no-wait", is_flag=True, help="Return as soon as the undoing began.")
@change_options
@in_session
def abort(
    session: Session, name: str, rollout: str | None, reason: str, no_wait: bool, if_revision: int | None
) -> None:
    """Have a rollout undone, and wait until it is."""
    with session.client() as client, rollout_goes_on(name):
        begun = client.abort(name, rollout, reason=reason, if_revision=if_revision)
        if not no_wait and not begun.is_over:
            with shown_progress(session, name, f"{name}: undoing", silent=session.json) as on_progress:
                begun = client.wait(name, begun.id, on_progress=on_progress)
    if session.json:
        say_json(begun.raw)
        return
    ends = {
        "cancelled": (True, f"the {begun.kind} of {name} {begun.version} will not begin"),
        "unwound": (True, f"rollout {begun.id} of {name} was undone: what served before serves on"),
        "succeeded": (False, f"rollout {begun.id} of {name} was past its commit: {begun.version} serves"),
        "committed": (False, f"rollout {begun.id} of {name} is past its commit: {begun.version} serves"),
    }
    good, text = ends.get(begun.status, (begun.status == "unwinding", f"rollout {begun.id} of {name}: {begun.status}"))
    outcome_line(good or no_wait, text)
    if not good and not no_wait:
        click.get_current_context().exit(1)


@click.command()
@click.argument("name")
@_rollout_argument
@click.option("--comment", default="", help="Kept in the history.")
@click.option("--queue-timeout", metavar="TIME", help="How long it may then wait for its turn. [1h]")
@change_options
@in_session
def approve(
    session: Session,
    name: str,
    rollout: str | None,
    comment: str,
    queue_timeout: str | None,
    if_revision: int | None,
) -> None:
    """Let begin what somebody else asked for. ROLLOUT may be left out where one alone waits for an approval."""
    with session.client() as client:
        answer = client.approve(name, rollout, comment=comment, queue_timeout=queue_timeout, if_revision=if_revision)
    if session.json:
        say_json(answer.raw)
    else:
        text = f"the {answer.kind} of {name} {answer.version} of {answer.requested_by} is approved"
        outcome_line(True, f"{text}: `longshore watch {name} --rollout {answer.id}`")


def _control(session: Session, verb: str, name: str, rollout: str | None, if_revision: int | None) -> None:
    with session.client() as client:
        verbs = {"pause": client.pause, "resume": client.resume, "promote": client.promote}
        answer = verbs[verb](name, rollout, if_revision=if_revision)
    if session.json:
        say_json(answer.raw)
    else:
        outcome_line(True, f"{_CARRIED_OUT[verb]}: rollout {answer.id} of {name} to {answer.version}")
        say(f"`longshore watch {name}` follows it" if verb != "pause" else f"`longshore resume {name}` lets it go on")
