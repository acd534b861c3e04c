"""Releases: the versions of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from longshore.model.spec import Spec


class ReleaseState(StrEnum):
    #: its directory is being made by a rollout
    fetching = "fetching"
    #: its directory is complete
    kept = "kept"
    #: its directory is gone
    pruned = "pruned"


@dataclass(frozen=True, slots=True)
class Release:
    """One version, unpacked and immutable, in `path`."""

    deployment: str
    version: str
    #: SHA-256 of the artifact: of the file, or of the listing of a directory (artifacts/directory.py)
    sha256: str
    spec: Spec
    #: what runs: a shell line or an argv; None is files only
    command: str | tuple[str, ...] | None
    path: str
    size_bytes: int
    state: ReleaseState
    created_at: float
    #: when it was first committed; None: never served, so never a target of a rollback
    healthy_at: float | None = None
    #: why it is never pruned, "" where nobody said; None: it may be
    pinned: str | None = None

    @property
    def runs(self) -> bool:
        return self.command is not None
