"""A parcel: the tar stream that goes to a host, made as it is read. Nothing of the files is kept in memory."""

from __future__ import annotations

import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

from longshore.concurrency import to_its_end
from longshore.disk import FilesError, explained

#: bytes of the stream that are made at once
BLOCK = 256 * 1024


class Piece(NamedTuple):
    """`size` bytes of a file of this machine."""

    place: Path
    start: int
    size: int


class Parcel:
    """Names are relative to where it is unpacked. All of GNU tar's format: any name, any size."""

    def __init__(self) -> None:
        self._parts: list[bytes | Piece] = []
        self.size_bytes = 0

    def add_bytes(self, name: str, content: bytes) -> None:
        self._add(_head(name, tarfile.REGTYPE, 0o600, len(content)), [content], len(content))

    def add_file(self, name: str, mode: int, pieces: list[Piece]) -> None:
        size = sum(piece.size for piece in pieces)
        self._add(_head(name, tarfile.REGTYPE, mode, size), list(pieces), size)

    def add_directory(self, name: str, mode: int) -> None:
        self._add(_head(name, tarfile.DIRTYPE, mode, 0), [], 0)

    def add_link(self, name: str, target: str) -> None:
        self._add(_head(name, tarfile.SYMTYPE, 0o777, 0, target), [], 0)

    def close(self) -> None:
        self._add(bytes(2 * tarfile.BLOCKSIZE), [], 0)

    async def stream(self) -> AsyncIterator[bytes]:
        """Raises FilesError, also for a file that is shorter than it was."""
        blocks = self._blocks()
        while block := await to_its_end(next, blocks, b""):
            yield block

    # --- private

    def _add(self, head: bytes, content: list[bytes | Piece] | list[Piece] | list[bytes], size: int) -> None:
        padding = bytes(-size % tarfile.BLOCKSIZE)
        self._parts += [head, *content, padding]
        self.size_bytes += len(head) + size + len(padding)

    def _blocks(self) -> Iterator[bytes]:
        held = bytearray()
        for part in self._parts:
            for read in (part,) if isinstance(part, bytes) else _read(part):
                held += read
                if len(held) >= BLOCK:
                    yield bytes(held)
                    held.clear()
        if held:
            yield bytes(held)


def _head(name: str, kind: bytes, mode: int, size: int, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.linkname = kind, mode, size, target
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _read(piece: Piece) -> Iterator[bytes]:
    if not piece.size:
        return
    with explained(piece.place):
        fd = os.open(piece.place, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            start, left = piece.start, piece.size
            while left:
                if not (read := os.pread(fd, min(left, BLOCK), start)):
                    raise FilesError(
                        f"{str(piece.place)!r} has become shorter while it was sent: somebody has changed the "
                        "manager's own copy of a release; deploy this version again"
                    )
                yield read
                start, left = start + len(read), left - len(read)
        finally:
            os.close(fd)
