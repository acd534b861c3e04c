"""What a release comes from: the interface every artifact kind implements, and the rules they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class ArtifactError(Exception):
    """The artifact cannot be used. The message names the entry and the rule, for people."""


class ArtifactMissing(ArtifactError):
    """The artifact does not exist or cannot be read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what an archive may unpack to."""

    max_entries: int = 200_000
    #: all files together, unpacked
    max_bytes: int = 20 * 1024**3
    #: unpacked size against the size of the archive; only asked once `ratio_floor_bytes` have been unpacked
    max_ratio: float = 200.0
    ratio_floor_bytes: int = 64 * 1024**2
    #: asked at every entry and every MiB; where it says True nobody waits for the rest, and ArtifactError is raised
    stop: Callable[[], bool] = field(default=bool, compare=False)


@dataclass(frozen=True, slots=True)
class Scan:
    """What an artifact holds, found without writing anything."""

    kind: str
    #: of the file; of a directory, of its sorted listing (path, mode, content)
    sha256: str
    entries: int
    #: unpacked
    size_bytes: int
    #: text of a Procfile at the top, if any
    procfile: str | None
    #: relative paths of the executable files at the top level (or the single file itself)
    executables: tuple[str, ...]


class Artifact(Protocol):
    """One kind of artifact. All of it is synchronous and is called in a thread."""

    name: str

    def matches(self, path: Path) -> bool:
        """Whether this kind takes the path, by content and full suffix. The first of ARTIFACTS that says yes has it."""

    def scan(self, path: Path, limits: Limits) -> Scan:
        """Read all of it, write nothing. Raises ArtifactError for everything unpack() would refuse."""

    def unpack(self, path: Path, destination: Path, limits: Limits) -> str:
        """Unpack into `destination`, an existing empty directory, in one pass. Returns the SHA-256 of what was read.
        Raises ArtifactError; the caller then removes `destination`."""
