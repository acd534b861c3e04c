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
