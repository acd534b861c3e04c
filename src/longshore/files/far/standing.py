"""How it stands with a working directory on a host: asked in one short script before anything is done there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from longshore.disk import FilesError
from longshore.files.layout import OWN_NAMES, VERSION
from longshore.files.records import First, ReleaseFacts


@dataclass(frozen=True, slots=True)
class FarRelease:
    """A release on a host.

    facts    as in the working directory of the manager
    digest   of its manifest: what it held when it was made
    listed   its listing is there too, so that others can be made out of it
    """

    facts: ReleaseFacts
    digest: str
    listed: bool


@dataclass(frozen=True)
class Standing:
    """place: the path itself, or the nearest one above it that exists; releases: the complete ones, by version."""

    place: str = ""
    free_bytes: int = 0
    is_directory: bool = False
    is_writable: bool = False
    holder: str | None = None
    current: str | None = None
    first: First | None = None
    releases: Mapping[str, FarRelease] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()
    #: what is, or was left, half made or half removed
    staging: frozenset[str] = frozenset()
    #: only where `first` is not there yet
    names: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()

    def foreign_names(self) -> tuple[str, ...]:
        """What is there that is not Longshore's."""
        return tuple(sorted(self.names - OWN_NAMES))


def parse_standing(said: bytes, where: str) -> Standing:
    """Of what scripts.LOOK said. where: the host and the directory, for messages. Raises FilesError for records that
    are damaged."""
    pairs = list(_pairs(said))
    one = dict(pairs)

    def several(key: str) -> set[str]:
        return {value for each, value in pairs if each == key}

    blocks, size = (one.get("free") or "0 0").split()
    released, listed = several("released"), several("listed")
    releases = {}
    for record in several("record"):
        version, _, text = record.partition(" ")
        if version in released and VERSION.fullmatch(version):
            noted = _read(text, f"{where}/.longshore/releases/{version}.json")
            facts = ReleaseFacts(noted["sha256"], noted["size_bytes"], tuple(noted["shared_paths"]))
            releases[version] = FarRelease(facts, noted.get("manifest", ""), version in listed)
    target = one.get("current", "")
    version = target.removeprefix("releases/")
    first = _read(one["first"], f"{where}/.longshore/first.json") if "first" in one else None
    taken = {key.removesuffix("_taken") for key in one if key.endswith("_taken")}
    if first is None and ("current" in one):
        taken.add("current")
    if first is None and released:
        taken.add("releases")
    return Standing(
        place=one.get("place", ""),
        free_bytes=int(blocks) * int(size),
        is_directory="directory" in one,
        is_writable="writable" in one,
        holder=one.get("holder", "").strip() or None,
        current=version if version != target and VERSION.fullmatch(version) else None,
        first=First(tuple(first["found"]), first["taken_over"]) if first else None,
        releases=releases,
        shared=frozenset(several("shared")),
        staging=frozenset(name for name in released if name.startswith(".")),
        names=frozenset(several("name")),
        taken=frozenset(taken),
    )


def record_of(facts: ReleaseFacts, digest: str) -> str:
    """What is kept beside a release on a host: the record of the manager's own, and the digest of its manifest."""
    return json.dumps({**asdict(facts), "manifest": digest})


# --- private


def _pairs(said: bytes) -> Iterator[tuple[str, str]]:
    words = os.fsdecode(said).split("\0")[:-1]
    return zip(words[::2], words[1::2], strict=True)


def _read(text: str, name: str) -> dict[str, Any]:
    try:
        noted = json.loads(text)
    except ValueError as error:
        raise FilesError(f"{name} is damaged ({error}): restore it from a backup of the directory") from error
    if not isinstance(noted, dict):
        raise FilesError(f"{name} is damaged: restore it from a backup of the directory")
    return noted
