"""Directories on their way in or out of `releases/`: `.VERSION.staging-…` and `.VERSION.removing-…`.

Whoever works in one holds a flock(2) on it, which ends with the process; so what is left of a crash can be told from
what somebody is at work on, without asking who.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from longshore.disk import sync_path

_TEMPORARY = re.compile(r"\.(?P<version>.+)\.(staging|removing)-[A-Za-z0-9_]+")


@contextmanager
def staging(releases: Path, version: str) -> Iterator[Path]:
    """A new empty directory beside the releases, deleted at the end unless it has been renamed. Raises OSError."""
    place = Path(tempfile.mkdtemp(prefix=f".{version}.staging-", dir=releases))
    try:
        place.chmod(0o755)
        with _held(place):
            yield place
    finally:
        # What cannot be deleted (a disk that turned read-only) is left to sweep(): the first error says more.
        shutil.rmtree(place, ignore_errors=True)


def remove(path: Path) -> None:
    """Delete a release: renamed away first, so that what is there under its name is always complete. Raises OSError."""
    leaving = path.with_name(f".{path.name}.removing-{secrets.token_hex(4)}")
    path.rename(leaving)
    sync_path(path.parent)
    # sweep() may find it before it is held, and is welcome to it.
    with suppress(FileNotFoundError), _held(leaving):
        shutil.rmtree(leaving)


def sweep(releases: Path) -> tuple[list[str], set[str]]:
    """Delete what nobody holds. Returns the names deleted, and the versions somebody is at work on. Raises OSError."""
    swept: list[str] = []
    busy: set[str] = set()
    for place in sorted(releases.iterdir()):
        if not (found := _TEMPORARY.fullmatch(place.name)):
            continue
        try:
            with _held(place):
                shutil.rmtree(place)
            swept.append(place.name)
        except BlockingIOError:
            busy.add(found["version"])
        except FileNotFoundError:
            continue
    return swept, busy


# --- private


@contextmanager
def _held(place: Path) -> Iterator[None]:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
