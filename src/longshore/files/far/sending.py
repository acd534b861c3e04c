"""Sending: a shipment as the one parcel that scripts.RECEIVE takes, and what comes back."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from longshore.files.far.manifest import Entry, Manifest
from longshore.files.far.parcel import Parcel, Piece
from longshore.files.far.shipment import Shipment, names, program

#: seconds that a host may take nothing of what is sent
STALL_S = 60.0
#: seconds for a host to put a release together once it has everything, and bytes a second that it does at least
WORK_S, WORK_BYTES_S = 120.0, 10e6

#: called with the bytes sent so far and those that are to be sent in all; never goes back
Progress = Callable[[int, int], None]


def parcel_of(
    shipment: Shipment, place_of: Callable[[str], Path], seeds: Manifest, shared: Path, wanted: tuple[str, ...]
) -> Parcel:
    """place_of: of a path of the release on this machine; seeds: what of `shared` is to be made there, for `wanted`."""
    entries = shipment.manifest.entries
    parcel = Parcel()
    for directory in ("plan", "plan/moves", "plan/modes", "tree", "shared"):
        parcel.add_directory(directory, 0o755)
    parcel.add_bytes("plan/drop", names(shipment.drop))
    parcel.add_bytes("plan/directories", names(shipment.directories))
    parcel.add_bytes("plan/program", program(shipment))
    parcel.add_bytes("plan/seeds", _seeding(wanted))
    for number, paths in enumerate(shipment.moves.values()):
        parcel.add_bytes(f"plan/moves/{number}", names(paths))
    for mode, paths in shipment.modes.items():
        parcel.add_bytes(f"plan/modes/{mode:o}", names(paths))
    literals = [
        Piece(place_of(build.path), run.start, run.size)
        for build in shipment.builds
        for run in build.runs
        if run.source is None
    ]
    parcel.add_file("literals", 0o600, literals)
    for path, target in shipment.links:
        parcel.add_link(f"tree/{path}", target)
    for path in shipment.whole:
        parcel.add_file(f"tree/{path}", entries[path].mode, [Piece(place_of(path), 0, entries[path].size)])
    for path in sorted(seeds.entries):
        _add(parcel, f"shared/{path}", seeds.entries[path], shared / path)
    parcel.close()
    return parcel


@dataclass
class Meter:
    """Counts what is sent to one host, over as many attempts as it takes, and says it."""

    progress: Progress | None = None
    sent_bytes: int = 0
    total_bytes: int = 0

    async def measured(self, parcel: Parcel, bound: asyncio.Timeout, work_s: float) -> AsyncIterator[bytes]:
        """The stream of a parcel. The bound is put off with each block that is taken, and at its end for the work."""
        loop = asyncio.get_running_loop()
        self.total_bytes = self.sent_bytes + parcel.size_bytes
        async for block in parcel.stream():
            yield block
            bound.reschedule(loop.time() + STALL_S)
            self.sent_bytes += len(block)
            if self.progress is not None:
                self.progress(self.sent_bytes, self.total_bytes)
        bound.reschedule(loop.time() + work_s)


def spoilt(shipment: Shipment, found: Manifest) -> frozenset[str]:
    """The paths of the base that cannot have been what they should be, from what has come out of them."""
    wanted = shipment.manifest.entries
    wrong = {path for path in wanted.keys() | found.entries.keys() if wanted.get(path) != found.entries.get(path)}
    # A directory that has become a file, or the like, is told by what should have been below it, or by itself.
    wrong |= {str(parent) for path in wrong for parent in PurePosixPath(path).parents}
    bad = set(wrong)
    for build in shipment.builds:
        if build.path in wrong:
            bad |= {run.source for run in build.runs if run.source is not None}
    for (there, here), paths in shipment.moves.items():
        for path in paths:
            if (f"{here}/{path}" if here else path) in wrong:
                bad.add(f"{there}/{path}" if there else path)
    return frozenset(bad - {"."})


# --- private


def _seeding(wanted: tuple[str, ...]) -> bytes:
    """In the words of scripts.RECEIVE: `seed` with the paths above each, outermost first."""
    lines = []
    for path in wanted:
        above = [str(parent) for parent in reversed(PurePosixPath(path).parents) if str(parent) != "."]
        lines.append(f"seed {shlex.join([*above, path])}\n")
    return "".join(lines).encode(errors="surrogateescape")


def _add(parcel: Parcel, name: str, entry: Entry, place: Path) -> None:
    if entry.kind == "d":
        parcel.add_directory(name, entry.mode)
    elif entry.kind == "l":
        parcel.add_link(name, entry.content)
    else:
        parcel.add_file(name, entry.mode, [Piece(place, 0, entry.size)])
