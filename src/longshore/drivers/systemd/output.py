"""The output of units, from the journal of their host, where it outlives them.

Only what the unit's own processes have said: what systemd says about it is in the journal, too, but under another name.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from longshore.drivers.systemd.journal import text_of
from longshore.drivers.systemd.manager import title_of
from longshore.hosts import HostUnreachable, attempt
from longshore.hosts.base import Host

#: lines read of what was said before, where nobody says how many
MOST_LINES = 50_000

# unit scope lines since cursor follow. A user's own units are named in another field.
_READ = r"""
unit=$1 scope=$2 lines=$3 since=$4 cursor=$5 follow=$6
field=_SYSTEMD_UNIT
[ "$scope" != user ] || field=_SYSTEMD_USER_UNIT
exec journalctl --quiet --no-pager --all --output=json --output-fields=MESSAGE "--lines=$lines" \
  ${follow:+--follow} ${since:+"--since=@$since"} ${cursor:+"--after-cursor=$cursor"} "$field=$unit"
"""


@dataclass(frozen=True, slots=True)
class Said:
    """A line. at: when, seconds since the epoch. cursor: the journal's place of it; goes on from there."""

    at: float
    text: str
    cursor: str


async def read(
    host: Host, unit: str, *, tail: int | None = None, since: float | None = None, follow: bool = False
) -> AsyncGenerator[Said, None]:
    """Lines of a unit's output, whatever run of it, as Driver.logs says.

    Followed across restarts and lost connections: what was said meanwhile comes after. Raises HostUnreachable where the
    host stays away; ScriptFailed where its journal cannot be read.
    """
    lines = str(MOST_LINES if tail is None else max(0, tail))
    began = "" if since is None else f"{since:.6f}"
    if not follow:
        done = await attempt(host, lambda: host.run(_READ, unit, host.scope, lines, began, "", ""))
        for line in done.stdout.splitlines():
            if (said := parse_line(line)) is not None:
                yield said
        return
    cursor = ""
    while True:
        arguments = ("all", "", cursor) if cursor else (lines, began, "")
        try:
            async with host.lines(_READ, unit, host.scope, *arguments, "follow") as found:
                async for line in found:
                    if (said := parse_line(line)) is not None:
                        cursor = said.cursor
                        yield said
            raise HostUnreachable(host.name, f"{title_of(host)}: its journal cannot be followed (journalctl ended)")
        except HostUnreachable as error:
            if not error.passing:
                raise
            await attempt(host, host.connect)


def parse_line(line: bytes) -> Said | None:
    """One line of `journalctl --output=json`; None for what is none."""
    try:
        entry: Any = json.loads(line)
        return Said(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, text_of(entry.get("MESSAGE")), entry["__CURSOR"])
    except (ValueError, KeyError, TypeError):
        return None
