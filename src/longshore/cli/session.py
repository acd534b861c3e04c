"""What every command shares: which manager it speaks to, and how it answers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from longshore.client import Longshore

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Session:
    """None: found as longshore.client.discovery says. json: answer in JSON, for programs."""

    url: str | None = None
    token: str | None = None
    data_dir: Path | None = None
    json: bool = False

    def client(self) -> Longshore:
        """A connection to the manager, to be closed by a `with`. Importing it is what makes a command slow."""
        from longshore.client import Longshore

        return Longshore(self.url, self.token, self.data_dir)


def connection_options(command: Callable[P, R]) -> Callable[P, R]:
    """--url, --token and --data-dir."""
    for option in (
        click.option("--data-dir", type=click.Path(path_type=Path), metavar="DIR", help="Data directory to look in."),
        click.option("--token", metavar="TOKEN", help="Bearer token (else LONGSHORE_TOKEN, else admin.token there)."),
        click.option("--url", metavar="URL", help="The manager (else LONGSHORE_URL, else server.json there)."),
    ):
        command = option(command)
    return command


def in_session(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options above and --json; it gets a Session as its first argument.

    The options may stand before the command's name as well; what stands after it wins.
    """

    @click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
    @connection_options
    @click.pass_context
    @functools.wraps(command)
    def with_session(
        ctx: click.Context,
        /,
        *args: Any,
        url: str | None,
        token: str | None,
        data_dir: Path | None,
        as_json: bool,
        **kwargs: Any,
    ) -> R:
        outer = ctx.obj if isinstance(ctx.obj, Session) else Session()
        session = Session(
            url=url or outer.url,
            token=token or outer.token,
            data_dir=data_dir or outer.data_dir,
            json=as_json or outer.json,
        )
        # For commands of a group, and for the reporting of errors, which happens outside of the command.
        ctx.obj = ctx.find_root().obj = session
        return command(session, *args, **kwargs)

    return with_session
