"""Manifests: what a tree consists of, in the same bytes whether Python lists it here or a shell does on a host.

A *listing* is a sequence of records that end with NUL, sorted by their bytes, in two parts:

    d MODE PATH              a directory; MODE in octal
    f MODE SIZE PATH         a file; SIZE in bytes
    l PATH//TARGET           a symbolic link (a path below the top never has "//" in it)
    ? PATH                   anything else: a release has none

    SHA256  ./PATH           the content of each file, as `sha256sum --zero` says it

The function `list` of scripts.py makes one with find, sort and sha256sum. The SHA-256 of a listing is the *digest* of
the manifest: where it is the same, two trees have the same names, modes, links and content. Owners and times do not
count.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from longshore.disk import FilesError, explained


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree. mode: permission bits, 0 for a link; content: the SHA-256 of a file in hex, the target of a
    link, "" for a directory; size: bytes of a file."""

    kind: Literal["d", "f", "l", "?"]
    mode: int = 0
    size: int = 0
    content: str = ""


@dataclass(frozen=True)
class Manifest:
    """entries: by path relative to the top, without "./"; names that are no UTF-8 as os.fsdecode() gives them."""

    entries: Mapping[str, Entry]

    @cached_property
    def listing(self) -> bytes:
        found = sorted(_facts(path, entry) for path, entry in self.entries.items())
        files = sorted((os.fsencode(path), entry) for path, entry in self.entries.items() if entry.kind == "f")
        return b"".join((*found, *(b"%s  ./%s\0" % (entry.content.encode(), path) for path, entry in files)))

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self.listing).hexdigest()

    @cached_property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(entry.size for entry in self.entries.values())

    def files(self) -> Iterator[tuple[str, Entry]]:
        return ((path, entry) for path, entry in self.entries.items() if entry.kind == "f")

    def without(self, paths: frozenset[str]) -> Manifest:
        return Manifest({path: entry for path, entry in self.entries.items() if path not in paths}) if paths else self


def read_manifest(top: Path) -> Manifest:
    """The manifest of what stands at `top`; every file is read. Raises FilesError."""
    entries: dict[str, Entry] = {}
    with explained(top):
        _read(top, "", entries)
    return Manifest(entries)


def read_parts(top: Path, paths: list[str]) -> Manifest:
    """As read_manifest(), of `paths` alone, with what lies below them and the directories above. What is not there is
    an empty directory. Raises FilesError."""
    entries: dict[str, Entry] = {}
    with explained(top):
        for path in paths:
            for parent in Path(path).parents:
                if str(parent) != ".":
                    entries.setdefault(str(parent), Entry("d", 0o755))
            place = top / path
            entries[path] = _entry(place) if os.path.lexists(place) else Entry("d", 0o755)
            if entries[path].kind == "d" and place.is_dir():
                _read(top, path, entries)
    return Manifest(entries)


def parse_listing(listing: bytes) -> Manifest:
    """Raises ValueError for what is no listing."""
    entries: dict[str, Entry] = {}
    for record in os.fsdecode(listing).split("\0")[:-1]:
        kind, rest = record[0], record[2:]
        if record[1] != " ":
            content, path = record[:64], record[64:].removeprefix("  ./")
            entries[path] = Entry("f", entries[path].mode, entries[path].size, content)
        elif kind == "d":
            mode, path = rest.split(" ", 1)
            entries[path] = Entry("d", int(mode, 8))
        elif kind == "f":
            mode, size, path = rest.split(" ", 2)
            entries[path] = Entry("f", int(mode, 8), int(size))
        elif kind == "l":
            path, target = rest.split("//", 1)
            entries[path] = Entry("l", content=target)
        else:
            entries[rest] = Entry("?")
    return Manifest(entries)


# --- private


def _facts(path: str, entry: Entry) -> bytes:
    if entry.kind == "d":
        record = f"d {entry.mode:o} {path}\0"
    elif entry.kind == "f":
        record = f"f {entry.mode:o} {entry.size} {path}\0"
    elif entry.kind == "l":
        record = f"l {path}//{entry.content}\0"
    else:
        record = f"? {path}\0"
    return os.fsencode(record)


def _read(top: Path, below: str, entries: dict[str, Entry]) -> None:
    with os.scandir(top / below) as listed:
        found = list(listed)
    for item in found:
        path = f"{below}/{item.name}" if below else item.name
        entries[path] = entry = _entry(Path(item.path))
        if entry.kind == "d":
            _read(top, path, entries)


def _entry(place: Path) -> Entry:
    facts = place.lstat()
    mode = stat.S_IMODE(facts.st_mode)
    if stat.S_ISDIR(facts.st_mode):
        return Entry("d", mode)
    if stat.S_ISLNK(facts.st_mode):
        return Entry("l", content=str(place.readlink()))
    if stat.S_ISREG(facts.st_mode):
        with place.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return Entry("f", mode, facts.st_size, content)
    raise FilesError(f"{str(place)!r} is a device, fifo or socket: those cannot be sent to hosts, remove it")
