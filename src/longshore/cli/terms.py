"""Options of every command that changes a deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def change_options(command: F) -> F:
    """--if-revision; it is handed on to the client's method as `if_revision`."""
    option = click.option(
        "--if-revision",
        type=click.IntRange(0),
        metavar="N",
        help="Only while `status` shows this revision; else nothing is changed.",
    )
    return option(command)


def override_option(command: F) -> F:
    """--override, for what a lock or a freeze window can refuse; it is handed on as `override`."""
    option = click.option(
        "--override",
        metavar="REASON",
        callback=_reason,
        help="Pass a lock or a freeze window; the reason is written down for all to see.",
    )
    return option(command)


def _reason(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not (value.strip() and value.isprintable()):
        raise click.BadParameter("say why, on one line")
    return value


def conflict_options(command: F) -> F:
    """--on-conflict, --queue-timeout; handed on as the client's arguments of these names."""
    for option in (
        click.option("--queue-timeout", metavar="TIME", help="How long it may wait for its turn. [1h]"),
        click.option(
            "--on-conflict",
            type=click.Choice(["reject", "queue", "supersede"]),
            help="While another rollout is in progress: fail, wait for it, or end it. [reject]",
        ),
    ):
        command = option(command)
    return command
