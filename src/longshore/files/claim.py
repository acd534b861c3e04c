"""Who may use a working directory: one deployment of one manager, named in a lock file for everybody to read."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from longshore.disk import FilesError, explained, sync_path

LOCK_NAME = ".longshore.lock"

#: Seconds to wait for the lock, which is held for the time it takes to write a line.
LOCK_WAIT_S = 5.0


def claim(directory: Path, owner: str) -> None:
    """Make `owner` the owner of the directory, for good; harmless if it is already.

    owner    one line for people and machines: the deployment and the data directory, the latter by an id that moves
             with it, so that a restarted or moved manager is still the owner
    Raises   FilesError naming the holder where it is another one, and what to do about it.

    The claim is the text of the file, which outlives the process; the flock(2) on it lasts for the moment of reading
    and writing only, so that of two that ask at once one is refused.
    """
    if not owner.strip() or "\n" in owner:
        raise FilesError(f"the owner of a working directory is one line of text, not {owner!r}")
    lock = directory / LOCK_NAME
    with explained(lock), _locked(lock) as file:
        holder = file.read().strip()
        if holder and holder != owner.strip():
            raise FilesError(
                f"{str(directory)!r} belongs to {holder}: give this deployment a working_directory of its own, or, if "
                f"that one is gone for good, remove {str(lock)!r} and try again"
            )
        if not holder:
            file.seek(0)
            file.write(owner.strip() + "\n")
            file.flush()
            os.fsync(file.fileno())
            sync_path(directory)


def disclaim(directory: Path, owner: str) -> None:
    """Give the directory up again; harmless where `owner` does not own it. Raises FilesError."""
    lock = directory / LOCK_NAME
    if holder(directory) != owner.strip():
        return
    with explained(lock), _locked(lock) as file:
        if file.read().strip() == owner.strip():
            lock.unlink()
            sync_path(directory)


def holder(directory: Path) -> str | None:
    """Who owns the directory; None: nobody does. Raises FilesError."""
    lock = directory / LOCK_NAME
    with explained(lock):
        try:
            return lock.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None


# --- private


@contextmanager
def _locked(lock: Path) -> Iterator[TextIO]:
    """The lock file, opened and held. It is opened anew when it was removed while this waited for it."""
    while True:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        with os.fdopen(fd, "r+", encoding="utf-8") as file:
            _lock(lock, fd)
            if _is_file_at(lock, fd):
                yield file
                return


def _lock(lock: Path, fd: int) -> None:
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise FilesError(
                    f"{str(lock)!r} stayed locked by another process for {LOCK_WAIT_S:g} s: `fuser` finds it"
                ) from None
            # flock(2) has no timeout of its own.
            time.sleep(0.01)


def _is_file_at(lock: Path, fd: int) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False
