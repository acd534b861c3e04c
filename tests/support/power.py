"""A disk that remembers what was done to it and what of that was promised to stay, to be read as a power cut leaves it.

The model is that of ALICE (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014) with the promises of
POSIX alone, which every journalling file system keeps and most go beyond:

- fsync and fdatasync of a file keep what was written to it, its size and its mode, but not its name;
- fsync of a directory keeps the names in it: what was made, renamed, linked and removed there;
- syncfs keeps everything;
- a rename is one step: it has happened or not. It is kept by an fsync of either directory;
- anything else that was done may have reached the disk or not, each by itself and in any order, a write in blocks of
  512 bytes.

As in CrashMonkey (Mohan et al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018) what
matters is the moment just before each promise, for then the most is open, and that just after.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: a disk writes a sector whole or not at all
SECTOR = 512


@dataclass(frozen=True, slots=True)
class Names:
    """Entries of directories that change in one step: (directory, name, inode; None: it is removed)."""

    entries: tuple[tuple[int, bytes, int | None], ...]


@dataclass(frozen=True, slots=True)
class Write:
    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Mode:
    inode: int
    mode: int


@dataclass(frozen=True, slots=True)
class Sync:
    """A promise about the first `covers` changes, as far as they concern the inode; None: all."""

    inode: int | None
    covers: int


Change = Names | Write | Truncate | Mode | Sync


@dataclass
class Inode:
    """target: of a symlink. mode: it is made with."""

    kind: str
    mode: int = 0o644
    target: bytes = b""


@dataclass
class Image:
    """What is on a disk: directories, and the content and mode of files."""

    inodes: dict[int, Inode]
    names: dict[int, dict[bytes, int]] = field(default_factory=lambda: {Disk.ROOT: {}})
    content: dict[int, bytearray] = field(default_factory=dict)
    modes: dict[int, int] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        match change:
            case Names(entries):
                for directory, name, inode in entries:
                    held = self.names.setdefault(directory, {})
                    if inode is None:
                        held.pop(name, None)
                    else:
                        held[name] = inode
            case Write(inode, offset, data):
                held_data = self.content.setdefault(inode, bytearray())
                if len(held_data) < offset:
                    held_data.extend(bytes(offset - len(held_data)))
                held_data[offset : offset + len(data)] = data
            case Truncate(inode, size):
                held_data = self.content.setdefault(inode, bytearray())
                del held_data[size:]
                held_data.extend(bytes(size - len(held_data)))
            case Mode(inode, mode):
                self.modes[inode] = mode

    def listing(self) -> dict[str, object]:
        """Path → None for a directory, the target of a link, (content, mode) of a file."""
        return {os.fsdecode(path): self._seen(inode) for path, inode in self._walk(Disk.ROOT, b"")}

    def lay(self, root: Path) -> None:
        """Make `root` this, whatever it was before."""
        if root.exists():
            shutil.rmtree(root)
        root.mkdir(mode=0o700)
        for path, number in self._walk(Disk.ROOT, b""):
            inode, place = self.inodes[number], os.path.join(os.fsencode(root), path)  # noqa: PTH118 - bytes
            if inode.kind == "link":
                os.symlink(inode.target, place)  # noqa: PTH211 - bytes
                continue
            if inode.kind == "directory":
                os.mkdir(place)  # noqa: PTH102
            else:
                with open(place, "wb", buffering=0) as file:  # noqa: PTH123
                    file.write(self.content.get(number, b""))
            os.chmod(place, self.modes.get(number, inode.mode))  # noqa: PTH101

    def _walk(self, directory: int, below: bytes) -> Iterator[tuple[bytes, int]]:
        for name, inode in self.names.get(directory, {}).items():
            path = below + b"/" + name if below else name
            yield path, inode
            if self.inodes[inode].kind == "directory":
                yield from self._walk(inode, path)

    def _seen(self, number: int) -> object:
        inode = self.inodes[number]
        if inode.kind == "link":
            return os.fsdecode(inode.target)
        if inode.kind == "directory":
            return None
        return bytes(self.content.get(number, b"")), self.modes.get(number, inode.mode)


class Disk:
    """Takes every change, in order. `time`: when the next one happens, for whoever asks later."""

    ROOT = 0

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.times: list[float] = []
        self.time = 0.0
        self._inodes: dict[int, Inode] = {self.ROOT: Inode("directory", 0o700)}
        #: as it looks to who uses it
        self._now = Image(self._inodes)

    def holds(self, root: Path) -> None:
        """What is below `root` is on the disk already, and stays."""
        self._take(self.ROOT, root)
        self.sync(None, len(self.changes))

    # ------------------------------------------------------------------------------------------- changing

    def create(self, directory: int, name: bytes, mode: int) -> int:
        return self._new(directory, name, Inode("file", mode))

    def make_directory(self, directory: int, name: bytes) -> int:
        return self._new(directory, name, Inode("directory", 0o755))

    def symlink(self, directory: int, name: bytes, target: bytes) -> int:
        return self._new(directory, name, Inode("link", target=target))

    def rename(self, old: int, name: bytes, new: int, other: bytes) -> None:
        self._do(Names(((old, name, None), (new, other, self.child(old, name)))))

    def link(self, old: int, name: bytes, new: int, other: bytes) -> None:
        self._do(Names(((new, other, self.child(old, name)),)))

    def unlink(self, directory: int, name: bytes) -> None:
        self._do(Names(((directory, name, None),)))

    def write(self, inode: int, offset: int, data: bytes) -> None:
        self._do(Write(inode, offset, data))

    def truncate(self, inode: int, size: int) -> None:
        self._do(Truncate(inode, size))

    def chmod(self, inode: int, mode: int) -> None:
        self._do(Mode(inode, mode))

    def sync(self, inode: int | None, covers: int) -> None:
        self._do(Sync(inode, covers))

    # ------------------------------------------------------------------------------------------- looking

    def find(self, directory: int, name: bytes) -> int | None:
        return self._now.names.get(directory, {}).get(name)

    def child(self, directory: int, name: bytes) -> int:
        found = self.find(directory, name)
        assert found is not None, f"there is no {name!r}"
        return found

    def is_link(self, inode: int) -> bool:
        return self._inodes[inode].kind == "link"

    def size(self, inode: int) -> int:
        return len(self._now.content.get(inode, b""))

    def content(self, inode: int) -> bytes:
        return bytes(self._now.content.get(inode, b""))

    def everything(self) -> Image:
        return self._now

    def promises(self) -> list[int]:
        """How many changes there were just before each promise."""
        return [index for index, change in enumerate(self.changes) if isinstance(change, Sync)]

    def what_is(self, at: int) -> str:
        """The change number `at`, for people."""
        change = self.changes[at]
        if isinstance(change, Write):
            return f"Write({self.path(change.inode)}, {change.offset}, {len(change.data)} bytes)"
        if isinstance(change, Names):
            return f"Names({[(self.path(d), n, i and self._inodes[i].kind) for d, n, i in change.entries]})"
        return f"{type(change).__name__}({self.path(change.inode)})"

    def path(self, inode: int | None) -> str:
        """The last name it had, by the names that were ever given."""
        if inode is None or inode == self.ROOT:
            return "/"
        for change in reversed(self.changes):
            if isinstance(change, Names):
                for directory, name, other in change.entries:
                    if other == inode:
                        return f"{self.path(directory).rstrip('/')}/{os.fsdecode(name)}"
        return f"inode {inode}"

    def cut(self, at: int, left: Left, numbers: random.Random) -> tuple[Image, list[int]]:
        """What is on the disk if the power is cut after `at` changes, and which of those that were open are."""
        kept = self._promised(at)
        loose = [i for i in range(at) if i not in kept and not isinstance(self.changes[i], Sync)]
        reached = left([self.changes[i] for i in loose], numbers)
        survived = {i: change for i, change in zip(loose, reached, strict=True) if change}
        image = Image(self._inodes)
        for index, change in enumerate(self.changes[:at]):
            if index in kept:
                image.apply(change)
            for each in survived.get(index, ()):
                image.apply(each)
        return image, list(survived)

    # --- private

    def _take(self, directory: int, place: Path) -> None:
        for path in sorted(place.iterdir()):
            name, mode = os.fsencode(path.name), path.lstat().st_mode & 0o777
            if path.is_symlink():
                self.symlink(directory, name, os.fsencode(path.readlink()))
            elif path.is_dir():
                self._take(self.make_directory(directory, name), path)
            else:
                self.write(self.create(directory, name, mode), 0, path.read_bytes())

    def _promised(self, at: int) -> set[int]:
        covers: dict[int | None, int] = {}
        for change in self.changes[:at]:
            if isinstance(change, Sync):
                covers[change.inode] = max(change.covers, covers.get(change.inode, 0))
        kept = set()
        for index, change in enumerate(self.changes[:at]):
            match change:
                case Names(entries):
                    concerned: Iterable[int | None] = [directory for directory, _, _ in entries]
                case Write(inode) | Truncate(inode) | Mode(inode):
                    concerned = [inode]
                case _:
                    continue
            if any(index < covers.get(each, 0) for each in (None, *concerned)):
                kept.add(index)
        return kept

    def _new(self, directory: int, name: bytes, inode: Inode) -> int:
        number = len(self._inodes)
        self._inodes[number] = inode
        self._do(Names(((directory, name, number),)))
        return number

    def _do(self, change: Change) -> None:
        self.changes.append(change)
        self.times.append(self.time)
        self._now.apply(change)


#: what of the open changes has reached the disk: for each the changes in its place, none if it is lost
Left = Callable[[list[Change], random.Random], list[tuple[Change, ...]]]


def nothing(loose: list[Change], _: random.Random) -> list[tuple[Change, ...]]:
    return [() for _ in loose]


def all_of_it(loose: list[Change], _: random.Random) -> list[tuple[Change, ...]]:
    return [(change,) for change in loose]


def names_only(loose: list[Change], _: random.Random) -> list[tuple[Change, ...]]:
    """New names for what was never written: the empty files after a rename without an fsync."""
    return [(change,) if isinstance(change, Names) else () for change in loose]


def content_only(loose: list[Change], _: random.Random) -> list[tuple[Change, ...]]:
    return [() if isinstance(change, Names) else (change,) for change in loose]


def in_order(loose: list[Change], numbers: random.Random) -> list[tuple[Change, ...]]:
    """Names in the order they were given, as a journal keeps them, up to some moment; of the content anything."""
    last = numbers.randrange(len(loose) + 1)
    rest = any_of_it(loose, numbers)
    return [
        ((change,) if index < last else ()) if isinstance(change, Names) else rest[index]
        for index, change in enumerate(loose)
    ]


def any_of_it(loose: list[Change], numbers: random.Random) -> list[tuple[Change, ...]]:
    share = numbers.choice((0.1, 0.5, 0.9))
    return [_some(change, share, numbers) for change in loose]


#: how a power cut can leave a disk, by name
LEFT: dict[str, Left] = {
    "nothing": nothing,
    "everything": all_of_it,
    "names": names_only,
    "content": content_only,
    "in-order": in_order,
    "any": any_of_it,
}


def _some(change: Change, share: float, numbers: random.Random) -> tuple[Change, ...]:
    if isinstance(change, Write) and len(change.data) > SECTOR and numbers.random() < 0.3:
        pieces = range(0, len(change.data), SECTOR)
        return tuple(
            Write(change.inode, change.offset + at, change.data[at : at + SECTOR])
            for at in pieces
            if numbers.random() < share
        )
    return (change,) if numbers.random() < share else ()
