"""Locks: lock, unlock, locks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from longshore.cli.output import say, say_json, stamp, table, when
from longshore.cli.progress import outcome_line
from longshore.cli.session import Session, in_session
from longshore.cli.terms import change_options

if TYPE_CHECKING:
    from longshore.client.results import Lock

F = TypeVar("F", bound=Callable[..., Any])


def _target(command: F) -> F:
    """NAME, or --environment."""
    command = click.option("--environment", metavar="E", help="All its deployments, in the place of NAME.")(command)
    return click.argument("name", required=False)(command)


@click.command()
@_target
@click.option("-m", "--message", default="", help="Why, for those it stops.")
@click.option("--for", "lasts", metavar="DURATION", help="Such as 2h. [until it is unlocked]")
@change_options
@in_session
def lock(
    session: Session,
    name: str | None,
    environment: str | None,
    message: str,
    lasts: str | None,
    if_revision: int | None,
) -> None:
    """Have every change of a deployment, or of an environment, refused but for rollbacks and overrides."""
    _expect_one(name, environment)
    with session.client() as client:
        made = client.lock(name, environment=environment, message=message, expires_in=lasts, if_revision=if_revision)
    if session.json:
        say_json(made.raw)
    else:
        until = "it is unlocked" if made.expires_at is None else stamp(made.expires_at)
        outcome_line(True, f"{_called(made)} is locked until {until}: `longshore unlock {_again(made)}`")


@click.command()
@_target
@click.option("--force", is_flag=True, help="Also where somebody else has locked it; takes an admin's token.")
@change_options
@in_session
def unlock(session: Session, name: str | None, environment: str | None, force: bool, if_revision: int | None) -> None:
    """Let a deployment, or an environment, be changed again; what waited for that begins."""
    _expect_one(name, environment)
    with session.client() as client:
        gone = client.unlock(name, environment=environment, force=force, if_revision=if_revision)
    if session.json:
        say_json(gone.raw)
    else:
        outcome_line(True, f"{_called(gone)} is unlocked")


@click.command()
@in_session
def locks(session: Session) -> None:
    """List what is locked, by whom and why."""
    with session.client() as client:
        found = client.locks()
    if session.json:
        say_json(found.raw)
        return
    if not found.locks:
        say("nothing is locked")
        return
    rows = [
        [
            each.scope,
            each.name,
            each.holder,
            when(each.since),
            stamp(each.expires_at) if each.expires_at is not None else "-",
            each.message,
        ]
        for each in found.locks
    ]
    table(["scope", "name", "by", "since", "until", "why"], rows)


def _expect_one(name: str | None, environment: str | None) -> None:
    if (name is None) == (environment is None):
        raise click.UsageError("give the NAME of a deployment, or --environment")


def _called(lock: Lock) -> str:
    return lock.name if lock.scope == "deployment" else f"the environment {lock.name}"


def _again(lock: Lock) -> str:
    return lock.name if lock.scope == "deployment" else f"--environment {lock.name}"
