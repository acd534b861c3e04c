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
            f"stopped waiting; what began, or waits for its turn, goes on in the manager: `longshore status {name}` "
            f"shows it, `longshore watch {name}` follows it, `longshore abort {name} ID` has it undone or cancelled",
            err=True,
        )
        click.get_current_context().exit(1)
