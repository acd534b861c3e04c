"""The one loop that every artifact goes through, and the rules it holds entries to.

    entries of an archive or directory ──► admit() ──► Sink      Dry: a scan, nothing is written
                                              │                  Disk: an unpack (artifacts/sink.py)
                                              └──► Holding       what there is

A scan and an unpack run the same rules over the same entries in the same order, so a scan refuses exactly what an
unpack refuses. The rules are decided on a tree kept in memory, never by asking the disk; symlinks are made last, when
it is known where each one leads, so nothing can be written through one.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal, Protocol

from longshore.artifacts.base import ArtifactError, Limits, Scan
from longshore.artifacts.tree import Tree, normalised

#: Bytes read, hashed and written at a time.
CHUNK = 1024 * 1024

#: A Procfile is a few lines; more is another file of that name, and would only be carried about in memory.
MAX_PROCFILE = 64 * 1024

Kind = Literal["file", "directory", "symlink", "hardlink", "other"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as its archive or directory describes it, not yet trusted."""

    name: str
    kind: Kind
    #: permission bits; None: not recorded (a zip made on Windows), then the content decides whether it is a program
    mode: int | None = None
    #: of a symlink as it stands, of a hard link the name of an entry; of `other` what it is, for the message
    target: str = ""
    #: content of a file, read at most once and before the next entry
    chunks: Callable[[], Iterator[bytes]] | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """What an artifact holds. entries: files, directories and links; size_bytes: of the files, unpacked."""

    entries: int
    size_bytes: int
    procfile: str | None
    executables: tuple[str, ...]

    def scan(self, kind: str, sha256: str) -> Scan:
        return Scan(kind, sha256, self.entries, self.size_bytes, self.procfile, self.executables)


class Sink(Protocol):
    """Where admitted entries go. Paths are relative, normalised and safe; parents come before what they hold."""

    def directory(self, path: str, mode: int) -> None:
        """Make it, or give the one that is there this mode."""

    def file(self, path: str, mode: int, chunks: Iterator[bytes]) -> None:
        """Write it, consuming all of `chunks`."""

    def copy(self, path: str, source: str) -> None:
        """Copy a file that was written before, mode included."""

    def symlink(self, path: str, target: str) -> None:
        """Make it; comes after all files and directories."""


class Dry:
    """The sink of a scan: reads all of it, writes nothing."""

    def directory(self, path: str, mode: int) -> None:
        pass

    def file(self, path: str, mode: int, chunks: Iterator[bytes]) -> None:
        for _ in chunks:
            pass

    def copy(self, path: str, source: str) -> None:
        pass

    def symlink(self, path: str, target: str) -> None:
        pass


def admit(entries: Iterable[Entry], sink: Sink, limits: Limits, archive_bytes: int | None = None) -> Holding:
    """Let through to `sink` what the rules of docs/guide/artifacts.md allow; for anything else refuse all of it.

    archive_bytes   size of the archive file, for the ratio; None: there is none (a directory)
    Raises          ArtifactError naming the entry and the rule, at the first entry that breaks one.
    """
    guard = _Guard(sink, limits, archive_bytes)
    for entry in entries:
        guard.admit(entry)
    return guard.finish()


def is_program(head: bytes) -> bool:
    """Whether a file with these first bytes is one the kernel executes: ELF, or a script with an interpreter line."""
    return head.startswith((b"\x7fELF", b"#!"))


def file_mode(mode: int) -> int:
    """The mode a file is released with: its owner may read and write it, nobody else may write it."""
    return (mode & 0o755) | 0o600


def directory_mode(mode: int) -> int:
    return (mode & 0o755) | 0o700


# --- private


