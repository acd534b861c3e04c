"""When the lines of a log were written, where the lines themselves have no times: marks beside the file.

    app.log          what the instance writes, by itself
    app.log.times    "at the time T it had N bytes", a mark a line: 1764313634512 000000004711 =

A mark is made at most each second, and only where something was written; its time is that of the last write (mtime), so
a line is known to two seconds while a manager watches. What was written while none did lies anywhere between two marks:
the later one is `~` then, not `=`. A log is never without an answer: before the first mark and after the last one the
file's own times bound it. Marks are an aid, never synced: losing some makes lines less exactly known.
"""

from __future__ import annotations

import contextlib
import os
import time
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

#: seconds between two looks of a manager
LOOK_S = 1.0
#: how exactly the time of a line is known while a manager looks: two looks, for one may come late
EXACT_S = 2 * LOOK_S
#: bytes of marks at which every second one is dropped: some 35,000 marks, half a day of a log that never rests
MOST_BYTES = 1024 * 1024

_MARK = "{at:013d} {size:012d} {kind}\n"
_LENGTH = len(_MARK.format(at=0, size=0, kind="="))


@dataclass(frozen=True, slots=True)
class Span:
    """Between these two a line was written, in seconds since the epoch. earliest: None where nothing tells."""

    earliest: float | None
    latest: float


@dataclass(frozen=True, slots=True)
class Mark:
    """At this time (milliseconds since the epoch) the log had that many bytes. loose: nobody looked just before."""

    at: int
    size: int
    loose: bool


class Times:
    """The marks of one file, as they stand, with the file's own time as the last."""

    def __init__(self, marks: list[Mark]) -> None:
        self._marks = marks
        self._sizes = [mark.size for mark in marks]

    @classmethod
    def of(cls, log: Path, *, rotated: bool = False) -> Times:
        """Of a file that does not exist: none. Reads some MB at most."""
        try:
            found = log.stat()
        except FileNotFoundError:
            return cls([])
        marks = _read(log)
        # A rotation that a crash cut short, or somebody's own truncation: they tell of another content.
        if marks and (marks[-1].size != found.st_size if rotated else marks[-1].size > found.st_size):
            marks = []
        if not marks or marks[-1].size < found.st_size:
            last = int(found.st_mtime * 1000)
            marks.append(Mark(max(last, marks[-1].at) if marks else last, found.st_size, loose=True))
        return cls(marks)

    def span(self, end: int) -> Span | None:
        """Of a line that ends at that byte; None: nothing is known of the file."""
        if not self._marks:
            return None
        place = min(bisect_left(self._sizes, end), len(self._marks) - 1)
        mark = self._marks[place]
        before = self._marks[place - 1].at / 1000 if place else None
        latest = mark.at / 1000
        if not mark.loose:
            before = max(before or 0.0, latest - EXACT_S)
        return Span(before, latest)

    def begin(self, since: float) -> int:
        """The byte before which nothing can have been written since that time."""
        place = next((n for n, mark in enumerate(self._marks) if mark.at / 1000 >= since), None)
        if place is None:
            return self._sizes[-1] if self._sizes else 0
        return self._sizes[place - 1] if place else 0


class Noting:
    """Makes the marks of a manager's logs: `note` is called each LOOK_S for each."""

    def __init__(self) -> None:
        #: log → bytes it had, time of the last mark, and when it was looked at (monotonic)
        self._seen: dict[Path, tuple[int, int, float]] = {}

    def began(self, log: Path) -> None:
        """An instance is about to write: nothing of what follows is older than now."""
        with contextlib.suppress(OSError):
            self._look(log)
            size, at, looked = self._seen[log]
            if size == 0:
                at = max(at, int(time.time() * 1000))
                _append(log, Mark(at, 0, loose=True))
                self._seen[log] = (0, at, looked)

    def note(self, logs: set[Path]) -> None:
        """Look at these, and forget all others. Where a mark cannot be written, the next look tries again."""
        for gone in self._seen.keys() - logs:
            del self._seen[gone]
        for log in logs:
            with contextlib.suppress(OSError):
                self._look(log)

    # --- private

    def _look(self, log: Path) -> None:
        found, now = log.stat(), time.monotonic()
        seen = self._seen.get(log)
        if seen is None:
            marks = _mended(log)
            size, at, looked = (marks[-1].size, marks[-1].at, float("-inf")) if marks else (0, 0, float("-inf"))
        else:
            size, at, looked = seen
        if found.st_size < size:  # rotated, or emptied by somebody
            if seen is None:
                _path(log).unlink(missing_ok=True)
            size = 0
        if found.st_size > size:
            latest = max(at, min(int(found.st_mtime * 1000), int(time.time() * 1000)))
            _append(log, Mark(latest, found.st_size, loose=now - looked > EXACT_S))
            at = latest
        self._seen[log] = (found.st_size, at, now)


def rotated(log: Path, to: Path, size: int, *, at: float) -> None:
    """The content of a log, so many bytes, last written at that time, has gone to another file: its marks go along."""
    with contextlib.suppress(OSError):
        marks = _read(log)
        if not marks or marks[-1].size < size:
            _append(log, Mark(max(int(at * 1000), marks[-1].at if marks else 0), size, loose=True))
        _path(log).replace(_path(to))


def renamed(log: Path, to: Path) -> None:
    """A rotated file has got another name."""
    forgotten(to)
    with contextlib.suppress(OSError):
        _path(log).replace(_path(to))


def forgotten(log: Path) -> None:
    with contextlib.suppress(OSError):
        _path(log).unlink(missing_ok=True)


def _path(log: Path) -> Path:
    return log.with_name(log.name + ".times")


def _read(log: Path) -> list[Mark]:
    """Those that are whole and in order: what was cut or mangled ends them."""
    try:
        text = _path(log).read_bytes()
    except OSError:
        return []
    marks: list[Mark] = []
    for begin in range(0, len(text) - _LENGTH + 1, _LENGTH):
        try:
            at, size, kind = text[begin : begin + _LENGTH].decode("ascii").split()
            mark = Mark(int(at), int(size), kind != "=")
        except ValueError:
            break
        if marks and (mark.size < marks[-1].size or mark.at < marks[-1].at):
            break
        marks.append(mark)
    return marks


def _mended(log: Path) -> list[Mark]:
    """What can be read, with nothing behind it that cannot."""
    marks, path = _read(log), _path(log)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size != len(marks) * _LENGTH:
            os.truncate(path, len(marks) * _LENGTH)
    return marks


def _append(log: Path, mark: Mark) -> None:
    path = _path(log)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        size = os.fstat(descriptor).st_size
        if size % _LENGTH:  # a full disk has cut one
            os.ftruncate(descriptor, size - size % _LENGTH)
        line = _MARK.format(at=mark.at, size=mark.size, kind="~" if mark.loose else "=")
        os.write(descriptor, line.encode("ascii"))
    finally:
        os.close(descriptor)
    if size > MOST_BYTES:
        _thin(log)


def _thin(log: Path) -> None:
    """Every second mark goes; what it said, the next one says less exactly, and so is loose."""
    marks = _read(log)
    last = marks[-1]
    kept = [Mark(mark.at, mark.size, loose=True) for mark in marks[:-1:2]]
    path = _path(log)
    fresh = path.with_name(path.name + ".thinner")
    fresh.write_text("".join(_MARK.format(at=m.at, size=m.size, kind="~" if m.loose else "=") for m in [*kept, last]))
    fresh.replace(path)
