"""Names of the copies in `backups/`, which tell when each was made.

longshore-20260102T030405Z.db          the manager's own of a day: the oldest go
longshore-manual-20260102T030405Z.db   what somebody asked for: stays until they delete it
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from longshore.clock import to_datetime

STAMP = "%Y%m%dT%H%M%SZ"

_NAME = re.compile(r"longshore-(manual-)?(\d{8}T\d{6}Z)\.db")


def name_at(now: float, *, manual: bool = False) -> str:
    """Of a copy made then."""
    return f"longshore-{'manual-' if manual else ''}{to_datetime(now).strftime(STAMP)}.db"


def made_at(path: Path) -> float | None:
    """Seconds since the epoch, by its name; None: it is no copy's."""
    try:
        found = _NAME.fullmatch(path.name)
        return datetime.strptime(found[2], STAMP).replace(tzinfo=UTC).timestamp() if found is not None else None
    except ValueError:  # digits, but no date
        return None


def by_age(paths: Iterable[Path], now: float) -> list[Path]:
    """Those that are copies, oldest first. Of one from the future nobody knows when it was made, with the clock ahead:
    it counts as older than all others."""
    made = [(at <= now, at, path) for path in paths if (at := made_at(path)) is not None]
    return [path for _, _, path in sorted(made)]


def daily(directory: Path, now: float) -> list[Path]:
    """The manager's own, oldest first."""
    return by_age((path for path in directory.glob("longshore-*.db") if "manual" not in path.name), now)


def newest_backup(data_dir: Path) -> Path | None:
    """The newest of all, also of those that somebody asked for."""
    return next(reversed(by_age((data_dir / "backups").glob("longshore-*.db"), time.time())), None)
