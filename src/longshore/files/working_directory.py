"""A working directory: everything Longshore does to the files of one deployment. All of it is called in threads.

WORKING_DIRECTORY/
  releases/VERSION/     complete and immutable: made beside as .VERSION.staging-…, synced, then renamed
  current               link to releases/VERSION; replaced by rename, so it is never missing
  shared/               what releases share, linked into each
  .longshore/           first.json: what was here before; releases/VERSION.json: what each release came from;
                        manifests/ and chunks/: what far/ knows of the releases, to send them to hosts
  .longshore.lock       whose directory this is (claim.py)
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from longshore.artifacts import ArtifactError, Limits, find
from longshore.artifacts.tree import normalised
from longshore.disk import (
    FilesError,
    chown_tree,
    explained,
    free_bytes,
    make_directory,
    removed_on_failure,
    sync_path,
    sync_tree,
)
from longshore.fence import Fence, unfenced
from longshore.files.claim import claim, disclaim, holder
from longshore.files.layout import VERSION, check_own_names, check_place, foreign_names
from longshore.files.records import First, Records, ReleaseFacts
from longshore.files.shared import link_shared, shared_path_problems
from longshore.files.staging import remove, staging, sweep
from longshore.files.takeover import copy_as_is, listing_sha256, size_of

__all__ = ["PRE_LONGSHORE", "FilesError", "Unpacked", "WorkingDirectory"]

#: The version under which what was there before Longshore is kept; reserved.
PRE_LONGSHORE = "pre-longshore"


class Unpacked(NamedTuple):
    """A complete release: where it is, the SHA-256 of its artifact, and the bytes of its files."""

    path: Path
    sha256: str
    size_bytes: int


class WorkingDirectory:
    """The files of one deployment below `path`. Holds no state: any number of objects may stand for one directory.

    Methods raise FilesError for what the disk or the directory does not allow and ArtifactError for what an artifact
    does not; either way nothing is left behind and what was there stands.
    """

    def __init__(self, path: Path, fence: Fence = unfenced) -> None:
        """fence: passed right before a release or `current` appears, changes or goes"""
        self.path = path
        self.releases = path / "releases"
        self.shared = path / "shared"
        self._fence = fence
        self._link = path / "current"
        self._own = path / ".longshore"
        self._records = Records(self._own)

    # ------------------------------------------------------------------ whose it is

    def claim(self, owner: str) -> None:
        """Make `owner` (one line: the deployment and the data directory's id) its owner for good; see claim.claim()."""
        self._prepare()
        claim(self.path, owner)

    def disclaim(self, owner: str) -> None:
        self._fence()
        disclaim(self.path, owner)

    def holder(self) -> str | None:
        return holder(self.path)

    def check(self) -> None:
        """Raise FilesError for what would keep this directory from being used. Reads only, for /validate."""
        check_place(self.path)
        with explained(self.path):
            if self._records.first() is None:
                check_own_names(self.path)

    def free_bytes(self) -> int:
        """Bytes that may still be written here, or where the directory would be made."""
        return free_bytes(self.path)

    # ------------------------------------------------------------------ releases

    def unpack_release(
        self,
        artifact_path: Path,
        version: str,
        expected_sha256: str,
        shared_paths: Sequence[str],
        limits: Limits,
        owner: tuple[int, int] | None,
    ) -> Unpacked:
        """Make `releases/VERSION` of an artifact, complete or not at all. Harmless when it is there already.

        expected_sha256   of the artifact, in hex; "" takes any
        shared_paths      relative paths of the release that are replaced by links into `shared`
        owner             uid and gid of the release's files; None leaves them to the user Longshore runs as
        Raises            ArtifactMissing, ArtifactError (also for another SHA-256 than expected, and for a version that
                          is kept with other content: versions are immutable), FilesError.
        """
        path = self._release_path(version)
        if problems := shared_path_problems(shared_paths):
            raise FilesError("; ".join(problems))
        paths = sorted(normalised(shared, "shared path") for shared in shared_paths)
        self._prepare()
        with explained(self.path):
            if kept := self._kept(artifact_path, version, expected_sha256, paths, limits):
                return kept
            with staging(self.releases, version) as place, removed_on_failure() as made:
                sha256 = find(artifact_path).unpack(artifact_path, place, limits)
                _check_sha256(artifact_path, sha256, expected_sha256)
                facts = ReleaseFacts(sha256, size_of(place), tuple(paths))
                if paths:
                    make_directory(self.shared)
                    link_shared(place, path, self.shared, paths, made)
                if owner is not None:
                    for tree in (place, *made):
                        chown_tree(tree, owner)
                if paths or owner is not None:
                    for tree in (place, *made):
                        sync_tree(tree)
                        sync_path(tree.parent)
                self._publish(place, version, facts)
            return Unpacked(path, sha256, facts.size_bytes)

    def copy_release(
        self, source: str, version: str, owner: tuple[int, int] | None, stop: Callable[[], bool] = bool
    ) -> Unpacked:
        """Make `releases/VERSION` a copy of a complete release as it stands: with the links into `shared`, and with
        what the application has written beside its files.

        stop      asked at every entry; where it says True nobody waits for the copy, and FilesError is raised
        Complete or not at all; harmless when it is there already. Raises FilesError, also where it would not fit.
        """
        path, origin = self._release_path(version), self._release_path(source)
        with explained(self.path):
            facts, made = self._records.release(source), self._records.release(version)
            if facts is None or not origin.is_dir():
                raise FilesError(f"{str(origin)!r} is no complete release: somebody has deleted it")
            if os.path.lexists(path):
                if made is None or (made.sha256, made.shared_paths) != (facts.sha256, facts.shared_paths):
                    raise FilesError(f"{str(path)!r} is there already, and no copy of release {source}: move it away")
                return Unpacked(path, made.sha256, made.size_bytes)
            self._check_room(size_of(origin), f"release {source}")
            with staging(self.releases, version) as place:
                for name in sorted(entry.name for entry in origin.iterdir()):
                    copy_as_is(origin / name, place / name, self.path, stop)
                if owner is not None:
                    chown_tree(place, owner)
                sync_tree(place)
                copied = ReleaseFacts(facts.sha256, size_of(place), facts.shared_paths)
                self._publish(place, version, copied)
        return Unpacked(path, copied.sha256, copied.size_bytes)

    def release(self, version: str) -> Unpacked | None:
        """The complete release of that version; None: there is none."""
        path = self._release_path(version)
        with explained(path):
            facts = self.facts(version)
            return Unpacked(path, facts.sha256, facts.size_bytes) if facts else None

    def facts(self, version: str) -> ReleaseFacts | None:
        """What a complete release was made of; None: there is none."""
        path = self._release_path(version)
        with explained(path):
            return self._records.release(version) if path.is_dir() else None

    def versions(self) -> list[str]:
        """The versions of all complete releases, sorted by name."""
        with explained(self.releases):
            if not self.releases.is_dir():
                return []
            names = sorted(place.name for place in self.releases.iterdir() if VERSION.fullmatch(place.name))
        return [name for name in names if self.release(name)]

    def places(self) -> set[str]:
        """The versions whose place in `releases` is taken, by a complete release or by anything else."""
        with explained(self.releases):
            found = self.releases.iterdir() if self.releases.is_dir() else ()
            return {place.name for place in found if VERSION.fullmatch(place.name)}

    def remove_release(self, version: str) -> None:
        """Delete a release; harmless if it is absent. Raises FilesError for the one `current` leads to."""
        path = self._release_path(version)
        if self.current() == version:
            raise FilesError(f"{str(path)!r} is what `current` leads to: switch `current` to another release first")
        with explained(path):
            first = self._records.first()
            if first is not None and first.taken_over == version and self.current() is None:
                # A first rollout is undone: what was there before is all there is, and is to be taken over next time.
                # Pruned later on, it is not: the originals may be long out of date by then.
                self._records.note_first(First(first.found))
            self._fence()
            if os.path.lexists(path):
                remove(path)
            self._records.forget_release(version)

    def remove_all(self) -> None:
        """Remove what Longshore made here: every release, `current` and its own records. Harmless when done.

        `shared` stays while it holds anything, for that is the application's data; so does whatever else is here.
        """
        with explained(self.path):
            self.set_current(None)
            for place in (self.releases, self._own):
                if place.exists():
                    self._fence()
                    shutil.rmtree(place)
            with suppress(OSError):
                self.shared.rmdir()

    def sweep_staging(self) -> list[str]:
        """Delete what a crash left half made or half removed, and return its names; what is being made now stays."""
        with explained(self.releases):
            if not self.releases.is_dir():
                return []
            self._fence()
            swept, busy = sweep(self.releases)
            for version in self._records.noted_versions():
                if version not in busy and not (self.releases / version).exists():
                    self._records.forget_release(version)
        return swept

    # ------------------------------------------------------------------ current

    def current(self) -> str | None:
        """The version `current` leads to; None: there is no such link, or it leads elsewhere."""
        with explained(self._link):
            try:
                target = str(self._link.readlink())
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR):
                    return None
                raise
        version = target.removeprefix("releases/")
        return version if target != version and VERSION.fullmatch(version) else None

    def set_current(self, version: str | None) -> None:
        """Make `current` lead to that release, atomically and durably; None removes it. Harmless when it does."""
        self._prepare()
        with explained(self._link):
            if self._link.exists() and not self._link.is_symlink():
                raise FilesError(f"{str(self._link)!r} is not a link of Longshore's: move it away")
            if version is None:
                self._fence()
                self._link.unlink(missing_ok=True)
            elif not self._release_path(version).is_dir():
                raise FilesError(f"there is no release {version!r} in {str(self.releases)!r} to make the current one")
            else:
                fresh = self._own / "current"
                fresh.unlink(missing_ok=True)
                fresh.symlink_to(f"releases/{version}")
                self._fence()
                fresh.replace(self._link)
            sync_path(self.path)

    # ------------------------------------------------------------------ what was there before

    def is_foreign(self) -> bool:
        """Whether it held something before Longshore first got it that take_over() has not copied yet."""
        with explained(self.path):
            first = self._records.first()
            return bool(first.found) and not first.taken_over if first else bool(foreign_names(self.path))

    def take_over(self, version: str = PRE_LONGSHORE) -> Unpacked | None:
        """Copy what was there before into `releases/VERSION`. The originals stay: something may still run from them.

        Returns  the release; None: there was nothing, or it has been taken over and pruned since. Harmless when done.
        Raises   FilesError, also where the copy would not fit on the disk; then nothing was copied.
        """
        self._release_path(version)
        first = self._prepare()
        if not first.found or first.taken_over:
            return self.release(version)
        with explained(self.path):
            if self.release(version) is None:
                self._copy_found(first.found, version)
            self._records.note_first(First(first.found, taken_over=version))
        return self.release(version)

    # ------------------------------------------------------------------ private

    def _release_path(self, version: str) -> Path:
        if not VERSION.fullmatch(version):
            raise FilesError(
                f"{version!r} is no version: a letter or digit, then up to 127 letters, digits, . _ + or -"
            )
        return self.releases / version

    def _prepare(self) -> First:
        """Make the layout. The first time, note what is there, so that it can be told from what is ours later."""
        with explained(self.path):
            if first := self._records.first():
                make_directory(self.releases)
                return first
        self.check()
        with explained(self.path):
            first = First(tuple(foreign_names(self.path)))
            for place in (*reversed(self.path.parents), self.path, self._own, self.releases):
                make_directory(place)
            self._records.note_first(first)
        return first

    def _kept(
        self, artifact_path: Path, version: str, expected_sha256: str, paths: list[str], limits: Limits
    ) -> Unpacked | None:
        """The release if it is there with this content. The artifact is only read where the caller did not say what
        it expects, so that a rollout which is recovered does not need it any more."""
        path = self.releases / version
        facts = self._records.release(version)
        if not os.path.lexists(path):
            return None
        if facts is None or not path.is_dir():
            raise FilesError(f"{str(path)!r} was not made by Longshore: move it away, or deploy under another version")
        sha256 = expected_sha256.lower() or find(artifact_path).scan(artifact_path, limits).sha256
        if sha256 != facts.sha256:
            raise ArtifactError(
                f"version {version!r} is kept with other content (SHA-256 {facts.sha256}, not {sha256}): "
                "a version never changes; deploy this under a new one"
            )
        if tuple(paths) != facts.shared_paths:
            raise ArtifactError(
                f"version {version!r} is kept with other shared_paths ({', '.join(facts.shared_paths) or 'none'}): "
                "a version never changes; deploy this under a new one"
            )
        return Unpacked(path, facts.sha256, facts.size_bytes)

    def _publish(self, place: Path, version: str, facts: ReleaseFacts) -> None:
        self._fence()
        self._records.note_release(version, facts)
        try:
            place.rename(self.releases / version)
        except OSError:
            self._records.forget_release(version)
            raise
        sync_path(self.releases)

    def _check_room(self, need: int, what: str) -> None:
        if need > (free := self.free_bytes()):
            raise FilesError(
                f"{what} takes {need} bytes to copy, but only {free} are free there: free space, or choose another "
                "working_directory"
            )

    def _copy_found(self, names: Sequence[str], version: str) -> None:
        self._check_room(sum(size_of(self.path / name) for name in names), f"what {str(self.path)!r} holds")
        with staging(self.releases, version) as place:
            for name in names:
                copy_as_is(self.path / name, place / name, self.path)
            sync_tree(place)
            self._publish(place, version, ReleaseFacts(listing_sha256(place), size_of(place)))


def _check_sha256(artifact_path: Path, sha256: str, expected: str) -> None:
    if expected and sha256 != expected.lower():
        raise ArtifactError(
            f"the SHA-256 of {str(artifact_path)!r} is {sha256}, not {expected} as was expected: "
            "it is another file, or was changed on the way"
        )
