"""Reading an artifact file: opening it, hashing all of it on the way, and naming what is wrong with it."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from longshore.artifacts.base import ArtifactError, ArtifactMissing
from longshore.artifacts.guard import CHUNK

#: What the decompressors and the archive readers raise for bytes that are not what they should be. ValueError and the
#: like come from tarfile and zipfile, where a damaged field is parsed.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    EOFError,
    struct.error,
    ValueError,
    LookupError,
    OverflowError,
    NotImplementedError,
    RecursionError,
    MemoryError,
)


@contextmanager
def opened(path: Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """The file, open for reading. Raises ArtifactMissing where it is not there or cannot be read."""
    try:
        # O_NONBLOCK: a fifo put in its place would otherwise block the open for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        raise unreadable(path, error) from error
    with os.fdopen(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ArtifactError(f"{str(path)!r} is not a regular file")
        yield file


def unreadable(path: Path, error: OSError) -> ArtifactMissing:
    if isinstance(error, FileNotFoundError):
        return ArtifactMissing(f"{str(path)!r} does not exist on the machine Longshore runs on")
    return ArtifactMissing(f"{str(path)!r} cannot be read: {error.strerror or error}")


class HashingReader(io.RawIOBase):
    """Passes a file through and hashes it. read() may be asked for less than all: digest() takes the rest."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        try:
            data = self._file.read(-1 if size is None else size) or b""
        except OSError as error:
            raise unreadable(self._path, error) from error
        self._hash.update(data)
        return data

    def chunks(self) -> Iterator[bytes]:
        while chunk := self.read(CHUNK):
            yield chunk

    def digest(self) -> str:
        """SHA-256 of the whole file, trailing bytes included, in hex: what `sha256sum` says."""
        for _ in self.chunks():
            pass
        return self._hash.hexdigest()


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Turn what a damaged archive makes a reader raise into an ArtifactError, and let errors of the disk through."""
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    except OSError as error:
        # gzip and bz2 report bad data as an OSError without a number; one with a number comes from the disk.
        if error.errno is not None:
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path.name!r} is damaged or cut short ({error}): pack or copy it again")
