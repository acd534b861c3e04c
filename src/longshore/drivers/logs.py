"""Output of instances in files: read from the end, followed, and rotated, while the writers hold the file open.

An instance writes to its file by itself (O_APPEND) and knows of no rotation, so rotation copies the content away and
truncates the file: `app.log` → `app.log.1` → `app.log.2` …, the higher the older. What a writer appends in the
microseconds between the last look and the truncation is lost, as with every copy-and-truncate rotation.
When a line was written is told by marks beside the files: log_times.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from longshore.drivers import log_times
from longshore.drivers.base import DriverError, LogLine
from longshore.drivers.log_times import EXACT_S, Times

#: most bytes read of what was written before, in all files together
MOST_BYTES = 16 * 1024 * 1024
#: longest line that is kept together
LINE_BYTES = 64 * 1024
#: seconds between two looks while following: inotify is not in the standard library, and a fstat costs 2 µs
POLL_S = 0.1
BLOCK = 64 * 1024


async def read(
    log: Path, *, tail: int | None = None, since: float | None = None, follow: bool = False
) -> AsyncGenerator[LogLine, None]:
    """Lines of a log and of the rotated ones before it, as Driver.logs says."""
    try:
        last = await asyncio.to_thread(snapshot, log, tail, since)
        for line in last.lines:
            yield line
        if follow:
            async with aclosing(_follow(log, last)) as lines:
                async for line in lines:
                    yield line
        elif last.rest and tail != 0:
            yield last.unfinished()
    except OSError as error:
        raise DriverError(f"the log {log} cannot be read: {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a log held at a moment.

    rest       the beginning of a line that was not finished
    position   bytes of the file that are in it
    rotated    inode of the newest rotated file; another one later: it was rotated since
    """

    lines: list[LogLine]
    rest: bytes
    position: int
    rotated: int | None
    times: Times

    def unfinished(self) -> LogLine:
        return _line(self.rest, self.times, self.position)


def snapshot(log: Path, tail: int | None, since: float | None, max_bytes: int = MOST_BYTES) -> Snapshot:
    """The last lines that may have been written since then. Fewer where they come to more than `max_bytes`."""
    found = _snapshot(log, tail, since, max_bytes)
    if _inode(_rotated(log, 1)) != found.rotated:  # rotated meanwhile; twice within milliseconds it is not
        found = _snapshot(log, tail, since, max_bytes)
    return found


