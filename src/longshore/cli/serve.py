"""serve: the one command that imports the server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from longshore.cli.output import paint, say
from longshore.cli.session import Session
from longshore.importing import quickly

if TYPE_CHECKING:
    from longshore.settings import Settings


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), metavar="FILE", help="Settings in TOML.")
@click.option("--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where everything is kept.")
@click.option("--listen", metavar="HOST:PORT", help="Address of the API. Port 0 picks one. [default: 127.0.0.1:8300]")
@click.option("--no-auth", is_flag=True, help="Ask for no token: for experiments, on a loopback address only.")
@click.pass_obj
def serve(session: Session, config_file: Path | None, data_dir: Path | None, listen: str | None, no_auth: bool) -> None:
    """Run the manager, until SIGTERM or Ctrl-C. Apps go on running without it.

    Ready when server.json stands in the data directory and /readyz answers 200. Every flag is a setting as well:
    LONGSHORE_LISTEN, or `listen` in FILE. `longshore config` shows what is in force.
    """
    with quickly():
        from longshore.settings import SettingsError, load

    overrides = {"data_dir": data_dir or session.data_dir, "listen": listen, "no_auth": no_auth or None}
    try:
        settings = load(config_file, {key: value for key, value in overrides.items() if value is not None})
    except SettingsError as error:
        say(paint(f"error: {error}", "red"), err=True)
        click.get_current_context().exit(2)
    if os.getpid() == 1:
        from longshore.init import run_as_init

        # Before the server is imported: what stays with PID 1 is small.
        click.get_current_context().exit(run_as_init(lambda: _run(settings)))
    click.get_current_context().exit(_run(settings))


def _run(settings: Settings) -> int:
    with quickly():
        from longshore.app import run
        from longshore.errors import LeaseLost
        from longshore.settings import SettingsError

    try:
        run(settings)
    except SettingsError as error:
        say(paint(f"error: {error}", "red"), err=True)
        return 1
    except LeaseLost as error:
        message = f"{error.message} ({error.cause}). Applications and the router go on with that one."
        say(paint(f"error: {message}", "red"), err=True)
        return 1
    return 0
