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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from uuid_utils import uuid4

from longshore.errors import LeaseLost, LongshoreError

#: called around every transaction with "begin", "commit" or "committed"; tests cut the power there
WriteHook = Callable[[str], None]


class SchemaTooNew(LongshoreError):
    """The database was written by a newer Longshore; start that one, or restore a backup made before the upgrade."""


def migrations() -> list[tuple[int, str]]:
    """Numbered migrations, in order: (number, SQL)."""
    found = []
    for entry in resources.files("longshore.store").joinpath("migrations").iterdir():
        if match := re.fullmatch(r"(\d{4})_\w+\.sql", entry.name):
            found.append((int(match[1]), entry.read_text()))
    return sorted(found)


class Database:
    """A connection with the fence around its writes."""

    def __init__(self, path: Path, on_write: WriteHook | None = None) -> None:
        existed = path.exists()
        if not existed:
            _make_private(path)
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "temp_store = MEMORY"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._on_write = on_write
        self._depth = 0
        self._after_commit: list[Callable[[], None]] = []
        self.path = path
        self.epoch = 0
        self._migrate(keep_copy=existed)

    def _migrate(self, *, keep_copy: bool) -> None:
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        known = migrations()
        if version > known[-1][0]:
            raise SchemaTooNew(
                f"{self.path} has schema {version}, this Longshore knows up to {known[-1][0]}: "
                "start the newer version again, or restore a backup made before the upgrade."
            )
        pending = [m for m in known if m[0] > version]
        if pending and keep_copy and version > 0:
            copy = self.path.with_name(f"{self.path.name}.schema-{version}")
            copy.unlink(missing_ok=True)
            _make_private(copy)
            self._connection.execute("VACUUM INTO ?", (str(copy),))
        for number, sql in pending:
            self._connection.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")

    def take_over(self) -> tuple[str, int]:
        """Become the manager of this store: every other one can no longer write. Returns (manager id, epoch)."""
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(
            "INSERT INTO manager (only_row, id, epoch, owner) VALUES (1, :id, 1, :owner) "
            "ON CONFLICT (only_row) DO UPDATE SET epoch = epoch + 1, owner = :owner",
            {"id": uuid4().hex[:12], "owner": owner},
        )
        row = self._connection.execute("SELECT id, epoch FROM manager").fetchone()
        self._connection.execute("COMMIT")
        self.epoch = int(row["epoch"])
        return str(row["id"]), self.epoch

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on disk when it ends. Nested ones join the outer. Raises LeaseLost behind the fence."""
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._hook("begin")
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            row = self._connection.execute("SELECT epoch, owner FROM manager").fetchone()
            if row is None or row["epoch"] != self.epoch:
                raise LeaseLost(cause=f"taken over by {row['owner']}" if row else "the store has no manager")
            yield
            self._hook("commit")
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._after_commit.clear()
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
        return self._connection.execute(sql, parameters).fetchall()

    def one(self, sql: str, **parameters: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def close(self) -> None:
        self._connection.close()

    def _hook(self, point: str) -> None:
        if self._on_write is not None:
            self._on_write(point)


def _make_private(path: Path) -> None:
    """An empty file of the owner's alone: configurations in it hold secrets."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
