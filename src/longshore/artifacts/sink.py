"""The sink of an unpack: what the guard admits is written below a fresh directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


class Disk:
    """Writes below `destination`, which is empty and nobody else's. Errors of the disk come out as OSError.

    Files are made anew (O_EXCL), never opened, and nothing here follows a link. The umask has no say in the modes.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination

    def directory(self, path: str, mode: int) -> None:
        place = self.destination / path
        place.mkdir(exist_ok=True)
        place.chmod(mode)

    def file(self, path: str, mode: int, chunks: Iterator[bytes]) -> None:
        fd = os.open(self.destination / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "wb", buffering=0) as file:
            for chunk in chunks:
                _write_all(file.fileno(), chunk)
            os.fchmod(file.fileno(), mode)

    def copy(self, path: str, source: str) -> None:
        origin = os.open(self.destination / source, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            self.file(path, os.fstat(origin).st_mode & 0o777, _blocks(origin))
        finally:
            os.close(origin)

    def symlink(self, path: str, target: str) -> None:
        (self.destination / path).symlink_to(target)


# --- private


def _write_all(fd: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _blocks(fd: int) -> Iterator[bytes]:
    while block := os.read(fd, 1024 * 1024):
        yield block
