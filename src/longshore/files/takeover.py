"""Copying what an application left in place: as it stands, whatever it is, for it may run while it is copied."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from longshore.artifacts.directory import Listing
from longshore.disk import FilesError


def copy_as_is(source: Path, destination: Path, top: Path, stop: Callable[[], bool] = bool) -> None:
    """Copy a file, link or directory with its modes, times and (as root) owners. What vanishes meanwhile is left out.

    top      the tree that is copied: a relative link that leads out of it would lead elsewhere from the copy, so it is
             made absolute. Sockets, fifos and devices are left out: they are nothing without the process behind them.
    stop     asked at every entry; where it says True nobody waits for the copy, and FilesError is raised
    Raises   OSError.
    """
    if stop():
        raise FilesError("copying was stopped")
    try:
        mode = source.lstat().st_mode
        if stat.S_ISLNK(mode):
            destination.symlink_to(_retargeted(source, top))
        elif stat.S_ISDIR(mode):
            destination.mkdir(mode=0o700)
            for name in sorted(os.listdir(source)):  # noqa: PTH208 - pathlib would build a path only to take its name
                copy_as_is(source / name, destination / name, top, stop)
        elif stat.S_ISREG(mode):
            shutil.copyfile(source, destination, follow_symlinks=False)
        else:
            return
        _copy_facts(source, destination)
    except FileNotFoundError:
        if os.path.lexists(source):
            raise


def size_of(path: Path) -> int:
    """Bytes of the regular files at and below `path`, links not followed; what vanishes meanwhile counts as nothing."""
    total = _file_size(path)
    for directory, _, files in os.walk(path):
        total += sum(_file_size(Path(directory, name)) for name in files)
    return total


def listing_sha256(path: Path) -> str:
    """The SHA-256 of a tree as artifacts.directory.Listing defines it, of whatever modes and links there are."""
    listing = Listing()
    _list(path, "", listing)
    return listing.digest()


# --- private


def _retargeted(link: Path, top: Path) -> str:
    target = str(link.readlink())
    if target.startswith("/"):
        return target
    place = os.path.normpath(link.parent / target)
    return target if Path(place).is_relative_to(top) else place


def _copy_facts(source: Path, destination: Path) -> None:
    facts = source.lstat()
    if os.geteuid() == 0:
        os.chown(destination, facts.st_uid, facts.st_gid, follow_symlinks=False)
    shutil.copystat(source, destination, follow_symlinks=False)


def _file_size(path: Path) -> int:
    try:
        facts = path.lstat()
    except OSError:
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def _list(top: Path, below: str, listing: Listing) -> None:
    with os.scandir(top / below) as listed:
        found = sorted(listed, key=lambda item: os.fsencode(item.name))
    for item in found:
        name = f"{below}/{item.name}" if below else item.name
        mode = stat.S_IMODE(item.stat(follow_symlinks=False).st_mode)
        if item.is_symlink():
            listing.add("l", None, str(Path(item.path).readlink()), name)
        elif item.is_dir():
            listing.add("d", mode, "-", name)
            _list(top, name, listing)
        else:
            with Path(item.path).open("rb") as file:
                listing.add("f", mode, hashlib.file_digest(file, "sha256").hexdigest(), name)
