"""A directory on this machine, copied as it stands."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from longshore.artifacts.base import ArtifactError, Limits, Scan
from longshore.artifacts.guard import CHUNK, Dry, Entry, Holding, Sink, admit, directory_mode, file_mode
from longshore.artifacts.reading import opened, unreadable
from longshore.artifacts.sink import Disk
from longshore.disk import sync_tree


class Listing:
    """The SHA-256 of a tree: of one line for each entry, in the order they are added.

    A line is KIND SP MODE SP CONTENT SP PATH NUL: KIND `f`, `d` or `l`; MODE octal, as released, `-` for links;
    CONTENT the SHA-256 of a file in hex, the target of a link, `-` for a directory. Directories come before what they
    hold, names of one directory sorted by their bytes. Times, owners and write bits for others do not count.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, kind: str, mode: int | None, content: str, path: str) -> None:
        line = f"{kind} {'-' if mode is None else format(mode, 'o')} {content} {path}\0"
        self._hash.update(os.fsencode(line))

    def digest(self) -> str:
        return self._hash.hexdigest()


class Directory:
    name = "directory"

    def matches(self, path: Path) -> bool:
        return path.is_dir()

    def scan(self, path: Path, limits: Limits) -> Scan:
        holding, sha256 = self._read(path, Dry(), limits)
        return holding.scan(self.name, sha256)

    def unpack(self, path: Path, destination: Path, limits: Limits) -> str:
        if destination.resolve().is_relative_to(path.resolve()):
            raise ArtifactError(
                f"the artifact {str(path)!r} holds the directory it would be unpacked to: "
                "deploy from a directory outside of the working_directory"
            )
        _, sha256 = self._read(path, Disk(destination), limits)
        sync_tree(destination)
        return sha256

    # --- private

    def _read(self, path: Path, sink: Sink, limits: Limits) -> tuple[Holding, str]:
        listing = Listing()
        holding = admit(_entries(path, "", listing), sink, limits)
        return holding, listing.digest()


def _entries(top: Path, below: str, listing: Listing) -> Iterator[Entry]:
    place = top / below
    try:
        with os.scandir(place) as listed:
            found = sorted(listed, key=lambda item: os.fsencode(item.name))
    except OSError as error:
        raise unreadable(place, error) from error
    for item in found:
        name = f"{below}/{item.name}" if below else item.name
        try:
            mode = item.stat(follow_symlinks=False).st_mode
            target = str(Path(item.path).readlink()) if stat.S_ISLNK(mode) else ""
        except OSError as error:
            raise unreadable(Path(item.path), error) from error
        if stat.S_ISDIR(mode):
            listing.add("d", directory_mode(mode), "-", name)
            yield Entry(name, "directory", stat.S_IMODE(mode))
            yield from _entries(top, name, listing)
        elif stat.S_ISLNK(mode):
            listing.add("l", None, target, name)
            yield Entry(name, "symlink", target=target)
        elif stat.S_ISREG(mode):
            yield _file(top, name, stat.S_IMODE(mode), listing)
        else:
            yield Entry(name, "other", target="a device, fifo or socket")


def _file(top: Path, name: str, mode: int, listing: Listing) -> Entry:
    def chunks() -> Iterator[bytes]:
        content = hashlib.sha256()
        with opened(top / name, follow=False) as file:
            try:
                while chunk := file.read(CHUNK):
                    content.update(chunk)
                    yield chunk
            except OSError as error:
                raise unreadable(top / name, error) from error
        listing.add("f", file_mode(mode), content.hexdigest(), name)

    return Entry(name, "file", mode, chunks=chunks)
