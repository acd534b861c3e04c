"""The `longshore` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from longshore import __version__
from longshore.cli.completion import complete_names, completion
from longshore.cli.controls import configure, pin, prune, start, stop, unpin
from longshore.cli.copies import backup, restore
from longshore.cli.deploy import deploy, plan, validate
from longshore.cli.doctor import doctor
from longshore.cli.failures import report
from longshore.cli.follow import events, hooks, logs
from longshore.cli.install_service import install_service
from longshore.cli.local import config
from longshore.cli.locks import lock, locks, unlock
from longshore.cli.look import endpoints, health, list_, releases
from longshore.cli.operate import delete, restart, scale
from longshore.cli.output import wants_colour
from longshore.cli.rollouts import abort, approve, history, pause, promote, resume, rollback, watch
from longshore.cli.serve import serve
from longshore.cli.session import Session, connection_options
from longshore.cli.status import status
from longshore.cli.tokens import token
from longshore.cli.webhooks import webhooks

# To add a command: a function in the file of its kind (imports of the client, rich and the server inside of it, so
# that `--help` stays fast); a line here; a section in docs/guide/cli.md. tests/unit/cli then cover its --help, its
# --json and that its section exists. The order is that of the help: the way of a deployment.
COMMANDS: dict[str, click.Command] = {
    "serve": serve,
    "install-service": install_service,
    "validate": validate,
    "plan": plan,
    "deploy": deploy,
    "watch": watch,
    "pause": pause,
    "resume": resume,
    "promote": promote,
    "abort": abort,
    "approve": approve,
    "rollback": rollback,
    "restart": restart,
    "scale": scale,
    "configure": configure,
    "stop": stop,
    "start": start,
    "delete": delete,
    "list": list_,
    "status": status,
    "health": health,
    "endpoints": endpoints,
    "history": history,
    "releases": releases,
    "pin": pin,
    "unpin": unpin,
    "prune": prune,
    "events": events,
    "logs": logs,
    "hooks": hooks,
    "lock": lock,
    "unlock": unlock,
    "locks": locks,
    "webhooks": webhooks,
    "token": token,
    "config": config,
    "backup": backup,
    "restore": restore,
    "doctor": doctor,
    "completion": completion,
}
complete_names(COMMANDS)


class Commands(click.Group):
    """Keeps the order of COMMANDS, and turns what the client raises into one line and exit status 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            # Only a command that used the client has imported it; nothing else raises its errors.
            errors = sys.modules.get("longshore.client.errors")
            if errors is None or not isinstance(error, errors.ClientError):
                raise
            report(error, as_json=isinstance(ctx.obj, Session) and ctx.obj.json)
            ctx.exit(1)


@click.group(cls=Commands, commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="longshore")
@connection_options
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")
@click.pass_context
def cli(ctx: click.Context, url: str | None, token: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Deploy applications without losing a request, and see how they are.

    Exit status: 0 done, 1 failed, 2 usage.
    """
    ctx.color = wants_colour()
    ctx.obj = Session(url, token, data_dir, as_json)
