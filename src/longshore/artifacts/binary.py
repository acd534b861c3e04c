"""Any other single file: the release is that file, under its own name."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from longshore.artifacts.base import Limits, Scan
from longshore.artifacts.guard import CHUNK, Dry, Entry, Holding, Sink, admit, is_program
from longshore.artifacts.reading import HashingReader, opened
from longshore.artifacts.sink import Disk
from longshore.artifacts.tarball import Tarball
from longshore.artifacts.zipfile import Zip
from longshore.disk import sync_tree

#: A file with one of these endings is that kind of archive or a mistake, never a program to copy.
_ARCHIVE_ENDINGS = (*Tarball.endings, *Zip.endings)


class Binary:
    name = "file"

    def matches(self, path: Path) -> bool:
        return path.is_file() and not path.name.lower().endswith(_ARCHIVE_ENDINGS)

    def scan(self, path: Path, limits: Limits) -> Scan:
        holding, sha256 = self._read(path, Dry(), limits)
        return holding.scan(self.name, sha256)

    def unpack(self, path: Path, destination: Path, limits: Limits) -> str:
        _, sha256 = self._read(path, Disk(destination), limits)
        sync_tree(destination)
        return sha256

    # --- private

    def _read(self, path: Path, sink: Sink, limits: Limits) -> tuple[Holding, str]:
        with opened(path) as file:
            raw = HashingReader(file, path)
            head = raw.read(CHUNK)
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if is_program(head):
                # Uploads and downloads lose the executable bit: whoever may read a program may run it.
                mode |= (mode & 0o444) >> 2

            def content() -> Iterator[bytes]:
                return chain([head], raw.chunks())

            holding = admit([Entry(path.name, "file", mode, chunks=content)], sink, limits)
            return holding, raw.digest()
