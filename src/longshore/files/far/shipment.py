"""Shipments: how a release comes to be on a host, out of another one that stands there and of what is sent.

Pure: what there is and what is wanted → a plan. What is the same at the same place is copied there without a word said
about it: the host knows the listing of the base, and is told only what to leave out of it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from longshore.files.far.delta import Run, coarsened, sent_bytes
from longshore.files.far.manifest import Entry, Manifest

#: bytes from which a file is worth a process on the host: smaller ones are sent
WORTH_A_PROCESS = 16 * 1024
#: bytes from which a changed file is sent as runs
DELTA_FROM = 32 * 1024
#: copied runs are at least this long
LEAST_RUN = 4 * 1024
#: runs of one shipment: each is a process of some milliseconds
MOST_RUNS = 2000
#: directories that files are moved from and to, of one shipment
MOST_MOVES = 200
#: files of the base that a changed file is compared with
MOST_SOURCES = 8


@dataclass(frozen=True)
class Build:
    """A file that is put together of runs."""

    path: str
    mode: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Shipment:
    """What to do on a host. Paths are relative to the release.

    drop          of the base: what is not in the new release as it is there, sorted by bytes
    directories   to make, beside those of the base
    links         to make: (path, target)
    moves         files of the base that are copied to another place: (from, to) directories → their paths below both
    builds        files put together
    whole         files that are sent
    modes         what nothing else sets, deepest first: mode → paths
    """

    manifest: Manifest
    drop: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    moves: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    builds: tuple[Build, ...] = ()
    whole: tuple[str, ...] = ()
    modes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


def outline(
    new: Manifest, base: Manifest, avoid: frozenset[str] = frozenset()
) -> tuple[Shipment, dict[str, list[str]]]:
    """The shipment as far as it can be told without looking into files; and the changed files that are worth a look,
    which are in `whole` meanwhile, each with the files of the base that it may have come from, the likeliest first.

    avoid   paths of the base that are not what its listing on the host says
    """
    base = base.without(avoid)
    kept = {path for path, entry in new.entries.items() if base.entries.get(path) == entry}
    fresh = {path: entry for path, entry in new.entries.items() if path not in kept}
    moves, moved, builds = _moves(fresh, base)
    whole = [path for path, entry in fresh.items() if entry.kind == "f" and path not in moved]
    shipment = Shipment(
        manifest=new,
        drop=tuple(_sorted({path for path in base.entries if path not in kept} | avoid)),
        directories=tuple(_sorted(path for path, entry in fresh.items() if entry.kind == "d")),
        links=tuple((path, fresh[path].content) for path in _sorted(fresh) if fresh[path].kind == "l"),
        moves=moves,
        builds=tuple(builds),
        whole=tuple(_sorted(whole)),
        modes=_modes(new),
    )
    return shipment, _sources([path for path in whole if fresh[path].size >= DELTA_FROM], new, base)


def with_deltas(shipment: Shipment, deltas: Mapping[str, Sequence[Run]]) -> Shipment:
    """The shipment with these changed files put together, as far as that spares more than it costs."""
    entries, least = shipment.manifest.entries, LEAST_RUN
    while True:
        runs = {path: coarsened(found, least) for path, found in deltas.items()}
        worth = {path: found for path, found in runs.items() if sent_bytes(found) < 0.9 * entries[path].size}
        if sum(map(len, worth.values())) + len(shipment.builds) <= MOST_RUNS or not worth:
            break
        least *= 4
    builds = [Build(path, entries[path].mode, tuple(found)) for path, found in worth.items()]
    return replace(
        shipment,
        builds=(*shipment.builds, *builds),
        whole=tuple(path for path in shipment.whole if path not in worth),
    )


def program(shipment: Shipment) -> bytes:
    """The moves and builds, in the words of scripts.RECEIVE: `move` and `build`. A run is WHICH START SIZE; WHICH is
    0 for what is sent, else the number of a source, from 1 on."""
    lines: list[str] = []
    for number, (there, here) in enumerate(shipment.moves):
        lines.append(f"move {number} {shlex.quote(there or '.')} {shlex.quote(here or '.')}")
    position = 0
    for build in shipment.builds:
        sources = list(dict.fromkeys(run.source for run in build.runs if run.source is not None))
        quoted = "".join(f" {shlex.quote(source)}" for source in sources)
        lines.append(f"build {shlex.quote(build.path)} {build.mode & 0o777:o}{quoted} <<'.'")
        for run in build.runs:
            if run.source is None:
                lines.append(f"0 {position} {run.size}")
                position += run.size
            else:
                lines.append(f"{sources.index(run.source) + 1} {run.start} {run.size}")
        lines.append(".")
    return os.fsencode("\n".join(lines) + "\n")


def names(paths: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(path) + b"\0" for path in paths)


# --- private


def _sources(paths: Sequence[str], new: Manifest, base: Manifest) -> dict[str, list[str]]:
    """For each the file of its name, then those whose names are gone, the most like it in kind and size first."""
    old = {path: entry.size for path, entry in base.files() if entry.size >= DELTA_FROM}
    gone = [path for path in old if path not in new.entries]
    found: dict[str, list[str]] = {}
    for path in paths:
        size, suffix = new.entries[path].size, PurePosixPath(path).suffix
        like = sorted(gone, key=lambda there: (PurePosixPath(there).suffix != suffix, abs(old[there] - size)))
        if sources := [*([path] if path in old else []), *like][:MOST_SOURCES]:
            found[path] = sources
    return found


def _moves(
    fresh: Mapping[str, Entry], base: Manifest
) -> tuple[dict[tuple[str, str], tuple[str, ...]], set[str], list[Build]]:
    """What has another place only: by directories, and what of it is moved; the rest of the large ones as builds."""
    places: dict[tuple[str, int], list[str]] = {}
    for path, entry in base.files():
        if len(known := places.setdefault((entry.content, entry.size), [])) < MOST_SOURCES:
            known.append(path)
    moves: dict[tuple[str, str], list[str]] = {}
    builds: list[Build] = []
    for path, entry in fresh.items():
        if entry.kind != "f" or not entry.size or not (alike := places.get((entry.content, entry.size))):
            continue
        there = max(alike, key=lambda place: len(_common_end(place, path)))
        end = _common_end(there, path)
        if end and base.entries[there].mode == entry.mode:
            moves.setdefault((_above(there, end), _above(path, end)), []).append(path)
        elif entry.size >= WORTH_A_PROCESS:
            builds.append(Build(path, entry.mode, (Run(there, 0, entry.size),)))
    worth = [found for found in moves.items() if sum(fresh[path].size for path in found[1]) >= WORTH_A_PROCESS]
    worth.sort(key=lambda found: -sum(fresh[path].size for path in found[1]))
    chosen = {
        (there, here): tuple(_sorted(path.removeprefix(f"{here}/") if here else path for path in paths))
        for (there, here), paths in worth[:MOST_MOVES]
    }
    builds = sorted(builds, key=lambda build: -fresh[build.path].size)[: MOST_RUNS // 4]
    moved = {path for _, paths in worth[:MOST_MOVES] for path in paths} | {build.path for build in builds}
    return chosen, moved, builds


def _common_end(a: str, b: str) -> str:
    """The last parts that two paths have in common, such as `lib/x.js`."""
    same: list[str] = []
    for left, right in zip(reversed(a.split("/")), reversed(b.split("/")), strict=False):
        if left != right:
            break
        same.append(left)
    return "/".join(reversed(same))


def _above(path: str, end: str) -> str:
    return path[: -len(end)].rstrip("/")


def _modes(new: Manifest) -> dict[int, tuple[str, ...]]:
    """Directories are made with 755, and a change of owners takes special bits away."""
    modes: dict[int, list[str]] = {}
    for path, entry in new.entries.items():
        if (entry.kind == "d" and entry.mode != 0o755) or (entry.kind == "f" and entry.mode & 0o7000):
            modes.setdefault(entry.mode, []).append(path)
    return {mode: tuple(reversed(_sorted(paths))) for mode, paths in modes.items()}


def _sorted(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=os.fsencode)
