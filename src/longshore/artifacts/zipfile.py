"""Zip archives."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from longshore.artifacts.base import ArtifactError, Limits, Scan
from longshore.artifacts.guard import CHUNK, Dry, Entry, Holding, Sink, admit
from longshore.artifacts.reading import HashingReader, damage_named, opened
from longshore.artifacts.sink import Disk
from longshore.artifacts.tree import MAX_PATH
from longshore.disk import sync_tree

#: `create_system` of an entry whose upper attribute bits are a Unix mode (APPNOTE 4.4.2: 3 is Unix, 19 is OS X).
_UNIX = (3, 19)
_ENCRYPTED = 0x1
#: a local header without its name and extra fields (APPNOTE 4.3.7)
_LOCAL_HEADER = 30


class Zip:
    name = "zip"
    endings = (".zip",)

    def matches(self, path: Path) -> bool:
        if not path.name.lower().endswith(self.endings) or not path.is_file():
            return False
        with opened(path) as file:
            # The list at the end is not asked for here, so that a zip cut short is reported as just that.
            return file.read(2) == b"PK" or zipfile.is_zipfile(file)

    def scan(self, path: Path, limits: Limits) -> Scan:
        holding, sha256 = self._read(path, Dry(), limits)
        return holding.scan(self.name, sha256)

    def unpack(self, path: Path, destination: Path, limits: Limits) -> str:
        _, sha256 = self._read(path, Disk(destination), limits)
        sync_tree(destination)
        return sha256

    # --- private

    def _read(self, path: Path, sink: Sink, limits: Limits) -> tuple[Holding, str]:
        with opened(path) as file, damage_named(path):
            # The list of a zip stands at its end, so the file is read once for the hash and once, from memory that the
            # first reading filled, for the content: on one descriptor, so of one and the same file.
            sha256 = HashingReader(file, path).digest()
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
                _check_overlap(infos)
                entries = (_entry(archive, info) for info in infos)
                return admit(entries, sink, limits, os.fstat(file.fileno()).st_size), sha256


def _check_overlap(infos: list[zipfile.ZipInfo]) -> None:
    """Entries that share data are how a small zip unpacks to petabytes (D. Fifield, "A better zip bomb", 2019)."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise ArtifactError(f"entry {info.filename!r} overlaps another one: that is what a decompression bomb does")
        end = info.header_offset + _LOCAL_HEADER + info.compress_size


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    # zipfile cuts `filename` at a NUL; `orig_filename` is what stands in the archive.
    name = info.orig_filename
    if "\\" in name:
        raise ArtifactError(f"entry {name!r} has a backslash in its name: pack it with a tool that writes '/'")
    if info.flag_bits & _ENCRYPTED:
        raise ArtifactError(f"entry {name!r} is encrypted: pack it without a password")
    mode = info.external_attr >> 16 if info.create_system in _UNIX else 0
    kind = stat.S_IFMT(mode)
    if name.endswith("/") or kind == stat.S_IFDIR:
        if info.file_size:
            raise ArtifactError(f"entry {name!r} is a directory with content")
        return Entry(name, "directory", stat.S_IMODE(mode) or None)
    if kind == stat.S_IFLNK:
        return Entry(name, "symlink", target=_link_target(archive, info))
    if kind not in (0, stat.S_IFREG):
        return Entry(name, "other", target="a device, fifo or socket")
    return Entry(name, "file", stat.S_IMODE(mode) or None, chunks=lambda: _content(archive, info))


def _link_target(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> str:
    if info.file_size > MAX_PATH:
        raise ArtifactError(f"link {info.filename!r} is {info.file_size} bytes long: the most is {MAX_PATH}")
    return archive.read(info).decode("utf-8", "surrogateescape")


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    left = info.file_size
    with archive.open(info) as file:
        # Asking once more at the end is what has zipfile compare the checksum, also of an empty file.
        while chunk := file.read(CHUNK):
            left -= len(chunk)
            yield chunk
    if left:
        raise EOFError(f"the content of {info.filename!r} ends {left} bytes too early")
