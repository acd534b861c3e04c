"""Deltas: a file as a sequence of runs, each copied out of a file that is on the host or sent to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from longshore.files.far.chunks import Chunk

#: bytes compared at once
_STEP = 64 * 1024
#: places of a chunk that is there many times (padding, for one) which are kept in mind
_PLACES = 8


class Run(NamedTuple):
    """`size` bytes from `start` on of the file `source` of the base; of the new file itself, and so sent, for None."""

    source: str | None
    start: int
    size: int


#: the chunks of files of the base, by path: the likeliest first
Sources = Mapping[str, Sequence[Chunk]]


def delta(chunks: Sequence[Chunk], sources: Sources) -> list[Run]:
    """The runs that a file of these chunks consists of, by whole chunks."""
    places: dict[bytes, list[tuple[str, int]]] = {}
    at: dict[tuple[str, int], bytes] = {}
    for path, theirs in sources.items():
        start = 0
        for chunk in theirs:
            at[path, start] = chunk.digest
            if len(known := places.setdefault(chunk.digest, [])) < _PLACES:
                known.append((path, start))
            start += chunk.size
    runs: list[Run] = []
    start = 0
    for chunk in chunks:
        last = runs[-1] if runs else Run(None, 0, 0)
        follows = (last.source, last.start + last.size)
        if last.source is not None and at.get((last.source, follows[1])) == chunk.digest:
            _append(runs, Run(last.source, follows[1], chunk.size))
        elif known := places.get(chunk.digest, []):
            _append(runs, Run(*known[0], chunk.size))
        else:
            _append(runs, Run(None, start, chunk.size))
        start += chunk.size
    return runs


def refined(runs: Sequence[Run], place: Path, place_of: Callable[[str], Path], likeliest: str) -> list[Run]:
    """The same file by runs that are cut to the byte: what is sent ends where it becomes what is there again.

    place       of the new file; `place_of` of those of the base; `likeliest`: the one that it probably was
    Raises OSError.
    """
    done: list[Run] = []
    with ExitStack() as stack:
        new = stack.enter_context(place.open("rb")).fileno()
        paths = {run.source for run in runs if run.source is not None} | {likeliest}
        old = {path: stack.enter_context(place_of(path).open("rb")).fileno() for path in paths}
        size = os.fstat(old[likeliest]).st_size
        around = [Run(likeliest, 0, 0), *runs, Run(likeliest, size, 0)]
        grown = 0  # bytes that the run before has taken from the beginning of this one, or this one from that before
        for position, run in enumerate(around[1:-1], 1):
            if run.source is not None:
                _append(done, Run(run.source, run.start - grown, run.size + grown))
                grown = 0
                continue
            before, after = around[position - 1], around[position + 1]
            assert before.source is not None
            assert after.source is not None
            ahead = _same_ahead(new, run.start, old[before.source], before.start + before.size, run.size)
            left = run.size - ahead
            grown = _same_behind(new, run.start + run.size, old[after.source], after.start, left)
            if ahead:
                _append(done, Run(before.source, before.start + before.size, ahead))
            if left - grown:
                _append(done, Run(None, run.start + ahead, left - grown))
        if grown:
            _append(done, Run(likeliest, size - grown, grown))
    return done


def coarsened(runs: Sequence[Run], least: int) -> list[Run]:
    """The same file without copied runs of fewer than `least` bytes: each costs a process on the host."""
    done: list[Run] = []
    start = 0
    for run in runs:
        _append(done, run if run.source is None or run.size >= least else Run(None, start, run.size))
        start += run.size
    return done


def sent_bytes(runs: Sequence[Run]) -> int:
    return sum(run.size for run in runs if run.source is None)


# --- private


def _append(runs: list[Run], run: Run) -> None:
    if runs and runs[-1].source == run.source and runs[-1].start + runs[-1].size == run.start:
        runs[-1] = runs[-1]._replace(size=runs[-1].size + run.size)
    else:
        runs.append(run)


def _same_ahead(new: int, start: int, old: int, old_start: int, most: int) -> int:
    """How many bytes are the same from the two places on."""
    same = 0
    while same < most:
        want = min(_STEP, most - same)
        a, b = os.pread(new, want, start + same), os.pread(old, want, old_start + same)
        found = _common(a, b)
        same += found
        if found < want:
            break
    return same


def _same_behind(new: int, end: int, old: int, old_end: int, most: int) -> int:
    """How many bytes are the same before the two places."""
    most = min(most, old_end)
    same = 0
    while same < most:
        want = min(_STEP, most - same)
        a, b = os.pread(new, want, end - same - want), os.pread(old, want, old_end - same - want)
        found = _common(a[::-1], b[::-1])
        same += found
        if found < want:
            break
    return same


def _common(a: bytes, b: bytes) -> int:
    """Length of the common beginning, by halves: comparing is C's work."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    low, high = 0, length  # a[:low] is the same, a[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
