"""doctor: is this machine, and the manager on it, in order?"""

from __future__ import annotations

import click

from longshore.cli.output import paint, say, say_json
from longshore.cli.session import Session, in_session


@click.command()
@in_session
def doctor(session: Session) -> None:
    """Check this machine and its manager. Each line is ok, warn or fail, with the remedy. Exit status 1 on a fail."""
    from longshore.cli.checks import CHECKS

    found = [(name, finding) for name, check in CHECKS.items() for finding in check(session)]
    if session.json:
        say_json([{"check": n, "level": f.level, "text": f.text, "remedy": f.remedy} for n, f in found])
    else:
        for name, finding in found:
            say(f"{paint(finding.level.ljust(4), {'ok': 'green', 'warn': 'yellow', 'fail': 'red'}[finding.level])}"
                f"  {name:<10}  {finding.text}")  # fmt: skip
            for line in finding.remedy.splitlines():
                say(f"{'':<18}{line}")
    if any(finding.level == "fail" for _, finding in found):
        click.get_current_context().exit(1)
