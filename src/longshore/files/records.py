"""What Longshore notes about a working directory, in its `.longshore/`: small JSON files, replaced atomically."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from longshore.disk import FilesError, make_directory, write_durably


@dataclass(frozen=True, slots=True)
class First:
    """What was there when Longshore first got the directory: names in it, and the version they were taken over as."""

    found: tuple[str, ...]
    taken_over: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What a release was made of. Noted before the release is, so where there is a release there are its facts."""

    sha256: str
    size_bytes: int
    shared_paths: tuple[str, ...] = ()


class Records:
    """Raises OSError of the disk, FilesError for a file of its own that is damaged."""

    def __init__(self, own: Path) -> None:
        self._own = own
        self._first = own / "first.json"
        self._releases = own / "releases"

    def first(self) -> First | None:
        if (noted := _read(self._first)) is None:
            return None
        return First(tuple(noted["found"]), noted["taken_over"])

    def note_first(self, first: First) -> None:
        write_durably(self._first, json.dumps(asdict(first)))

    def release(self, version: str) -> ReleaseFacts | None:
        if (noted := _read(self._releases / f"{version}.json")) is None:
            return None
        return ReleaseFacts(noted["sha256"], noted["size_bytes"], tuple(noted["shared_paths"]))

    def note_release(self, version: str, facts: ReleaseFacts) -> None:
        make_directory(self._releases)
        write_durably(self._releases / f"{version}.json", json.dumps(asdict(facts)))

    def forget_release(self, version: str) -> None:
        (self._releases / f"{version}.json").unlink(missing_ok=True)

    def noted_versions(self) -> list[str]:
        return sorted(place.name.removesuffix(".json") for place in self._releases.glob("[!.]*.json"))


# --- private


def _read(path: Path) -> dict[str, Any] | None:
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise FilesError(f"{str(path)!r} is damaged ({error}): restore it from a backup of the directory") from error
    if not isinstance(noted, dict):
        raise FilesError(f"{str(path)!r} is damaged: restore it from a backup of the directory")
    return noted
