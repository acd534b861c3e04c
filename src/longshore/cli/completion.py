"""Completion for shells: commands, options, and the names of the manager's deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from longshore.cli.output import say, say_json
from longshore.cli.session import Session, in_session

#: the variable by which a shell asks for completions, as click derives it from the program's name
VARIABLE = "_LONGSHORE_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
#: names that are offered at most
MOST = 500


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@in_session
def completion(session: Session, shell: str) -> None:
    """Print the script that completes `longshore` in a shell.

    \b
    bash:  echo 'eval "$(longshore completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(longshore completion zsh)"' >> ~/.zshrc
    fish:  longshore completion fish > ~/.config/fish/completions/longshore.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(click.get_current_context().find_root().command, {}, "longshore", VARIABLE).source()
    say_json({"shell": shell, "script": script}) if session.json else say(script)


class DeploymentName(click.ParamType[str]):
    """Any text; completed with the names that the manager knows."""

    name = "text"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from longshore.client import ClientError, Longshore

        try:
            with Longshore(*_connection(ctx), patience=0) as client:
                page = client.list(limit=MOST)
        except (ClientError, OSError):
            return []  # whoever presses Tab is not to be told why the manager cannot be asked
        return [
            CompletionItem(row.name, help=f"{row.version} {row.state}")
            for row in page.deployments
            if row.name.startswith(incomplete)
        ]


def complete_names(commands: Mapping[str, click.Command]) -> None:
    """Let every argument that names a deployment be completed, in groups as well."""
    for command in commands.values():
        if isinstance(command, click.Group):
            complete_names(command.commands)
        for param in command.params:
            if isinstance(param, click.Argument) and param.name == "name":
                param.type = DeploymentName()


def _connection(ctx: click.Context) -> tuple[Any, Any, Any]:
    """--url, --token and --data-dir, of the command or before it."""
    given, before = ctx.params, ctx.find_root().params
    url, token, data_dir = (given.get(key) or before.get(key) for key in ("url", "token", "data_dir"))
    return url, token, data_dir
