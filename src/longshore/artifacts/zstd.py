"""Whether a zstd file is whole: its library ends quietly where a file is cut short."""

from __future__ import annotations

from typing import BinaryIO

import zstandard

_FRAME = b"\x28\xb5\x2f\xfd"
_RLE = 1


def check_frames(file: BinaryIO) -> None:
    """Walk over the frames by their lengths, without decompressing; leaves `file` at its beginning.

    Raises  EOFError where the file ends within a frame, zstandard.ZstdError for what is no frame.
    Source  RFC 8878, section 3.1: a frame is a header, blocks (a 3-byte header: bit 0 last, bits 1-2 type, the rest the
            size; an RLE block of any size takes one byte) and a checksum of 4 bytes if its header says so; a skippable
            frame is a magic number 0x184D2A50-5F and a length of 4 bytes.
    """
    end = file.seek(0, 2)
    at = 0
    while at < end:
        file.seek(at)
        head = _exactly(file, min(18, end - at))
        if head[:4] == _FRAME:
            at = _after_blocks(file, at, head)
        elif head[:1] and 0x50 <= head[0] <= 0x5F and head[1:4] == b"\x2a\x4d\x18":
            at += 8 + int.from_bytes(head[4:8], "little")
        else:
            raise zstandard.ZstdError("what follows is not a zstd frame")
        if at > end:
            raise EOFError("the file ends within a zstd frame")
    file.seek(0)


# --- private


def _after_blocks(file: BinaryIO, at: int, head: bytes) -> int:
    at += zstandard.frame_header_size(head)
    last = False
    while not last:
        file.seek(at)
        block = int.from_bytes(_exactly(file, 3), "little")
        last = bool(block & 1)
        at += 3 + (1 if block >> 1 & 3 == _RLE else block >> 3)
    return at + 4 * zstandard.get_frame_parameters(head).has_checksum


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise EOFError("the file ends within a zstd frame")
    return data
