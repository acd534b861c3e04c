"""Content-defined chunks: cutting a file where its content says so, so that an insertion moves no other cut.

A cut is made where a hash of the last bytes has a certain value. Hashing at each byte is too slow in Python, so a block
is hashed at all of its positions at once: read as one large number (its first byte is the lowest) and multiplied by a
constant of 11 bytes, each byte of the product is a weighted sum of the 11 bytes of the block up to that place, modulo
256, with a carry that bytes far away have next to no say in. Two such bytes in a row decide. That is one multiplication
and one search in C for each 64 kB: 80 to 120 MB a second, against 1 to 2 in a loop.

Chunks only say where to look: what is copied on a host is verified there by the SHA-256 of the whole.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

#: bytes of a chunk: never fewer (but for the last), never more; 8 kB more than the fewest on average
SMALLEST, LARGEST = 2 * 1024, 64 * 1024

_BLOCK = 64 * 1024
#: any odd bytes; changing them makes every list that is kept on disk useless, but harmless
_WEIGHTS = int.from_bytes(bytes.fromhex("a7d3295b8fc1e56d3b9f71"), "little")
_WINDOW = 11
#: one of 2 ** 13 positions; none in a run of zeros, whose product is zero
_CUT = re.compile(rb"\xb4[\x40-\x47]")
_PACKED = struct.Struct("<I16s")


class Chunk(NamedTuple):
    size: int
    digest: bytes


def chunks_of(place: Path) -> list[Chunk]:
    """The chunks of a file, in order. Raises OSError."""
    found: list[Chunk] = []
    with place.open("rb") as file:
        rest = b""
        for block, cuts in _blocks(file):
            data, shift = rest + block, len(rest)
            start = 0
            for cut in cuts:
                start = _cut_up(data, start, cut + shift, found)
            # What may still be cut by content stays; what is too long for one chunk does not.
            start = _cut_large(data, start, len(data), found)
            rest = data[start:]
        if rest:
            found.append(_chunk(rest))
    return found


def pack(chunks: list[Chunk]) -> bytes:
    return b"".join(_PACKED.pack(*chunk) for chunk in chunks)


def unpack(packed: bytes) -> list[Chunk]:
    """Raises struct.error for what was not packed."""
    return [Chunk(*each) for each in _PACKED.iter_unpack(packed)]


# --- private


def _blocks(file: BinaryIO) -> Iterator[tuple[bytes, list[int]]]:
    """The blocks of a file, and after how many bytes of each the content says to cut."""
    before = bytes(_WINDOW)
    while block := file.read(_BLOCK):
        seen = before + block
        hashed = (int.from_bytes(seen, "little") * _WEIGHTS).to_bytes(len(seen) + _WINDOW, "little")
        yield block, [found.end() - _WINDOW for found in _CUT.finditer(hashed, _WINDOW, len(seen))]
        before = seen[-_WINDOW:]


def _cut_up(data: bytes, start: int, cut: int, found: list[Chunk]) -> int:
    start = _cut_large(data, start, cut, found)
    if cut - start < SMALLEST:
        return start
    found.append(_chunk(data[start:cut]))
    return cut


def _cut_large(data: bytes, start: int, end: int, found: list[Chunk]) -> int:
    while end - start > LARGEST:
        found.append(_chunk(data[start : start + LARGEST]))
        start += LARGEST
    return start


def _chunk(data: bytes) -> Chunk:
    return Chunk(len(data), hashlib.blake2b(data, digest_size=16).digest())
