"""Where in a TOML file a value stands."""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """Number of the line, from 1, on which the value at `path` begins; None: there is no such value.

    text   TOML that can be read
    path   keys and indexes, from the root

    tomllib tells nothing of places. So it is asked how many lines it takes until the value is there: nothing that
    follows can take it away, as no key may stand twice.
    """
    lines = text.split("\n")

    def readable(number: int) -> tuple[int, dict[str, Any]]:
        """The first `number` lines, or as many of them as do not end in the middle of a value."""
        while True:
            try:
                return number, tomllib.loads("\n".join(lines[:number]))
            except tomllib.TOMLDecodeError:
                number -= 1

    numbers = range(1, len(lines) + 1)
    last = bisect_left(numbers, True, key=lambda number: has(readable(number)[1], path))
    # A value of several lines is there with its last one, and begins behind what could be read without it.
    return None if last == len(lines) else readable(last)[0] + 1


def has(content: Any, path: Sequence[str | int]) -> bool:
    try:
        value_at(content, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def value_at(content: Any, path: Sequence[str | int]) -> Any:
    """Raises KeyError, IndexError or TypeError where there is none."""
    for part in path:
        if isinstance(content, str):
            raise TypeError
        content = content[part]
    return content
