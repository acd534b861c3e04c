"""Tar archives: .tar, and compressed as .tar.gz, .tgz, .tar.xz, .tar.bz2, .tar.zst."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from longshore.artifacts.base import ArtifactError, Limits, Scan
from longshore.artifacts.guard import CHUNK, Dry, Entry, Holding, Sink, admit
from longshore.artifacts.reading import HashingReader, damage_named, opened
from longshore.artifacts.sink import Disk
from longshore.artifacts.zstd import check_frames
from longshore.disk import sync_tree

#: What the headers of one entry may take: extended attributes of 64 KiB each are the largest thing found there. tarfile
#: reads a header whole, so without a bound a small archive could have it fill the memory.
MAX_HEADER = 256 * 1024
#: Zeros that may follow the end of the archive; GNU tar fills up to its record size, 10 KiB unless told otherwise.
MAX_PADDING = 16 * 1024 * 1024

#: ending → (first bytes of such a file, what reads it). Sources: RFC 1952, the .xz format, bzip2, RFC 8878.
COMPRESSIONS: dict[str, tuple[bytes, Callable[[HashingReader], IO[bytes]]]] = {
    ".tar": (b"", lambda raw: cast(IO[bytes], raw)),
    ".tar.gz": (b"\x1f\x8b", lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))),
    ".tgz": (b"\x1f\x8b", lambda raw: cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))),
    ".tar.xz": (b"\xfd7zXZ\0", lambda raw: lzma.open(cast(IO[bytes], raw))),  # noqa: SIM115
    ".tar.bz2": (b"BZh", lambda raw: bz2.open(cast(IO[bytes], raw))),  # noqa: SIM115
    ".tar.zst": (
        b"\x28\xb5\x2f\xfd",
        lambda raw: cast(
            IO[bytes],
            zstandard.ZstdDecompressor().stream_reader(cast(IO[bytes], raw), read_across_frames=True),
        ),
    ),
}


class Tarball:
    name = "tar"
    endings = tuple(COMPRESSIONS)

    def matches(self, path: Path) -> bool:
        ending = self._ending(path)
        if not ending or not path.is_file():
            return False
        with opened(path) as file:
            head = file.read(tarfile.BLOCKSIZE)
        return _is_tar(head) if ending == ".tar" else head.startswith(COMPRESSIONS[ending][0])

    def scan(self, path: Path, limits: Limits) -> Scan:
        holding, sha256 = self._read(path, Dry(), limits)
        return holding.scan(self.name, sha256)

    def unpack(self, path: Path, destination: Path, limits: Limits) -> str:
        _, sha256 = self._read(path, Disk(destination), limits)
        sync_tree(destination)
        return sha256

    # --- private

    def _ending(self, path: Path) -> str:
        return next((ending for ending in COMPRESSIONS if path.name.lower().endswith(ending)), "")

    def _read(self, path: Path, sink: Sink, limits: Limits) -> tuple[Holding, str]:
        with opened(path) as file, damage_named(path):
            if self._ending(path) == ".tar.zst":
                check_frames(file)
            size = os.fstat(file.fileno()).st_size
            raw = HashingReader(file, path)
            with COMPRESSIONS[self._ending(path)][1](raw) as plain:
                holding = admit(_entries(_Bounded(plain)), sink, limits, size)
                return holding, raw.digest()


class _Header(tarfile.TarInfo):
    """tarfile takes a damaged header, or the file's end, for the end of the archive; here only the end mark is that."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        if not buf:
            raise EOFError("the mark at the end of a tar archive is missing")
        if buf.count(0) == tarfile.BLOCKSIZE:
            return super().frombuf(buf, encoding, errors)
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            raise ValueError(f"a header of the tar archive is wrong: {error}") from error
        if header.size < 0:
            raise ValueError("a header of the tar archive is wrong: negative size")
        return header


class _Bounded:
    """The decompressed stream. Content may be read freely, headers only within MAX_HEADER."""

    def __init__(self, plain: IO[bytes]) -> None:
        self._plain = plain
        self._headers_left: int | None = MAX_HEADER

    def read(self, size: int) -> bytes:
        data = self._plain.read(size)
        if self._headers_left is not None:
            self._headers_left -= len(data)
            if self._headers_left < 0:
                raise ArtifactError(f"the headers of an entry are longer than {MAX_HEADER // 1024} KiB")
        return data

    def content(self) -> None:
        self._headers_left = None

    def header(self) -> None:
        self._headers_left = MAX_HEADER


def _entries(stream: _Bounded) -> Iterator[Entry]:
    with tarfile.open(
        fileobj=cast(IO[bytes], stream), mode="r|", tarinfo=_Header, encoding="utf-8", errors="surrogateescape"
    ) as tar:
        while True:
            stream.header()
            info = tar.next()
            stream.content()
            if info is None:
                break
            # tarfile keeps every header it has read; a large archive would fill the memory.
            tar.members = []  # type: ignore[attr-defined]
            yield _entry(tar, info)
        # Through tarfile, which has read ahead; and to the end, which is where the compressions keep their checksums.
        _expect_only_zeros(cast(IO[bytes], tar.fileobj))


def _expect_only_zeros(rest: IO[bytes]) -> None:
    left = MAX_PADDING
    while data := rest.read(CHUNK):
        left -= len(data)
        if left < 0 or data.count(0) != len(data):
            raise ArtifactError("more data follows the end of the tar archive: were two archives joined?")


def _entry(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Entry:
    if info.isreg():
        return Entry(info.name, "file", info.mode & 0o7777, chunks=lambda: _content(tar, info))
    if info.isdir():
        return Entry(info.name, "directory", info.mode & 0o7777)
    if info.issym():
        return Entry(info.name, "symlink", target=info.linkname)
    if info.islnk():
        return Entry(info.name, "hardlink", target=info.linkname)
    kinds = {tarfile.CHRTYPE: "a character device", tarfile.BLKTYPE: "a block device", tarfile.FIFOTYPE: "a fifo"}
    return Entry(info.name, "other", target=kinds.get(info.type, f"of the unknown type {info.type!r}"))


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Iterator[bytes]:
    file = tar.extractfile(info)
    assert file is not None
    left = info.size
    while left:
        chunk = file.read(min(CHUNK, left))
        if not chunk:
            raise EOFError(f"the content of {info.name!r} ends too early")
        left -= len(chunk)
        yield chunk


def _is_tar(head: bytes) -> bool:
    if len(head) == tarfile.BLOCKSIZE and head.count(0) == tarfile.BLOCKSIZE:
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