class _Guard:
    def __init__(self, sink: Sink, limits: Limits, archive_bytes: int | None) -> None:
        self.sink = sink
        self.limits = limits
        self.archive_bytes = archive_bytes
        self.tree = Tree()
        self.size_bytes = 0
        #: names and link targets, which fill a disk and a memory as well as content does
        self.name_bytes = 0
        self.procfile: bytes | None = None
        self.executables: list[str] = []

    def admit(self, entry: Entry) -> None:
        self._check_bits(entry)
        path = normalised(entry.name, "entry")
        self._count(names=len(entry.name) + len(entry.target))
        if not path:
            if entry.kind != "directory":
                raise ArtifactError(f"entry {entry.name!r} is a {entry.kind} in place of the top directory")
            return
        for parent in self.tree.open_parents(path, entry.name):
            self.sink.directory(parent, 0o755)
        match entry.kind:
            case "directory":
                self.tree.add_directory(path)
                self.sink.directory(path, directory_mode(0o755 if entry.mode is None else entry.mode))
            case "file":
                self.tree.add_file(path)
                self._file(path, entry)
            case "symlink":
                self.tree.add_symlink(path, entry.target)
            case "hardlink":
                self._hard_link(path, entry)
            case "other":
                raise ArtifactError(
                    f"entry {entry.name!r} is {entry.target}: only files, directories and links can be released"
                )
        self._count()

    def finish(self) -> Holding:
        for path, target in self.tree.checked_symlinks():
            self.sink.symlink(path, target)
        return Holding(len(self.tree), self.size_bytes, self._procfile_text(), tuple(sorted(self.executables)))

    def _check_bits(self, entry: Entry) -> None:
        # On a directory setgid only makes new files inherit its group; it is dropped, as file_mode() drops other bits.
        if entry.kind == "file" and entry.mode is not None and entry.mode & (stat.S_ISUID | stat.S_ISGID):
            raise ArtifactError(
                f"entry {entry.name!r} has the setuid or setgid bit: clear it (chmod u-s,g-s) before you pack it"
            )

    def _file(self, path: str, entry: Entry) -> None:
        assert entry.chunks is not None
        chunks = entry.chunks()
        head = next(chunks, b"")
        mode = entry.mode if entry.mode is not None else (0o755 if is_program(head) else 0o644)
        if path == "Procfile":
            self.procfile = b""
        before = self.size_bytes
        self.sink.file(path, file_mode(mode), self._counted(path, chain([head], chunks)))
        self.tree.files[path] = self.size_bytes - before
        if "/" not in path and mode & 0o111 and path.isprintable():
            self.executables.append(path)

    def _counted(self, path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._count(content=len(chunk))
            if path == "Procfile":
                self.procfile = (self.procfile or b"") + chunk
                if len(self.procfile) > MAX_PROCFILE:
                    raise ArtifactError(f"'Procfile' is longer than {MAX_PROCFILE // 1024} KiB, so it cannot be one")
            yield chunk

    def _hard_link(self, path: str, entry: Entry) -> None:
        source = normalised(entry.target, f"hard link {entry.name!r} leads to a name that")
        if source not in self.tree.files:
            raise ArtifactError(
                f"hard link {entry.name!r} leads to {entry.target!r}, which is no file that comes before it"
            )
        self.tree.add_file(path)
        self.tree.files[path] = self.tree.files[source]
        self._count(content=self.tree.files[source])
        self.sink.copy(path, source)
        if "/" not in path and source in self.executables:
            self.executables.append(path)

    def _count(self, content: int = 0, names: int = 0) -> None:
        self.size_bytes += content
        self.name_bytes += names
        limits = self.limits
        if limits.stop():
            raise ArtifactError("it was not read to its end: whoever wanted it has gone")
        if len(self.tree) > limits.max_entries:
            raise ArtifactError(f"it holds more than {limits.max_entries} entries, the limit of this manager")
        if self.size_bytes > limits.max_bytes:
            raise ArtifactError(f"it unpacks to more than {limits.max_bytes} bytes, the limit of this manager")
        unpacked = self.size_bytes + self.name_bytes
        if (
            self.archive_bytes is not None
            and unpacked > limits.ratio_floor_bytes
            and unpacked > limits.max_ratio * self.archive_bytes
        ):
            raise ArtifactError(
                f"it unpacks to more than {limits.max_ratio:g} times its {self.archive_bytes} bytes: "
                "that is what a decompression bomb does; the limit of this manager can be raised"
            )

    def _procfile_text(self) -> str | None:
        if self.procfile is None:
            return None
        try:
            return self.procfile.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ArtifactError(f"'Procfile' is not UTF-8 text: {error.reason} at byte {error.start}") from error
