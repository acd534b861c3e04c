"""The output of units, from the journal of their host, where it outlives them.

Only what the unit's own processes have said: what systemd says about it is in the journal, too, but under another name.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from longshore.drivers.systemd.journal import text_of
from longshore.drivers.systemd.manager import title_of
from longshore.hosts import HostUnreachable, attempt
from longshore.hosts.base import Host

# unit scope lines since: the last lines, oldest first. A user's own journal is read by --user only where it is kept on
# disk; where it is not, a user may read nothing, and journalctl says so.
_TAIL = r"""
set -- "$1" "$2" "$3" "${4:+--since=@$4}"
field=_SYSTEMD_UNIT
[ "$2" != user ] || field=_SYSTEMD_USER_UNIT
exec journalctl --quiet --no-pager --all --output=json --output-fields=MESSAGE "--lines=$3" ${4:+"$4"} "$field=$1"
"""
_FOLLOW = r"""
field=_SYSTEMD_UNIT
[ "$2" != user ] || field=_SYSTEMD_USER_UNIT
exec journalctl --quiet --no-pager --all --output=json --output-fields=MESSAGE --follow \
  ${3:+"--after-cursor=$3"} --lines="$4" "$field=$1"
"""


@dataclass(frozen=True, slots=True)
class Said:
    """A line. at: when, seconds since the epoch. cursor: the journal's place of it; goes on from there."""

    at: float
    text: str
    cursor: str


async def tail(host: Host, unit: str, lines: int, since: float | None = None) -> list[Said]:
    """The last lines of a unit's output, whatever run of it, oldest first; since: only what was said from then on.

    Raises HostUnreachable; ScriptFailed where the journal cannot be read.
    """
    if lines <= 0:
        return []

    async def work() -> list[Said]:
        done = await host.run(_TAIL, unit, host.scope, str(lines), "" if since is None else f"{since:.6f}")
        return [said for line in done.stdout.splitlines() if (said := parse_line(line)) is not None]

    return await attempt(host, work)


async def follow(host: Host, unit: str) -> AsyncIterator[Said]:
    """Lines from now on, across restarts, and across lost connections: what was said meanwhile comes after. Endless;
    raises HostUnreachable where the host stays away."""
    cursor = ""
    while True:
        try:
            async with host.lines(_FOLLOW, unit, host.scope, cursor, "all" if cursor else "0") as lines:
                async for line in lines:
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
