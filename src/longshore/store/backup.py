"""Copies of the database: made while the manager runs, kept for some days, and put back while it does not.

A copy is read by a connection of its own that cannot write, by SQLite's backup interface: one consistent moment, and no
writer waits for it. The copy is checked before it gets its name, so what has a name can be restored.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from longshore.clock import Clock
from longshore.disk import FilesError, explained, make_private_directory, sync_path
from longshore.store.backup_names import STAMP, daily, made_at, name_at
from longshore.store.sqlite import DATABASE, Damaged, make_private, problem_of, schema_problem

#: seconds between two of the copies that the manager makes by itself
EVERY_S = 24 * 3600.0
#: seconds until the next try where one could not be made
AGAIN_S = 3600.0


class Backups:
    """The daily copies in `backups/` of a data directory. keep: how many; 0: none are made, and none removed."""

    def __init__(self, data_dir: Path, keep: int, clock: Clock) -> None:
        self._data_dir, self._keep, self._clock = data_dir, keep, clock
        self._not_before = 0.0

    def keep(self) -> Path | None:
        """Make one if the newest is a day old, and remove the oldest beyond those kept; None: none was due.

        Blocking: for a thread. Raises FilesError and Damaged; the next try is then an hour later.
        """
        directory, now = self._data_dir / "backups", self._clock.now()
        made = daily(directory, now)
        young = any(0 <= now - (made_at(path) or 0.0) < EVERY_S for path in made)
        if not self._keep or young or self._clock.monotonic() < self._not_before:
            return None
        self._not_before = self._clock.monotonic() + AGAIN_S
        fresh = directory / name_at(now)
        back_up(self._data_dir / DATABASE, fresh)
        self._not_before = 0.0
        for old in made[: max(0, len(made) + 1 - self._keep)]:
            old.unlink(missing_ok=True)
        return fresh


def back_up(database: Path, target: Path) -> None:
    """Copy the database, in use or not, to `target`, readable by its owner alone.

    Raises FilesError where one of the two cannot be read or written, or `target` exists; Damaged where the copy is.
    """
    if not database.is_file():
        raise FilesError(f"There is no database {str(database)!r}: give the data directory of a manager (--data-dir).")
    if os.path.lexists(target):
        raise FilesError(f"{str(target)!r} is there already: give another name, or remove it first.")
    with explained(target):
        make_private_directory(target.parent)
    partial = target.with_name(f".{target.name}.part")
    try:
        _copy(database, partial)
        with explained(target):
            os.link(partial, target)  # not a rename: it would replace what somebody else has put there meanwhile
            sync_path(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def restore(backup: Path, data_dir: Path) -> Path | None:
    """Make `backup` the database of a data directory, whose lock the caller holds. Returns where the one that was there
    is now, in `backups/`; None: there was none.

    The database is never missing: a crash leaves the one before or the one restored, whole.
    Raises FilesError, and Damaged where the backup is no database of Longshore, a newer one, or of another manager.
    """
    database, backups = data_dir / DATABASE, data_dir / "backups"
    fresh = data_dir / f".{DATABASE}.restoring"
    if not backup.is_file():
        raise FilesError(f"There is no file {str(backup)!r} to restore.")
    try:
        _copy(backup, fresh)
        _check_belongs(fresh, backup, database)
        aside = None
        with explained(data_dir):
            if database.exists():
                make_private_directory(backups)
                _fold_in_changes(database)
                aside = _put_aside(database, backups)
            fresh.replace(database)
            sync_path(data_dir)
        return aside
    finally:
        fresh.unlink(missing_ok=True)


# --- private


def _copy(source: Path, target: Path) -> None:
    """To a file of its own, on disk and checked. Raises FilesError, Damaged."""
    target.unlink(missing_ok=True)
    with _said(source, target), closing(_read_only(source)) as origin:
        if problem := problem_of(origin):
            raise Damaged(f"{source} is damaged ({problem}): what can still be read of it would not be a backup.")
        with explained(target):
            make_private(target)
        with closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
            # A file by itself, without a -wal beside it; opening it as the database makes it one with a WAL again.
            copy.execute("PRAGMA journal_mode = DELETE")
    with explained(target):
        sync_path(target)
    with _said(target, target), closing(_read_only(target)) as copy:
        if problem := problem_of(copy):
            raise Damaged(f"The copy {target} is damaged ({problem}): look after its disk.")


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)


@contextmanager
def _said(source: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise FilesError(f"{source} could not be copied to {target}: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise Damaged(f"{source} is no database that can be read: {error}.") from error


def _check_belongs(fresh: Path, backup: Path, database: Path) -> None:
    """That it is one of Longshore, not newer than this one, and of the manager whose directory this is."""
    with closing(_read_only(fresh)) as copy:
        if problem := schema_problem(copy, backup):
            raise Damaged(problem)
        manager = _manager_of(copy)
    if manager is None:
        raise Damaged(f"{backup} is no backup of a Longshore database: there is no manager in it.")
    if not database.exists():
        return
    try:
        with closing(_read_only(database)) as present:
            here = _manager_of(present)
    except sqlite3.Error:
        return  # what is there cannot be read: that is what a backup is for
    if here not in (None, manager):
        raise Damaged(
            f"{backup} is of another manager ({manager}) than {database} ({here}): its applications would be taken for "
            "nobody's. Restore it into a data directory of its own."
        )


def _manager_of(connection: sqlite3.Connection) -> str | None:
    try:
        row = connection.execute("SELECT id FROM manager").fetchone()
    except sqlite3.DatabaseError:
        return None
    return None if row is None else str(row[0])


def _fold_in_changes(database: Path) -> None:
    """Make a sound database a file by itself: a crash between the leaving of its log and its own then costs nothing."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        if problem_of(connection) is None:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _put_aside(database: Path, backups: Path) -> Path:
    """Keep what was there, with its log of changes, which leaves first: beside another database it would be lethal."""
    stamp = datetime.now(UTC).strftime(STAMP)
    number = next(n for n in range(1, 1000) if not (backups / f"replaced-{stamp}-{n}.db").exists())
    aside = backups / f"replaced-{stamp}-{number}.db"
    os.link(database, aside)
    wal = database.with_name(f"{database.name}-wal")
    if wal.exists():
        wal.rename(aside.with_name(f"{aside.name}-wal"))
    database.with_name(f"{database.name}-shm").unlink(missing_ok=True)
    sync_path(backups)
    sync_path(database.parent)
    return aside
