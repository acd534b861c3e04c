"""Releases made by hand: a working directory of the manager with versions in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from longshore.artifacts import Limits
from longshore.files import WorkingDirectory


class File(NamedTuple):
    content: bytes
    mode: int = 0o644


class Link(NamedTuple):
    target: str


class Folder(NamedTuple):
    mode: int = 0o755


Tree = Mapping[str, bytes | File | Link | Folder]


def plant(top: Path, tree: Tree) -> Path:
    """Make a tree; directories above files are made as needed."""
    top.mkdir(parents=True, exist_ok=True)
    folders = {name: what.mode for name, what in tree.items() if isinstance(what, Folder)}
    for name, what in tree.items():
        place = top / name
        if isinstance(what, Folder):
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, Link):
            place.symlink_to(what.target)
        else:
            file = what if isinstance(what, File) else File(what)
            place.write_bytes(file.content)
            place.chmod(file.mode)
    for name, mode in sorted(folders.items(), reverse=True):
        (top / name).chmod(mode)
    return top


def unpack(local: WorkingDirectory, version: str, tree: Tree, shared: Sequence[str] = ()) -> Path:
    """A release of the manager's, of a tree, by way of an artifact."""
    artifact = plant(local.path.parent / f"artifact-{local.path.name}-{version}", tree)
    return local.unpack_release(artifact, version, "", shared, Limits(), None).path


def seen(top: Path) -> dict[str, tuple[str, int, bytes]]:
    """What stands there, told by nothing of the code under test: kind, mode and content or target of each name."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for directory, folders, files in os.walk(os.fsencode(top)):
        for name in (*folders, *files):
            place = os.path.join(directory, name)  # noqa: PTH118
            key = os.fsdecode(os.path.relpath(place, os.fsencode(top)))
            facts = os.lstat(place)
            if os.path.islink(place):  # noqa: PTH114
                found[key] = ("link", 0, os.readlink(place))  # noqa: PTH115
            elif os.path.isdir(place):  # noqa: PTH112
                found[key] = ("directory", facts.st_mode & 0o7777, b"")
            else:
                with open(place, "rb") as file:  # noqa: PTH123
                    found[key] = ("file", facts.st_mode & 0o7777, file.read())
    return found
