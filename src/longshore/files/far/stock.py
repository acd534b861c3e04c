"""The stock: the releases that the manager has, and what it knows of them by heart, for sending them to hosts.

Reading a release takes seconds, so it is done once for all hosts: manifests and chunk lists are kept beside the
releases, in `.longshore/manifests/VERSION` and `.longshore/chunks/SHA256`, and shipments in memory for as long as the
object lives.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from longshore.concurrency import to_its_end
from longshore.disk import FilesError, explained, make_directory
from longshore.files.far.chunks import Chunk, chunks_of, pack, unpack
from longshore.files.far.delta import Run, delta, refined, sent_bytes
from longshore.files.far.manifest import Manifest, parse_listing, read_manifest, read_parts
from longshore.files.far.shipment import DELTA_FROM, Shipment, outline, with_deltas
from longshore.files.records import ReleaseFacts
from longshore.files.working_directory import WorkingDirectory

T = TypeVar("T")


class Stock:
    """The releases of one working directory of the manager. Made for one rollout or longer; for one event loop.

    All of it raises FilesError.
    """

    def __init__(self, local: WorkingDirectory) -> None:
        self.local = local
        self._own = local.path / ".longshore"
        self._made: dict[Hashable, Any] = {}
        self._making = asyncio.Lock()

    def place(self, version: str, path: str) -> Path:
        return self.local.releases / version / path

    async def facts(self, version: str) -> ReleaseFacts:
        return await self._once(("facts", version), self._facts, version)

    async def manifest(self, version: str) -> Manifest:
        return await self._once(("manifest", version), self._manifest, version)

    async def seeds(self, paths: tuple[str, ...]) -> Manifest:
        """What shared paths begin as: the manager's own `shared`, in which nothing runs."""
        return await self._once(("seeds", paths), read_parts, self.local.shared, list(paths))

    async def base(self, version: str, there: Mapping[str, str]) -> str | None:
        """Of the releases on a host (version → digest) the one that has most in common with this one, of those that
        stand here as well."""
        best, most = None, -1
        for other, digest in there.items():
            if other == version or await to_its_end(self.local.release, other) is None:
                continue
            if (await self.manifest(other)).digest == digest:
                pair = (await self.manifest(version), await self.manifest(other))
                common = await self._once(("common", version, other), _common_bytes, *pair)
                if common > most:
                    best, most = other, common
        return best

    async def shipment(self, version: str, base: str | None, avoid: frozenset[str] = frozenset()) -> Shipment:
        """How to make a release out of another one. avoid: paths of the base that are known to have been changed."""
        new = await self.manifest(version)
        old = await self.manifest(base) if base is not None else Manifest({})
        return await self._once(("shipment", version, base, avoid), self._shipment, version, new, base, old, avoid)

    async def is_changed(self, version: str) -> bool:
        """Whether somebody has changed the manager's own copy since its manifest was made."""
        known = await self.manifest(version)
        return (await to_its_end(read_manifest, self.local.releases / version)).digest != known.digest

    # --- private: in threads

    async def _once(self, key: Hashable, work: Callable[..., T], *arguments: Any) -> T:
        async with self._making:
            if key not in self._made:
                self._made[key] = await to_its_end(work, *arguments)
            return cast(T, self._made[key])

    def _facts(self, version: str) -> ReleaseFacts:
        if (facts := self.local.facts(version)) is None:
            raise FilesError(f"{str(self.local.releases / version)!r} is no complete release: somebody has deleted it")
        return facts

    def _manifest(self, version: str) -> Manifest:
        facts, top = self._facts(version), self.local.releases / version
        with explained(top):
            found = top.stat()
            mark = f"{facts.sha256} {found.st_ino} {found.st_mtime_ns}"
            place = self._own / "manifests" / version
            with suppress(OSError, ValueError, KeyError, IndexError):
                noted, _, listing = place.read_bytes().partition(b"\n")
                manifest = parse_listing(listing)
                if noted == f"{mark} {manifest.digest}".encode():
                    return manifest
            manifest = read_manifest(top)
            _keep(place, f"{mark} {manifest.digest}\n".encode() + manifest.listing)
        self._tidy()
        return manifest

    def _shipment(
        self, version: str, new: Manifest, base: str | None, old: Manifest, avoid: frozenset[str]
    ) -> Shipment:
        shipment, changed = outline(new, old, avoid)
        if base is None or not changed:
            return shipment
        deltas: dict[str, list[Run]] = {}
        for path, sources in changed.items():
            place = self.place(version, path)
            with explained(place):
                runs = delta(
                    self._chunks(place, new.entries[path].content),
                    {source: self._chunks(self.place(base, source), old.entries[source].content) for source in sources},
                )
                if sent_bytes(runs) < new.entries[path].size:
                    likeliest = max(sources, key=lambda each: sum(run.size for run in runs if run.source == each))
                    deltas[path] = refined(runs, place, lambda source: self.place(base, source), likeliest)
        return with_deltas(shipment, deltas)

    def _chunks(self, place: Path, content: str) -> list[Chunk]:
        kept = self._own / "chunks" / content
        with suppress(OSError, struct.error):
            return unpack(kept.read_bytes())
        chunks = chunks_of(place)
        _keep(kept, pack(chunks))
        return chunks

    def _tidy(self) -> None:
        """Forget what belongs to releases that are gone."""
        contents: set[str] = set()
        for place in (self._own / "manifests").glob("*"):
            if not (self.local.releases / place.name).is_dir():
                place.unlink(missing_ok=True)
                continue
            with suppress(OSError, ValueError, KeyError, IndexError):
                manifest = parse_listing(place.read_bytes().partition(b"\n")[2])
                contents |= {entry.content for _, entry in manifest.files() if entry.size >= DELTA_FROM}
        for place in (self._own / "chunks").glob("*"):
            if place.name not in contents:
                place.unlink(missing_ok=True)


def _common_bytes(new: Manifest, old: Manifest) -> int:
    contents = {entry.content for _, entry in new.files()}
    return sum(entry.size for _, entry in old.files() if entry.content in contents)


def _keep(place: Path, content: bytes) -> None:
    """Of use, but nothing is lost without it: where the disk is full it is made anew the next time."""
    fresh = place.with_name(f".{secrets.token_hex(4)}.new")
    try:
        make_directory(place.parent)
        fresh.write_bytes(content)
        fresh.replace(place)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
