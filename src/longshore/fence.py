"""The fence: before each effect outside of the store, a manager looks whether it still is the manager.

A manager that stood still (SIGSTOP, a machine that slept, a disk that hung) may wake up after another one has taken
over its store. Its writes are refused there (store/sqlite.py); this keeps it from starting, stopping, routing and
linking anything between waking up and its next write. Nothing can be awaited between the look and the effect, so what
is left is a stop within those few microseconds.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from longshore.errors import LeaseLost
from longshore.store.sqlite import StoreUnavailable

#: called before an effect; raises LeaseLost where another manager has taken over, StoreUnavailable where that cannot
#: be told
Fence = Callable[[], None]


def unfenced() -> None:
    """For whoever works without a store: tests, and tools that look after what a manager has left."""


class EpochFence:
    """The fence of the manager that took over the database at `path` with this epoch. For every thread; some 20 µs."""

    def __init__(self, path: Path, epoch: int) -> None:
        self._path, self._epoch = path, epoch
        # A connection of its own: the store's is in the middle of a transaction when a thread asks.
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0, check_same_thread=False)
        self._lock = threading.Lock()
        self._file = _identity(path)

    def __call__(self) -> None:
        if _identity(self._path) != self._file:
            raise LeaseLost(cause=f"{self._path} is another file now, or gone")
        try:
            with self._lock:
                row = self._connection.execute("SELECT epoch, owner FROM manager").fetchone()
        except sqlite3.OperationalError as error:
            raise StoreUnavailable(
                f"Whether this still is the manager cannot be told: {self._path} cannot be read ({error}). What was "
                "under way is gone on with once it can.",
                cause=str(error),
            ) from error
        if row is None or row[0] != self._epoch:
            raise LeaseLost(cause=f"taken over by {row[1]}" if row else "the store has no manager")

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
