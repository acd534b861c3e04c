"""Shared paths: what stays when releases come and go, such as uploads or a `.env`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from longshore.artifacts.base import ArtifactError
from longshore.artifacts.tree import normalised


def shared_path_problems(paths: Sequence[str]) -> list[str]:
    """What is wrong with `shared_paths`, a sentence each: relative, without "..", none twice, none below another."""
    problems: list[str] = []
    seen: list[str] = []
    for path in paths:
        try:
            clean = normalised(path, "shared path")
        except ArtifactError as error:
            problems.append(str(error))
            continue
        if not clean:
            problems.append(f"shared path {path!r} is the whole release: name a file or directory in it")
        for other in seen:
            if clean == other:
                problems.append(f"shared path {path!r} is there twice")
            elif f"{clean}/".startswith(f"{other}/") or f"{other}/".startswith(f"{clean}/"):
                problems.append(f"shared path {path!r} and {other!r} lie within each other: name only the outer one")
        seen.append(clean)
    return problems


def link_shared(release: Path, final: Path, shared: Path, paths: Sequence[str], made: list[Path]) -> None:
    """Replace each of `paths` in a release that is not in use yet by a relative link into `shared`.

    What `shared` does not hold yet begins as what the release brings there, else as an empty directory.

    release   where the release is now; `final` where it will be (the links fit there; both are equally deep)
    made      is given the paths made in `shared`, outermost only: for the caller to remove should it fail later
    Raises    ArtifactError where the artifact has a link, or a file where a directory must be; OSError of the disk.
    """
    for path in (normalised(path, "shared path") for path in paths):
        own, kept = release / path, shared / path
        _check_parents(release, path)
        if not _exists(kept):
            outermost = next(place for place in (*reversed(kept.parents), kept) if not _exists(place))
            made.append(outermost)
            _make_parents(kept, shared)
            _seed(own, kept)
        elif _exists(own):
            _remove(own)
        _make_parents(own, release)
        own.symlink_to(os.path.relpath(kept, (final / path).parent))


# --- private


def _check_parents(release: Path, path: str) -> None:
    own = release / path
    for place in (own, *own.parents):
        if place == release:
            return
        if place.is_symlink():
            raise ArtifactError(
                f"shared path {path!r} is, or lies below, a link in the artifact ({place.relative_to(release)}): "
                "leave the link out of the artifact, or share what it leads to"
            )
        if place != own and place.exists() and not place.is_dir():
            raise ArtifactError(f"shared path {path!r} lies below a file of the artifact: {place.relative_to(release)}")


def _seed(own: Path, kept: Path) -> None:
    if _exists(own):
        # Not a rename: `shared` may lie on another file system.
        shutil.move(own, kept)
    else:
        kept.mkdir()
        kept.chmod(0o755)


def _make_parents(path: Path, top: Path) -> None:
    for parent in reversed(path.relative_to(top).parents):
        place = top / parent
        if not place.is_dir():
            place.mkdir()
            place.chmod(0o755)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _exists(path: Path) -> bool:
    return os.path.lexists(path)
