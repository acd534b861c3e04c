"""The SQLite file: opening, migrating, transactions, and the fence that keeps a replaced manager from writing.

One connection, used on the event loop's thread: a read costs some 70 µs and a commit with synchronous=FULL some 0.3 ms,
less than handing it to a thread (measured on Python 3.11, SQLite 3.40). A single writer that also checkpoints is
besides what keeps SQLite versions below 3.51.3 clear of their rare WAL corruption.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NoReturn

from uuid_utils import uuid4

from longshore.disk import sync_path
from longshore.errors import InternalError, LeaseLost, LongshoreError
from longshore.store.backup_names import newest_backup

#: the file in the data directory
DATABASE = "longshore.db"
#: called around every transaction with "begin", "commit" or "committed"; tests cut the power there
WriteHook = Callable[[str], None]


#: seconds that opening waits for a lock of another program: nothing else goes on yet
OPENING_S = 10.0
#: and that a write does, with the whole manager. The next ones wait no more at all, until one has got through: a lock
#: held for long makes rollouts fail, but keeps neither probes nor answers nor SIGTERM (5 s) waiting.
BUSY_S = 2.0

#: primary result code of SQLite → what to do, for those that say nothing of the statement
_REMEDIES = {
    sqlite3.SQLITE_BUSY: "End the program that keeps it locked",
    sqlite3.SQLITE_READONLY: "Mount its disk read-write, and give the manager's user write access",
    sqlite3.SQLITE_IOERR: "The disk reports an error: see dmesg",
    sqlite3.SQLITE_FULL: "Free space on its disk",
    sqlite3.SQLITE_CANTOPEN: "Give the manager's user write access to its directory, and enough open files",
}


class SchemaTooNew(LongshoreError):
    """The database was written by a newer Longshore; start that one, or restore a backup made before the upgrade."""


class Damaged(LongshoreError):
    """A file that is to be the database is damaged, or is none."""


class StoreUnavailable(InternalError):
    """The database cannot be written or read now. What was under way is gone on with as soon as it can."""


@cache
def migrations() -> list[tuple[int, str]]:
    """Numbered migrations, in order: (number, SQL)."""
    found = []
    for entry in resources.files("longshore.store").joinpath("migrations").iterdir():
        if match := re.fullmatch(r"(\d{4})_\w+\.sql", entry.name):
            found.append((int(match[1]), entry.read_text()))
    return sorted(found)


def problem_of(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the file, by its structure (some 2 ms for each MB); None: nothing."""
    found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    return None if found == "ok" else found.removeprefix("*** in database main ***").strip()


def schema_problem(connection: sqlite3.Connection, path: Path) -> str | None:
    """Why this Longshore cannot read the schema of an opened file; None: it can."""
    version, known = int(connection.execute("PRAGMA user_version").fetchone()[0]), migrations()[-1][0]
    if version <= known:
        return None
    return (
        f"{path} has schema {version}, this Longshore knows up to {known}: start the newer version again, or restore a "
        "backup made before the upgrade."
    )


def damaged(path: Path, problem: object) -> Damaged:
    """What to do about a database that cannot be read: there may be a copy."""
    backup = newest_backup(path.parent)
    remedy = f"`longshore restore {backup}`" if backup is not None else "`longshore restore FILE`, with a backup of it"
    return Damaged(f"The database {path} is damaged ({problem}). Put a copy in its place, applications go on: {remedy}")


