"""webhooks: who is told of rollouts, what did not arrive, and to have it sent again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from longshore.cli.output import paint, say, say_json, table, when
from longshore.cli.progress import outcome_line
from longshore.cli.session import Session, in_session

if TYPE_CHECKING:
    from longshore.client import Longshore
    from longshore.client.webhooks import Delivery

#: seconds that `test` waits for the answer: the manager's own bound on an attempt, and what may be sent before it
ANSWER_S = 30.0
#: deliveries asked for at a time where all are wanted
PAGE = 200


@click.group(invoke_without_command=True)
@in_session
def webhooks(session: Session) -> None:
    """List the webhooks; with a command, look at what they were told.

    \b
    longshore webhooks
    longshore webhooks deliveries chat --state dead
    longshore webhooks redeliver chat --dead
    longshore webhooks test chat
    """
    ctx = click.get_current_context()
    ctx.obj = session  # what stands before the command below counts for it
    if ctx.invoked_subcommand is not None:
        return
    with session.client() as client:
        answer = client.webhooks()
    if session.json:
        say_json(answer.raw)
        return
    if not answer.webhooks:
        say("there are no webhooks: the configuration of the manager has them, as [[webhooks]]")
        return
    rows = [
        [
            hook.name,
            hook.host,
            hook.format,
            "signed" if hook.signed else "",
            str(hook.pending),
            paint(str(hook.dead), "red") if hook.dead else "0",
            ", ".join(hook.environments) or "all",
            ", ".join(event.removeprefix("rollout.") for event in hook.events),
        ]
        for hook in answer.webhooks
    ]
    table(["name", "host", "format", "", "pending", "dead", "environments", "events"], rows)


@webhooks.command()
@click.argument("name")
@click.option("--state", type=click.Choice(["pending", "delivered", "dead"]), help="Only those in that state.")
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0, help="Where the page begins.")
@in_session
def deliveries(session: Session, name: str, state: str | None, limit: int, offset: int) -> None:
    """List what a webhook was or is to be told, newest first."""
    with session.client() as client:
        page = client.deliveries(name, state=state, limit=limit, offset=offset)
    if session.json:
        say_json(page.raw)
        return
    if not page.deliveries:
        say(f"{name} has no {f'{state} ' if state else ''}deliveries")
        return
    rows = [
        [
            delivery.id,
            delivery.event,
            delivery.deployment,
            paint(delivery.state),
            str(delivery.attempts),
            when(delivery.created_at),
            when(delivery.next_at),
            delivery.answer,
        ]
        for delivery in page.deliveries
    ]
    table(["id", "event", "deployment", "state", "attempts", "written", "next", "answer"], rows)
    if page.total > offset + len(page.deliveries):
        say(f"{page.total} in all: --offset {offset + len(page.deliveries)} shows more")


@webhooks.command()
@click.argument("name")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--dead", is_flag=True, help="All that were given up, oldest first.")
@in_session
def redeliver(session: Session, name: str, ids: tuple[str, ...], dead: bool) -> None:
    """Send messages once more: those with these ids, or all that were given up."""
    if bool(ids) is dead:
        raise click.UsageError("give the id of a delivery, or --dead for all that were given up")
    with session.client() as client:
        again = [client.redeliver(name, id) for id in ids or _all_dead(client, name)]
    if session.json:
        say_json({"deliveries": [delivery.raw for delivery in again]})
    elif again:
        count = "1 message" if len(again) == 1 else f"{len(again)} messages"
        outcome_line(True, f"{count} on the way to {name}: `longshore webhooks deliveries {name}` says how it goes")
    else:
        say(f"{name} has no dead deliveries")


@webhooks.command("test")
@click.argument("name")
@in_session
def test_(session: Session, name: str) -> None:
    """Send an example to a webhook, and say what it answers. Exit status 1 unless it takes it."""
    with session.client() as client:
        delivery = _ended(client, client.test_webhook(name))
    if session.json:
        say_json(delivery.raw)
    elif delivery.state == "pending":
        outcome_line(False, f"{name} has not answered within {ANSWER_S:g} s")
    else:
        outcome_line(delivery.state == "delivered", f"{name}: {delivery.answer}")
    if delivery.state != "delivered":
        click.get_current_context().exit(1)


def _ended(client: Longshore, delivery: Delivery) -> Delivery:
    """Once it is over, or as it stands after ANSWER_S."""
    deadline = time.monotonic() + ANSWER_S
    while delivery.state == "pending" and time.monotonic() < deadline:
        time.sleep(0.1)
        delivery = client.delivery(delivery.webhook, delivery.id)
    return delivery


def _all_dead(client: Longshore, name: str) -> list[str]:
    """Oldest first."""
    ids: list[str] = []
    while page := client.deliveries(name, state="dead", limit=PAGE, offset=len(ids)).deliveries:
        ids += [delivery.id for delivery in page]
    return ids[::-1]