def rotate(log: Path, max_bytes: int = 10 * 1024 * 1024, keep: int = 3) -> bool:
    """Rotate a log that has grown beyond `max_bytes`; True if it was. `keep` rotated files stay, 0 is none.

    Synchronous: it copies up to as much as was written since the last time. Raises OSError, with the log as it was.
    """
    try:
        if log.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    fresh = log.with_name(log.name + ".rotating")
    with log.open("r+b") as source:
        try:
            with fresh.open("wb") as copy:
                os.fchmod(copy.fileno(), os.fstat(source.fileno()).st_mode & 0o777)
                while block := source.read(1024 * 1024):
                    copy.write(block)
                for number in range(keep - 1, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        _rotated(log, number).replace(_rotated(log, number + 1))
                        log_times.renamed(_rotated(log, number), _rotated(log, number + 1))
                while block := source.read(1024 * 1024):
                    copy.write(block)
                size, written = copy.tell(), os.fstat(source.fileno()).st_mtime
            if keep > 0:
                fresh.replace(_rotated(log, 1))
                log_times.rotated(log, _rotated(log, 1), size, at=written)
            else:
                log_times.forgotten(log)
            os.ftruncate(source.fileno(), 0)
        finally:
            fresh.unlink(missing_ok=True)
    return True


# --- private


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes of one file, from `begin` on."""

    begin: int
    data: bytes
    times: Times


def _snapshot(log: Path, tail: int | None, since: float | None, max_bytes: int) -> Snapshot:
    rotated, position = _inode(_rotated(log, 1)), _size(log)
    times = Times.of(log)
    pieces: list[_Piece] = []
    budget, ends = max_bytes, 0
    for piece in _backwards(log, position, times, since) if tail != 0 else ():
        data = piece.data[-budget:]
        pieces.append(_Piece(piece.begin + len(piece.data) - len(data), data, piece.times))
        budget -= len(data)
        ends += data.count(b"\n")
        # One more line end than lines: only then is the first of them known to be whole.
        if budget <= 0 or (tail is not None and ends > tail):
            break
    lines: list[LogLine] = []
    rest = b""
    for piece in reversed(pieces):
        *whole, unfinished = piece.data.split(b"\n")
        end = piece.begin
        for part in whole:
            end += len(part) + 1
            lines.append(_line(rest + part, piece.times, end))
            rest = b""
        rest += unfinished
    if tail is not None:
        kept = max(0, tail - bool(rest))
        lines = lines[len(lines) - kept :] if kept < len(lines) else lines
    return Snapshot(lines, rest, position, rotated, times)


def _backwards(log: Path, size: int, times: Times, since: float | None) -> Iterator[_Piece]:
    """Pieces from the end of the log, or that time, to the beginning of the oldest rotated one."""
    number, path = 0, log
    while True:
        try:
            with path.open("rb") as file:
                if number:
                    size, times = file.seek(0, os.SEEK_END), Times.of(path, rotated=True)
                first = 0 if since is None else _line_begin(path, min(times.begin(since), size))
                while size > first:
                    begin = max(first, size - BLOCK)
                    file.seek(begin)
                    yield _Piece(begin, file.read(size - begin), times)
                    size = begin
                if first:
                    return
        except FileNotFoundError:
            if number:
                return
        number += 1
        path = _rotated(log, number)


def _line_begin(path: Path, position: int) -> int:
    """Where the line begins that this byte is of, if it is not too long."""
    begin = max(0, position - LINE_BYTES)
    with path.open("rb") as file:
        file.seek(begin)
        found = file.read(position - begin).rfind(b"\n")
    return begin + found + 1 if found >= 0 else begin


def _line(data: bytes, times: Times, end: int) -> LogLine:
    span = times.span(end)
    return LogLine(_text(data), span.earliest, span.latest) if span is not None else LogLine(_text(data))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").removesuffix("\r")


def _rotated(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read(BLOCK)
    except FileNotFoundError:
        return b""


async def _follow(log: Path, last: Snapshot) -> AsyncGenerator[LogLine, None]:
    reader = _Reader(last.rest)
    position, rotated = last.position, last.rotated
    while True:
        newest = _inode(_rotated(log, 1))
        if newest != rotated and newest is not None:
            # Rotated since the last look: what was not yet read of it stands at the end of the copy.
            while data := _read(_rotated(log, 1), position):
                position += len(data)
                for line in reader.take(data, _rotated(log, 1), position, rotated=True):
                    yield line
            if _size(log) >= position > 0:
                # Copied but perhaps not yet truncated: microseconds, unless it was filled up again meanwhile.
                await asyncio.sleep(POLL_S)
            position, rotated = 0, newest
        elif _size(log) < position:
            position = 0
            reader.restart()
        data = _read(log, position)
        position += len(data)
        for line in reader.take(data, log, position):
            yield line
        await asyncio.sleep(0 if len(data) == BLOCK else POLL_S)


class _Reader:
    """Makes lines of what was read: while it keeps up, each was written between the look before and this one."""

    def __init__(self, rest: bytes) -> None:
        self._rest, self._looked = rest, time.time()

    def restart(self) -> None:
        self._rest = b""

    def take(self, data: bytes, path: Path, position: int, *, rotated: bool = False) -> Iterator[LogLine]:
        """The whole lines up to that byte of the file; a line beyond all measure is cut where it stands."""
        end = position - len(data) - len(self._rest)
        *whole, rest = (self._rest + data).split(b"\n")
        if len(rest) > LINE_BYTES:
            whole.append(rest)
            rest = b""
        self._rest = rest
        before, self._looked = self._looked, time.time()
        kept_up = 0 <= self._looked - before <= EXACT_S
        times = None if kept_up or not whole else Times.of(path, rotated=rotated)
        for part in whole:
            end += len(part) + 1
            if times is not None:
                yield _line(part, times, end)
            else:
                yield LogLine(_text(part), before, self._looked)
