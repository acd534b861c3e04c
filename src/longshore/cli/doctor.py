"""doctor: is this machine, and the manager on it, in order? And the hosts of an environment?"""

from __future__ import annotations

from collections.abc import Sequence

import click

from longshore.cli.output import paint, say, say_json
from longshore.cli.session import Session, in_session

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@click.option("--environment", metavar="NAME", help="Look at the hosts of this environment, as the manager sees them.")
@in_session
def doctor(session: Session, environment: str | None) -> None:
    """Check this machine and its manager. Each line is ok, warn or fail, with the remedy. Exit status 1 on a fail.

    With --environment the manager checks each host of one: whether it gets there, what is missing, and how to mend it.
    """
    failed = _hosts(session, environment) if environment is not None else _here(session)
    if failed:
        click.get_current_context().exit(1)


def _here(session: Session) -> bool:
    from longshore.cli.checks import CHECKS

    found = [(name, finding) for name, check in CHECKS.items() for finding in check(session)]
    if session.json:
        say_json([{"check": n, "level": f.level, "text": f.text, "remedy": f.remedy} for n, f in found])
    else:
        for name, finding in found:
            _show(finding.level, [f"{name:<10}"], finding.text, finding.remedy)
    return any(finding.level == "fail" for _, finding in found)


def _hosts(session: Session, environment: str) -> bool:
    with session.client() as client:
        diagnosis = client.doctor(environment)
    if session.json:
        say_json(diagnosis.raw)
    else:
        width = max((len(finding.host) for finding in diagnosis.findings), default=0)
        for finding in diagnosis.findings:
            place = [finding.host.ljust(width)] if width else []
            _show(finding.level, [*place, f"{finding.check:<8}"], finding.text, finding.remedy)
    return any(finding.level == "fail" for finding in diagnosis.findings)


def _show(level: str, columns: Sequence[str], text: str, remedy: str) -> None:
    before = "  ".join(columns)
    say(f"{paint(level.ljust(4), COLOURS[level])}  {before}  {text}")
    for line in remedy.splitlines():
        say(f"{'':<{len(before) + 8}}{line}")
