"""Releases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from longshore.client.results.base import Result


@dataclass(frozen=True, kw_only=True)
class Release(Result):
    """One version of a deployment. state: fetching | kept | pruned."""

    version: str
    state: str
    sha256: str = ""
    size_bytes: int = 0
    created_at: datetime | None = None
    #: when it was first committed; None: never served, so never a target of a rollback
    healthy_at: datetime | None = None
    #: it serves now
    current: bool = False
    #: it served before, and is what a rollback goes to
    previous: bool = False
    strategy: str = ""
    #: it is never pruned
    pinned: bool = False
    #: why, where somebody said so
    pinned_reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Releases(Result):
    releases: tuple[Release, ...]


@dataclass(frozen=True, kw_only=True)
class Pruned(Result):
    """removed: versions, newest first."""

    removed: tuple[str, ...] = ()
    freed_bytes: int = 0
