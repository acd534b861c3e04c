"""The disk under a release: making writes durable, asking for space, and saying what is wrong with it."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Up to this many files and directories are fsynced one by one, more by a single syncfs. Measured on ext4, 20 kB files
#: (2026): one fsync costs 0.2 ms, so 256 are 50 ms; 1000 files took 0.24 s one by one and 0.03 s by syncfs. Few are not
#: left to syncfs because it also waits for what everybody else has written to that file system.
FSYNC_EACH_UP_TO = 256

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free space there, or lower the number of kept releases",
    errno.EDQUOT: "the disk quota is used up: raise it or free space there",
    errno.EROFS: "the file system is read-only: mount it read-write (a disk error may have made it so: see dmesg)",
    errno.EACCES: "permission denied: give the user Longshore runs as write access to it",
    errno.EPERM: "not permitted: give the user Longshore runs as ownership of it, or run Longshore as root",
    errno.ENAMETOOLONG: "the path is too long for the file system: use a shorter working_directory",
    errno.ENOTDIR: "a part of that path is a file, not a directory: choose another path or move the file away",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.EIO: "the disk reports an input/output error: see dmesg",
}


class FilesError(Exception):
    """Something on the disk does not allow what was asked. The message names the path and the remedy, for people."""


def explain(error: OSError, path: Path) -> FilesError:
    """The error as a sentence: the path it happened at (`path` where the system names none) and what to do."""
    where = error.filename if error.filename is not None else path
    name = os.fsdecode(where) if isinstance(where, (str, bytes, Path)) else str(path)
    reason = _REMEDIES.get(error.errno or 0) or (error.strerror or str(error))
    return FilesError(f"{name!r}: {reason}")


def remedy_in(text: str) -> str | None:
    """What to do about the error that some program has told of in C's words, such as `No space left on device`."""
    return next((remedy for code, remedy in _REMEDIES.items() if os.strerror(code) in text), None)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a FilesError that names `path` (or the path the system named)."""
    try:
        yield
    except OSError as error:
        raise explain(error, path) from error


def free_bytes(path: Path) -> int:
    """Bytes an unprivileged user may still write at `path`, or where it would be made. Raises FilesError."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    with explained(place):
        stat = os.statvfs(place)
    return stat.f_bavail * stat.f_frsize


def sync_path(path: Path) -> None:
    """fsync one file or directory. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(path: Path) -> None:
    """Make a tree durable: everything below `path`, and `path` itself. Symlinks are made so by their directory.

    Raises OSError, also for writes that failed after write(2) had returned.
    """
    few: list[str] = []
    for directory, _, files in os.walk(path):
        few.append(directory)
        few.extend(full for name in files if not Path(full := os.path.join(directory, name)).is_symlink())  # noqa: PTH118
        if len(few) > FSYNC_EACH_UP_TO:
            _sync_file_system(path)
            return
    for name in few:
        sync_path(Path(name))


def write_durably(path: Path, text: str) -> None:
    """Replace the file by one with this text, atomically and durably. Raises OSError; then the old one stands."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync_path(path.parent)


def make_directory(place: Path) -> None:
    """Make a directory that everybody may enter, whatever the umask: the application may run as somebody else."""
    if not place.is_dir():
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
        sync_path(place.parent.resolve())


def make_private_directory(place: Path) -> None:
    """Make a directory of the owner's alone, durably, and with it what is missing above. Raises OSError."""
    for each in (*reversed(place.parents), place):
        if not each.is_dir():
            each.mkdir(mode=0o700 if each == place else 0o777, exist_ok=True)
            sync_path(each.parent.resolve())


def chown_tree(tree: Path, owner: tuple[int, int]) -> None:
    """Give `tree` and all below it to `owner`, a uid and a gid; links themselves, not what they lead to."""
    os.chown(tree, *owner, follow_symlinks=False)
    for directory, subdirectories, files in os.walk(tree):
        for name in (*subdirectories, *files):
            os.chown(Path(directory, name), *owner, follow_symlinks=False)


@contextmanager
def removed_on_failure() -> Iterator[list[Path]]:
    """A list for paths as they are made; they are deleted again if the block fails."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in made:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise


# --- private


def _sync_file_system(path: Path) -> None:
    """syncfs(2), which Python does not offer: unlike sync(2) it leaves other disks alone and reports write errors."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        if syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(fd)
