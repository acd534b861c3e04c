"""Changing what runs without a new version: restart, scale, delete."""

from __future__ import annotations

import sys
from typing import Any

import click

from longshore.cli.deploy import say_outcome
from longshore.cli.output import say_json
from longshore.cli.progress import outcome_line, shown_progress
from longshore.cli.session import Session, in_session
from longshore.cli.terms import change_options, conflict_options, override_option
from longshore.cli.waiting import rollout_goes_on


@click.command()
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Return as soon as it began.")
@change_options
@conflict_options
@override_option
@in_session
def restart(session: Session, name: str, no_wait: bool, if_revision: int | None, **terms: Any) -> None:
    """Replace every instance by a new one of the same release, a few at a time."""
    with (
        session.client() as client,
        rollout_goes_on(name),
        shown_progress(session, name, f"{name}: restart", silent=session.json or no_wait) as on_progress,
    ):
        rollout = client.restart(name, wait=not no_wait, on_progress=on_progress, if_revision=if_revision, **terms)
    if session.json:
        say_json(rollout.raw)
    else:
        say_outcome(rollout, name)


# -1 is a number here, which is out of range, and no option.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("replicas", type=click.IntRange(1))
@click.option("--no-wait", is_flag=True, help="Return as soon as it began.")
@change_options
@conflict_options
@override_option
@in_session
def scale(session: Session, name: str, replicas: int, no_wait: bool, if_revision: int | None, **terms: Any) -> None:
    """Run so many instances of what serves."""
    with (
        session.client() as client,
        rollout_goes_on(name),
        shown_progress(session, name, f"{name}: {replicas} instances", silent=session.json or no_wait) as on_progress,
    ):
        rollout = client.scale(
            name, replicas, wait=not no_wait, on_progress=on_progress, if_revision=if_revision, **terms
        )
    if session.json:
        say_json(rollout.raw)
    else:
        say_outcome(rollout, name)


@click.command()
@click.argument("name")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--keep-files", is_flag=True, help="Leave the working directory as it is.")
@change_options
@override_option
@in_session
def delete(
    session: Session, name: str, yes: bool, keep_files: bool, if_revision: int | None, override: str | None
) -> None:
    """Stop a deployment and forget it, with its releases and history."""
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask on: give --yes to delete without being asked")
        click.confirm(f"Stop {name} and remove its releases and history?", abort=True)
    with session.client() as client:
        answer = client.delete(name, keep_files=keep_files, if_revision=if_revision, override=override)
    if session.json:
        say_json(answer.raw)
    else:
        outcome_line(True, answer.message or f"{name} is deleted")
