"""Tokens: the one of this machine's manager, and those that are made for others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from longshore.cli.output import paint, say, say_json, stamp, table, when
from longshore.cli.progress import outcome_line
from longshore.cli.session import Session, in_session

if TYPE_CHECKING:
    from longshore.client.results import Token


@click.group(invoke_without_command=True)
@click.option("--path", "as_path", is_flag=True, help="Print where it is kept, not what it is.")
@in_session
def token(session: Session, as_path: bool) -> None:
    """Print the token of this machine's manager; or make, list and revoke others.

    \b
    curl -H "Authorization: Bearer $(longshore token)" http://127.0.0.1:8300/api/v1/deployments
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    from longshore.client.discovery import default_data_dir, read_token

    path = (session.data_dir or default_data_dir()).absolute() / "admin.token"
    if as_path:
        say_json({"path": str(path)}) if session.json else say(str(path))
        return
    value = session.token or os.environ.get("LONGSHORE_TOKEN") or read_token(path.parent)
    if value is None:
        why = "may not be read by this user" if path.exists() else "does not exist: `longshore serve` makes it"
        say(paint(f"error: {path} {why}", "red"), err=True)
        click.get_current_context().exit(1)
    say_json({"token": value, "path": str(path)}) if session.json else say(value)


@token.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["read", "deploy", "admin"]), required=True, help="What it may do.")
@click.option("--environment", "environments", multiple=True, metavar="E", help="That it may change. Repeatable. [all]")
@click.option("--expires", metavar="DURATION", help="Such as 720h. [when it is revoked]")
@in_session
def create(session: Session, name: str, role: str, environments: tuple[str, ...], expires: str | None) -> None:
    """Make a token for somebody, or for a program, and print it: this once, and nowhere else."""
    with session.client() as client:
        made = client.create_token(name, role, environments=environments or None, expires_in=expires)
    if session.json:
        say_json(made.raw)
        return
    say(made.token)
    say(f"{name} may {_may(made)}, {_until(made)}. This is the only time it is shown.", err=True)


@token.command("list")
@in_session
def list_(session: Session) -> None:
    """List every token that was made, by name; never what it is."""
    with session.client() as client:
        found = client.tokens()
    if session.json:
        say_json(found.raw)
        return
    rows = [
        [
            each.name,
            each.role,
            "all" if each.environments is None else ", ".join(each.environments),
            f"revoked {when(each.revoked_at)}" if each.revoked_at is not None else _until(each),
            when(each.last_used_at) if each.last_used_at is not None else "never",
            f"{when(each.created_at)} by {each.created_by}",
        ]
        for each in found.tokens
    ]
    table(["name", "role", "environments", "valid", "used", "made"], rows)


@token.command()
@click.argument("name")
@in_session
def revoke(session: Session, name: str) -> None:
    """Let a token open nothing any more, from now on."""
    with session.client() as client:
        revoked = client.revoke_token(name)
    if session.json:
        say_json(revoked.raw)
    else:
        outcome_line(True, f"{revoked.name} is revoked: it opens nothing any more")


def _may(made: Token) -> str:
    where = "" if made.environments is None else f" in {', '.join(made.environments)}"
    return {"read": "look at everything", "deploy": f"change deployments{where}"}.get(made.role, "do everything")


def _until(made: Token) -> str:
    return "until it is revoked" if made.expires_at is None else f"until {stamp(made.expires_at)}"
