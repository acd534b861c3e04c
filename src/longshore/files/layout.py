"""The layout of a working directory: which names are Longshore's, and whether a directory can have them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from longshore.disk import FilesError
from longshore.files.claim import LOCK_NAME

#: What a version is called, and with it its directory.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")

#: Names that are not what an application left: ours, and the one every ext4 file system has at its top.
OWN_NAMES = frozenset({"releases", "current", "shared", ".longshore", LOCK_NAME, "lost+found"})


def check_place(path: Path) -> None:
    """Raise FilesError, saying what to do, where `path` neither is a directory that can be used nor can be made one."""
    if not path.is_absolute() or path == path.parent:
        raise FilesError(f"working_directory {str(path)!r} must be absolute and not the root directory")
    place = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if not place.is_dir():
        raise FilesError(f"{str(place)!r} is not a directory: choose another working_directory or move it away")
    if not os.access(place, os.W_OK | os.X_OK):
        raise FilesError(f"{str(place)!r} is not writable: give the user Longshore runs as write access to it")


def check_own_names(path: Path) -> None:
    """Names Longshore needs, in a directory it has never had, are another tool's; only `shared` may be prepared.

    Raises FilesError for those, OSError of the disk.
    """
    current, releases, shared = path / "current", path / "releases", path / "shared"
    taken = [current] if os.path.lexists(current) else []
    if os.path.lexists(releases) and not (releases.is_dir() and not any(releases.iterdir())):
        taken.append(releases)
    if os.path.lexists(shared) and not shared.is_dir():
        taken.append(shared)
    if taken:
        raise FilesError(
            f"{', '.join(repr(str(place)) for place in taken)} is not Longshore's, perhaps another tool's: "
            "choose another working_directory or move it away"
        )


def foreign_names(path: Path) -> list[str]:
    """What is there that is not Longshore's, sorted. Raises OSError of the disk."""
    if not path.is_dir():
        return []
    return sorted(place.name for place in path.iterdir() if place.name not in OWN_NAMES)
