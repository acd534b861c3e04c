"""Request bodies as JSON values: bounded, and refused where JSON says two things or nothing."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from longshore.errors import SpecInvalid


async def read_json(request: Request, most: int) -> Any:
    """The body's JSON value, None where the body is empty. Raises SpecInvalid (also over `most` bytes)."""
    raw = await _read(request, most)
    if not raw.strip():
        return None
    try:
        return json.loads(raw, object_pairs_hook=_object, parse_constant=_refuse)
    except RecursionError:
        raise SpecInvalid("The body is nested too deeply.") from None
    except ValueError as wrong:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors, as is an integer of more than 4300 digits.
        raise SpecInvalid(f"The body is no JSON: {wrong}") from None


async def _read(request: Request, most: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared[:20]) > most:
        raise _too_large(most)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > most:
                raise _too_large(most)
    except ClientDisconnect:
        raise SpecInvalid("The body ended before it was complete.") from None
    return b"".join(chunks)


def _too_large(most: int) -> SpecInvalid:
    # The rest of the body is not read: what follows on this connection would be taken for a request.
    return SpecInvalid(f"The body is larger than {most} bytes.", headers={"Connection": "close"})


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return read


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")
