"""Output of instances: read from the end, followed, and rotated, while the writers hold the file open.

An instance writes to its file by itself (O_APPEND) and knows of no rotation, so rotation copies the content away and
truncates the file: `app.log` → `app.log.1` → `app.log.2` …, the higher the older. What a writer appends in the
microseconds between the last look and the truncation is lost, as with every copy-and-truncate rotation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

#: most bytes read for the last lines, in all files together
TAIL_BYTES = 4 * 1024 * 1024
#: longest line that is kept together
LINE_BYTES = 64 * 1024
#: seconds between two looks of follow(): inotify is not in the standard library, and a fstat costs 2 µs
POLL_S = 0.1
BLOCK = 64 * 1024


def tail(log: Path, lines: int, max_bytes: int = TAIL_BYTES) -> list[str]:
    """The last lines of a log and of the rotated ones before it, oldest first, without line ends.

    lines      how many at most; 0 or less is none
    max_bytes  bound on what is read: fewer lines are returned where they are very long
    Undecodable bytes are replaced. A log that does not exist has no lines.
    """
    if lines <= 0:
        return []
    blocks: list[bytes] = []
    budget, ends = max_bytes, 0
    for block in _backwards(log):
        block = block[-budget:]
        blocks.append(block)
        budget -= len(block)
        ends += block.count(b"\n")
        # One more line end than lines: only then is the first of them known to be whole.
        if ends > lines or budget <= 0:
            break
    text = b"".join(reversed(blocks))
    found = text.removesuffix(b"\n").split(b"\n") if text else []
    return [line.decode("utf-8", "replace").removesuffix("\r") for line in found[-lines:]]


def follow(log: Path) -> AsyncIterator[str]:
    """Lines written from this call on, across rotations; a log that does not exist yet is waited for. Endless."""
    try:
        position = log.stat().st_size
    except FileNotFoundError:
        position = 0
    return _follow(log, position, _inode(_rotated(log, 1)))


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
                while block := source.read(1024 * 1024):
                    copy.write(block)
            if keep > 0:
                fresh.replace(_rotated(log, 1))
            os.ftruncate(source.fileno(), 0)
        finally:
            fresh.unlink(missing_ok=True)
    return True


# --- private


def _rotated(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _backwards(log: Path) -> Iterator[bytes]:
    """Blocks from the end of the log to the beginning of the oldest rotated one."""
    number, path = 0, log
    while True:
        try:
            with path.open("rb") as file:
                position = file.seek(0, os.SEEK_END)
                while position > 0:
                    begin = max(0, position - BLOCK)
                    file.seek(begin)
                    yield file.read(position - begin)
                    position = begin
        except FileNotFoundError:
            if number:
                return
        number += 1
        path = _rotated(log, number)


def _read(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read(BLOCK)
    except FileNotFoundError:
        return b""


async def _follow(log: Path, position: int, rotated: int | None) -> AsyncIterator[str]:
    rest = b""
    while True:
        newest = _inode(_rotated(log, 1))
        if newest != rotated and newest is not None:
            # Rotated since the last look: what was not yet read of it stands at the end of the copy.
            while data := _read(_rotated(log, 1), position):
                position += len(data)
                lines, rest = _split(rest + data)
                for line in lines:
                    yield line
            if _size(log) >= position > 0:
                # Copied but perhaps not yet truncated: microseconds, unless it was filled up again meanwhile.
                await asyncio.sleep(POLL_S)
            position, rotated = 0, newest
        elif _size(log) < position:
            position, rest = 0, b""
        data = _read(log, position)
        position += len(data)
        lines, rest = _split(rest + data)
        for line in lines:
            yield line
        await asyncio.sleep(0 if len(data) == BLOCK else POLL_S)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _split(data: bytes) -> tuple[list[str], bytes]:
    """The whole lines, and the beginning of the next; a line beyond all measure is cut where it stands."""
    *lines, rest = data.split(b"\n")
    if len(rest) > LINE_BYTES:
        lines.append(rest)
        rest = b""
    return [line.decode("utf-8", "replace").removesuffix("\r") for line in lines], rest
