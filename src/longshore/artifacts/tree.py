"""The tree an artifact unpacks to, kept in memory: which names it may hold and where its links lead."""

from __future__ import annotations

import os
from collections.abc import Iterator

from longshore.artifacts.base import ArtifactError

#: Linux: NAME_MAX, bytes of one part of a path.
MAX_PART = 255
#: Linux' PATH_MAX is 4096 with the directory it is unpacked into; half of it for each.
MAX_PATH = 2048
#: Deeper than any tree a build makes; bounds what one entry can cause to be made.
MAX_DEPTH = 128
#: Linux follows 40 links, then says ELOOP.
MAX_LINKS = 40


def normalised(name: str, what: str) -> str:
    """The relative path that `name` means, without "." and doubled slashes; "" for the top itself.

    what     begins the message, such as "entry"
    Raises   ArtifactError for a name that is absolute, has "..", holds NUL, or that no file system takes.
    """
    if "\0" in name:
        raise ArtifactError(f"{what} {name!r} has a NUL byte in its name")
    if name.startswith("/"):
        raise ArtifactError(f"{what} {name!r} is absolute: names in an artifact are relative")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ArtifactError(f"{what} {name!r} has '..' in its name: it could lead out of the release")
    if len(parts) > MAX_DEPTH:
        raise ArtifactError(f"{what} {name[:80]!r}… is more than {MAX_DEPTH} directories deep")
    path = "/".join(parts)
    if len(_encoded(path)) > MAX_PATH or any(len(_encoded(part)) > MAX_PART for part in parts):
        raise ArtifactError(
            f"{what} {name[:80]!r}… is too long: {MAX_PART} bytes for a part and {MAX_PATH} for the whole is the most"
        )
    return path


class Tree:
    """Paths by what they are. A path is added once; only a directory may be named again."""

    def __init__(self) -> None:
        self.directories: set[str] = set()
        #: path → bytes
        self.files: dict[str, int] = {}
        self.symlinks: dict[str, str] = {}
        self._resolved: dict[str, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self.directories) + len(self.files) + len(self.symlinks)

    def open_parents(self, path: str, name: str) -> Iterator[str]:
        """The directories above `path` that no entry has named yet, top first; they are added."""
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            if parent in self.directories:
                continue
            if parent in self.symlinks:
                raise ArtifactError(
                    f"entry {name!r} lies below {parent!r}, which is a link: it could be written elsewhere"
                )
            if parent in self.files:
                raise ArtifactError(f"entry {name!r} lies below {parent!r}, which is a file")
            self.directories.add(parent)
            yield parent

    def add_directory(self, path: str) -> None:
        if path in self.files or path in self.symlinks:
            raise ArtifactError(f"entry {path!r} is there twice: once as a directory, once not")
        self.directories.add(path)

    def add_file(self, path: str) -> None:
        self._must_be_new(path)
        self.files[path] = 0

    def add_symlink(self, path: str, target: str) -> None:
        self._must_be_new(path)
        if not target or "\0" in target or len(_encoded(target)) > MAX_PATH:
            raise ArtifactError(f"link {path!r} leads to {target[:80]!r}, which is no usable target")
        if target.startswith("/"):
            raise ArtifactError(
                f"link {path!r} leads to the absolute path {target!r}: only relative links can be released"
            )
        self.symlinks[path] = target

    def checked_symlinks(self) -> Iterator[tuple[str, str]]:
        """All symlinks and their targets, when every one is known to stay inside, through whatever chain of links."""
        for path in self.symlinks:
            self._resolve_link(path, 0)
        yield from self.symlinks.items()

    # --- private

    def _must_be_new(self, path: str) -> None:
        if path in self.files or path in self.symlinks or path in self.directories:
            raise ArtifactError(f"entry {path!r} is there twice")

    def _resolve_link(self, path: str, links: int) -> tuple[str, ...]:
        """Where the link at `path` ends, as parts from the top. A part that does not exist is taken as a directory."""
        if path in self._resolved:
            return self._resolved[path]
        if links > MAX_LINKS:
            raise ArtifactError(f"link {path!r} goes in a circle, or through more than {MAX_LINKS} links")
        place: tuple[str, ...] = tuple(path.split("/")[:-1])
        for part in self.symlinks[path].split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                if not place:
                    raise ArtifactError(f"link {path!r} leads out of the release: {self.symlinks[path]!r}")
                place = place[:-1]
                continue
            place = (*place, part)
            here = "/".join(place)
            if here in self.symlinks:
                place = self._resolve_link(here, links + 1)
        self._resolved[path] = place
        return place


def _encoded(name: str) -> bytes:
    try:
        return os.fsencode(name)
    except UnicodeEncodeError as error:
        raise ArtifactError(f"name {name!r} cannot be written to a file system: it is not Unicode text") from error
