"""What can be followed: events, logs, the output of hooks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from longshore.cli.output import clock, paint, say, say_json, when
from longshore.cli.session import Session, in_session

if TYPE_CHECKING:
    from longshore.client.results import Event, HookLine, LogLine, LogProblem

#: events, lines and hook lines shown before what follows
FEW = 10

_COLOURS = {"warning": "yellow", "error": "red"}


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with each new one, until Ctrl-C; without NAME of all.")
@click.option("--limit", type=click.IntRange(1, 500), help="How many at most. [default: 50; 10 with --follow]")
@click.option("--before", type=int, metavar="ID", help="Only those older than that event.")
@in_session
def events(session: Session, name: str | None, follow: bool, limit: int | None, before: int | None) -> None:
    """List what happened to a deployment, newest last, or follow what happens.

    A lost connection or a restart of the manager loses none. With --json and --follow each event is a line.
    """
    if follow and before is not None:
        raise click.UsageError("--before lists what is older, --follow shows what is new: give one of them")
    if name is None and not follow:
        raise click.UsageError("say of which deployment: longshore events NAME; all can be followed: events -f")
    if not follow:
        assert name is not None
        _list_events(session, name, limit or 50, before)
        return
    with session.client() as client, _until_interrupted():
        last = None
        if name is not None:
            page = client.events(name, limit=limit or FEW)
            for event in reversed(page.events):
                _say_event(event, session.json, of=None)
            last = page.events[0].id if page.events else 0
        for event in client.follow_events(name, after=last):
            _say_event(event, session.json, of=event.deployment if name is None else None)


def _list_events(session: Session, name: str, limit: int, before: int | None) -> None:
    with session.client() as client:
        page = client.events(name, limit=limit, before=before)
    if session.json:
        say_json(page.raw)
        return
    for event in reversed(page.events):
        _say_event(event, False, of=None)
    if len(page.events) == limit and page.events[-1].id is not None:
        say(f"--before {page.events[-1].id} shows older ones")


def _say_event(event: Event, as_json: bool, *, of: str | None) -> None:
    if as_json:
        click.echo(json.dumps(event.raw, ensure_ascii=False))
        return
    whose = f"{paint(of, 'cyan')}  " if of else ""
    kind = paint(event.type.ljust(7), _COLOURS.get(event.type))
    say(f"{when(event.timestamp):<12}  {whose}{kind}  {event.source}: {event.message}")


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with each new line, until Ctrl-C.")
@click.option(
    "-n",
    "--tail",
    type=click.IntRange(0, 10_000),
    help="Lines of each instance. [default: 100; 10 with --follow; all with --since]",
)
@click.option("--since", metavar="WHEN", help="What was written since: 10m, or 2026-01-31T09:15:00Z.")
@click.option("--instance", metavar="ID", help="Only that instance; it may be gone.")
@click.option("-t", "--times", is_flag=True, help="With the time of each line; ~ where it is known to no two seconds.")
@in_session
def logs(
    session: Session, name: str, follow: bool, tail: int | None, since: str | None, instance: str | None, times: bool
) -> None:
    """Show what the instances of a deployment wrote, in the order in which they did.

    With --since also of instances that are gone by now. With --json and --follow each line is a document.
    """
    with session.client() as client, _until_interrupted():
        if follow:
            for line in client.follow_logs(name, instance=instance, tail=tail, since=since, on_problem=_say_problem):
                _say_line(line, session.json, times)
            return
        answer = client.logs(name, instance=instance, tail=tail, since=since)
    if session.json:
        say_json(answer.raw)
        return
    for line in answer.lines:
        _say_line(line, False, times)
    for problem in answer.problems:
        _say_problem(problem)


def _say_problem(problem: LogProblem) -> None:
    say(f"{problem.instance}: {problem.message}", err=True)


def _say_line(line: LogLine, as_json: bool, times: bool) -> None:
    if as_json:
        click.echo(json.dumps(line.raw, ensure_ascii=False))
        return
    # One colour for each instance, the same in every call: what it is does not matter, telling them apart does.
    colour = ("cyan", "magenta", "blue", "green", "yellow")[sum(line.instance.encode()) % 5]
    said = f"{_time_of(line)}  " if times else ""
    say(f"{said}{paint(line.instance, colour)}  {line.line}")


def _time_of(line: LogLine) -> str:
    if line.time is None:
        return "-".ljust(25)
    exact = line.earliest is not None and (line.time - line.earliest).total_seconds() <= 2
    return f"{' ' if exact else '~'}{clock(line.time)}"


@click.command()
@click.argument("name")
@click.argument("rollout", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with each new line, until the rollout is over.")
@click.option("-n", "--tail", type=click.IntRange(0, 10_000), default=1000, show_default=True, help="Lines at most.")
@in_session
def hooks(session: Session, name: str, rollout: str | None, follow: bool, tail: int) -> None:
    """Show what the hooks of a rollout printed, while they run or afterwards.

    Of the rollout in progress, else of the last one, where none is named.
    """
    with session.client() as client, _until_interrupted():
        if follow:
            chosen = rollout or client.rollouts(name, limit=1).rollouts
            if not chosen:
                raise click.UsageError(f"{name} has no rollouts yet")
            id = chosen if isinstance(chosen, str) else chosen[0].id
            for line in client.follow_hooks(name, id, tail=tail):
                _say_hook(line, session.json)
            return
        answer = client.hooks(name, rollout, tail=tail)
    if session.json:
        say_json(answer.raw)
        return
    for line in answer.lines:
        _say_hook(line, False)
    if not answer.lines:
        say("its hooks printed nothing, or it had none")


def _say_hook(line: HookLine, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(line.raw, ensure_ascii=False))
        return
    say(f"{paint(line.phase, 'magenta' if line.phase == 'post_deploy' else 'cyan')}  {line.line}")


@contextlib.contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C is how following ends, and no failure."""
    with contextlib.suppress(KeyboardInterrupt):
        yield
