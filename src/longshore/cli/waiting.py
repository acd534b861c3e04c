"""Ctrl-C while a rollout is waited for ends the waiting, not the rollout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import click

from longshore.cli.output import say


@contextlib.contextmanager
def rollout_goes_on(name: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(
            f"stopped waiting; a rollout that began goes on in the manager: "
            f"`longshore watch {name}` to see it, `longshore abort {name}` to have it undone",
            err=True,
        )
        click.get_current_context().exit(1)
