"""Builders of artifacts, good and hostile, for every kind of ARTIFACTS."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import zstandard


@dataclass(frozen=True)
class Item:
    """One entry to pack. kind: file, directory, symlink, hardlink, fifo."""

    name: str
    content: bytes = b""
    mode: int = 0o644
    kind: str = "file"
    target: str = ""


def directory(name: str, mode: int = 0o755) -> Item:
    return Item(name, mode=mode, kind="directory")


def symlink(name: str, target: str) -> Item:
    return Item(name, kind="symlink", target=target)


APP = (
    directory("bin"),
    Item("bin/tool", b"#!/bin/sh\necho tool\n", 0o755),
    Item("server", b"\x7fELF not really", 0o755),
    Item("Procfile", b"web: ./server --port $PORT\nworker: bin/tool\n"),
    Item("static/deep/page.html", b"<p>hello</p>"),
    Item("empty"),
    directory("void"),
    symlink("latest", "static/deep/page.html"),
    symlink("static/up", "../bin"),
)

_TAR_TYPES = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def tar_bytes(items: tuple[Item, ...], format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.type, info.mode, info.linkname, info.size = (
                _TAR_TYPES[item.kind], item.mode, item.target, len(item.content)
            )  # fmt: skip
            tar.addfile(info, io.BytesIO(item.content))
    return buffer.getvalue()


def zip_bytes(items: tuple[Item, ...]) -> bytes:
    types = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in items:
            info = zipfile.ZipInfo(item.name + ("/" if item.kind == "directory" else ""))
            info.create_system = 3
            info.external_attr = (types[item.kind] | item.mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Duplicate name")
                archive.writestr(info, os.fsencode(item.target) if item.kind == "symlink" else item.content)
    return buffer.getvalue()


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": lambda data: data,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.xz": lzma.compress,
    ".tar.bz2": bz2.compress,
    ".tar.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}

#: kind of ARTIFACTS → the endings to build it with
FORMS: dict[str, tuple[str, ...]] = {"directory": ("",), "tar": tuple(_COMPRESS), "zip": (".zip",), "file": (".bin",)}

#: ending → kind, for those that hold a tree
TREE_ENDINGS = {ending: kind for kind, endings in FORMS.items() for ending in endings if kind != "file"}


def build(where: Path, ending: str, items: tuple[Item, ...], stem: str = "app") -> Path:
    """Pack the items below `where`. A single-file artifact is the content of the first item."""
    path = where / f"{stem}{ending}"
    if ending == "":
        _build_directory(path, items)
    elif ending == ".zip":
        path.write_bytes(zip_bytes(items))
    elif ending == ".bin":
        path.write_bytes(items[0].content)
        path.chmod(items[0].mode)
    else:
        path.write_bytes(_COMPRESS[ending](tar_bytes(items)))
    return path


def _build_directory(path: Path, items: tuple[Item, ...]) -> None:
    path.mkdir()
    for item in items:
        place = path / item.name
        place.parent.mkdir(parents=True, exist_ok=True)
        match item.kind:
            case "file":
                place.write_bytes(item.content)
                place.chmod(item.mode)
            case "directory":
                place.mkdir(exist_ok=True)
                place.chmod(item.mode)
            case "symlink":
                place.symlink_to(item.target)
            case "hardlink":
                place.hardlink_to(path / item.target)
            case "fifo":
                os.mkfifo(place)


def tree_of(path: Path) -> dict[str, tuple[str, int, bytes]]:
    """relative path → (kind, mode, content or link target) of all that is below `path`."""
    found: dict[str, tuple[str, int, bytes]] = {}
    for place in path.rglob("*"):
        facts = place.lstat()
        name, mode = str(place.relative_to(path)), stat.S_IMODE(facts.st_mode)
        if stat.S_ISLNK(facts.st_mode):
            found[name] = ("symlink", 0, os.fsencode(place.readlink()))
        elif stat.S_ISDIR(facts.st_mode):
            found[name] = ("directory", mode, b"")
        else:
            found[name] = ("file", mode, place.read_bytes())
    return found
