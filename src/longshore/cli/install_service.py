"""install-service: the manager as a unit of this machine's systemd."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from longshore.cli.output import paint, say, say_json
from longshore.cli.session import Session, in_session

TAKEN_BACK = "sudo longshore install-service --remove"


@click.command("install-service")
@click.option("--user", metavar="NAME", help="Whom it runs as: `root`, or a user there is. [default: longshore, made]")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings in TOML.")
@click.option("--listen", metavar="HOST:PORT", help="Address of the API. [default: 127.0.0.1:8300]")
@click.option("--dry-run", is_flag=True, help="Show the unit and what would be done, and do nothing.")
@click.option("--remove", "removes", is_flag=True, help="Take it back. Applications go on; data and user stay.")
@in_session
def install_service(
    session: Session, user: str | None, config: Path | None, listen: str | None, dry_run: bool, removes: bool
) -> None:
    """Have systemd run the manager, from now on and after each boot, and wait until it is ready. Takes root.

    The data directory is --data-dir, else that of FILE, else /var/lib/longshore. Run it again to change something: what
    is as it should be stays as it is, and applications go on.
    """
    from longshore.install import InstallError

    done: list[str] = []

    def told(what: str) -> None:
        done.append(what)
        if not session.json:
            say(what)

    try:
        if removes:
            _remove(session, done, told, dry_run)
        else:
            _install(session, user, config, listen, dry_run, done, told)
    except InstallError as error:
        say(paint(f"error: {error}", "red"), err=True)
        click.get_current_context().exit(1)


def _install(
    session: Session,
    user: str | None,
    config: Path | None,
    listen: str | None,
    dry_run: bool,
    done: list[str],
    told: Callable[[str], None],
) -> None:
    from longshore.install import install, look
    from longshore.install.service import UNIT, commands_of

    plan = look(user, session.data_dir, config, listen)
    if dry_run:
        if session.json:
            say_json({"unit": plan.unit, "path": str(UNIT), "would": list(commands_of(plan))})
            return
        say(plan.unit)
        for line in commands_of(plan):
            say(f"would {line}")
        return
    url = install(plan, told)
    if session.json:
        say_json({"url": url, "user": plan.user, "data_dir": str(plan.data_dir), "done": done})
        return
    if not done:
        say("everything was as it should be")
    say(f"the manager at {url} is ready; it runs as {plan.user}, with its data in {plan.data_dir}")
    say("look at it: systemctl status longshore, journalctl --unit longshore")
    say(f"take it back: {TAKEN_BACK}")


def _remove(session: Session, done: list[str], told: Callable[[str], None], dry_run: bool) -> None:
    from longshore.install import remove
    from longshore.install.service import UNIT

    if dry_run:
        would = [f"systemctl disable --now longshore, remove {UNIT}"] if UNIT.exists() else []
        say_json({"would": would}) if session.json else say(f"would {would[0]}" if would else "nothing to remove")
        return
    there = remove(told)
    if session.json:
        say_json({"done": done})
    elif there:
        say("its data and its user stay: remove them yourself when no application is needed any more")
    else:
        say("nothing to remove")
