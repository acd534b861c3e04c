"""Artifacts: what releases come from."""

from __future__ import annotations

import stat
from pathlib import Path

from longshore.artifacts.base import Artifact, ArtifactError, ArtifactMissing, Limits, Scan
from longshore.artifacts.binary import Binary
from longshore.artifacts.directory import Directory
from longshore.artifacts.reading import opened, unreadable
from longshore.artifacts.tarball import Tarball
from longshore.artifacts.zipfile import Zip

__all__ = ["ARTIFACTS", "Artifact", "ArtifactError", "ArtifactMissing", "Limits", "Scan", "find"]

# To add an artifact kind: a file here whose class has name, matches(), scan() and unpack(), all entries through
# guard.admit(); a line below, before "file", which takes what no other does; its endings in binary.py; a builder in
# tests/support/artifacts.py, a section in docs/guide/artifacts.md. tests/contracts/test_artifacts.py then covers it.
ARTIFACTS: dict[str, Artifact] = {
    "directory": Directory(),
    "tar": Tarball(),
    "zip": Zip(),
    "file": Binary(),
}

_SPECIAL = {stat.S_IFIFO: "a fifo", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def find(path: Path) -> Artifact:
    """The kind of artifact at `path`.

    Raises  ArtifactMissing where there is nothing or it cannot be read; ArtifactError for what is neither a file nor a
            directory, and for a file whose content is not what its ending says.
    """
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError) as error:
        raise unreadable(path, error if isinstance(error, OSError) else OSError(str(error))) from error
    if kind in _SPECIAL:
        raise ArtifactError(f"{str(path)!r} is {_SPECIAL[kind]}: an artifact is a file or a directory")
    for artifact in ARTIFACTS.values():
        if artifact.matches(path):
            return artifact
    with opened(path) as file:
        head = file.read(6)
    raise ArtifactError(
        f"the content of {path.name!r} is not what its ending says (its first bytes: {head.hex(' ') or 'none'}): "
        "name it after what it is, such as .tar.gz for a gzipped tar archive, or pack it again"
    )