class Database:
    """A connection with the fence around its writes."""

    def __init__(self, path: Path, on_write: WriteHook | None = None) -> None:
        existed = path.exists()
        if not existed:
            make_private(path)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=OPENING_S, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        try:
            self._open(path, existed)
        except BaseException as error:
            self._connection.close()
            # Those that are not operational are about the content: it is no database, or one that was cut.
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                raise damaged(path, error) from error
            raise
        self._on_write = on_write
        self._depth = 0
        self._patience_s = OPENING_S
        self._after_commit: list[Callable[[], None]] = []
        self.path = path
        self.epoch = 0

    def _open(self, path: Path, existed: bool) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
            self._connection.execute(f"PRAGMA {pragma}")
        if existed and (problem := problem_of(self._connection)):
            raise damaged(path, problem)
        self._migrate(path, keep_copy=existed)

    def _migrate(self, path: Path, *, keep_copy: bool) -> None:
        if problem := schema_problem(self._connection, path):
            raise SchemaTooNew(problem)
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        pending = [m for m in migrations() if m[0] > version]
        if pending and keep_copy and version > 0:
            copy = path.with_name(f"{path.name}.schema-{version}")
            copy.unlink(missing_ok=True)
            make_private(copy)
            self._connection.execute("VACUUM INTO ?", (str(copy),))
            sync_path(copy)  # which SQLite does not: https://sqlite.org/lang_vacuum.html
            sync_path(path.parent.resolve())
        for number, sql in pending:
            self._connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")

    def take_over(self) -> tuple[str, int]:
        """Become the manager of this store: every other one can no longer write. Returns (manager id, epoch).

        Hosts remember the newest epoch that they were shown, and a store that was restored knows of older ones only. So
        an epoch is not just counted: it is at least the time.
        """
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(
            "INSERT INTO manager (only_row, id, epoch, owner) VALUES (1, :id, :now, :owner) "
            "ON CONFLICT (only_row) DO UPDATE SET epoch = max(epoch + 1, :now), owner = :owner",
            {"id": uuid4().hex[:12], "owner": owner, "now": int(time.time())},
        )
        row = self._connection.execute("SELECT id, epoch FROM manager").fetchone()
        self._connection.execute("COMMIT")
        self._wait_for_others(BUSY_S)
        self.epoch = int(row["epoch"])
        return str(row["id"]), self.epoch

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on disk when it ends. Nested ones join the outer.

        Raises LeaseLost behind the fence, StoreUnavailable where the disk or another program keeps it from writing.
        """
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._hook("begin")
        try:
            self._roll_back()  # what an error of the disk kept from being rolled back when it happened
            self._connection.execute("BEGIN IMMEDIATE")
            self._wait_for_others(BUSY_S)
            self._depth = 1
            row = self._connection.execute("SELECT epoch, owner FROM manager").fetchone()
            if row is None or row["epoch"] != self.epoch:
                raise LeaseLost(cause=f"taken over by {row['owner']}" if row else "the store has no manager")
            yield
            self._hook("commit")
            self._connection.execute("COMMIT")
        except BaseException as error:
            self._after_commit.clear()
            with suppress(sqlite3.OperationalError):
                self._roll_back()
            if isinstance(error, sqlite3.OperationalError):
                self._raise(error, "written")
            raise
        finally:
            self._depth = 0
        self._hook("committed")
        callbacks, self._after_commit = self._after_commit, []
        for callback in callbacks:
            callback()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run this once the transaction under way is on disk (never, if it is rolled back)."""
        assert self._depth, "after_commit belongs inside a transaction"
        self._after_commit.append(callback)

    def write(self, sql: str, parameters: dict[str, Any]) -> int:
        """One statement inside a transaction (its own, if there is none). Returns how many rows it changed."""
        with self.transaction():
            return self._connection.execute(sql, parameters).rowcount

    def all(self, sql: str, **parameters: Any) -> list[sqlite3.Row]:
        """Raises StoreUnavailable where the disk or another program keeps it from reading; so does one()."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.OperationalError as error:
            self._raise(error, "read")

    def one(self, sql: str, **parameters: Any) -> sqlite3.Row | None:
        try:
            row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        except sqlite3.OperationalError as error:
            self._raise(error, "read")
        return row

    def close(self) -> None:
        self._connection.close()

    def _raise(self, error: sqlite3.OperationalError, done: str) -> NoReturn:
        """As StoreUnavailable, unless it is about the statement. done: what it cannot be, "read" or "written"."""
        code = error.sqlite_errorcode & 0xFF
        if code not in _REMEDIES:
            raise error
        if code == sqlite3.SQLITE_BUSY:
            self._wait_for_others(0.0)
        raise StoreUnavailable(
            f"The database {self.path} cannot be {done}: {error}. "
            f"{_REMEDIES[code]}; what was under way is then gone on with.",
            cause=str(error),
        ) from error

    def _wait_for_others(self, seconds: float) -> None:
        """How long a write waits for a lock that another program holds."""
        if seconds != self._patience_s:
            self._patience_s = seconds
            self._connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _hook(self, point: str) -> None:
        if self._on_write is not None:
            self._on_write(point)


def make_private(path: Path) -> None:
    """An empty file of the owner's alone: configurations in it hold secrets. None for a store in memory."""
    if str(path) == ":memory:":
        return
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
