"""A manager that says what it holds: `python inspected.py serve …` is `longshore serve …`, and on SIGUSR2 it writes
down how many objects of each type are alive, and how long the containers are that Longshore's own objects hold.

Nothing of it runs before it is asked. SOAK_INSPECTION names the file, which appears complete.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from longshore.__main__ import main

INSPECTION = "SOAK_INSPECTION"
#: types that are told: with fewer alive a leak of them says little
TYPES_TOLD = 80


def inspect(_: int, __: FrameType | None) -> None:
    """Called between two instructions of the manager. Takes some 0.1 s, after a collection of garbage."""
    gc.collect()
    in_use = {"blocks": sys.getallocatedblocks(), "allocated": allocated(), "sqlite": of_sqlite()}
    objects = gc.get_objects()
    types = Counter(name_of(type(each)) for each in objects)
    held: Counter[str] = Counter()
    for each in objects:
        if name_of(type(each)).startswith("longshore."):
            for name, value in attributes(each):
                if isinstance(value, dict | list | set | deque):
                    held[f"{type(each).__qualname__}.{name}"] += len(value)
    for module, each in list(sys.modules.items()):
        if module.startswith("longshore."):
            for name, value in vars(each).items():
                if isinstance(value, dict | list | set | deque) and not name.startswith("__"):
                    held[f"{module}.{name}"] += len(value)
    told = {
        "objects": len(objects),
        **in_use,
        "tasks": sum(isinstance(each, asyncio.Task) and not each.done() for each in objects),
        "types": dict(types.most_common(TYPES_TOLD)),
        "held": {name: size for name, size in held.items() if size},
    }
    path = Path(os.environ[INSPECTION])
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(told))
    aside.rename(path)


class Mallinfo2(ctypes.Structure):
    """mallinfo(3): of all arenas together."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"),
            "keepcost",
        )
    ]


def allocated() -> int:
    """Bytes that malloc has given out and not got back: SQLite's, uvloop's, OpenSSL's, and Python's larger ones.

    0 where the C library cannot say.
    """
    try:
        ask = ctypes.CDLL(None).mallinfo2
    except AttributeError:  # glibc before 2.33, or another one
        return 0
    ask.restype = Mallinfo2
    found = ask()
    return int(found.uordblks + found.hblkhd)


def of_sqlite() -> int:
    """Bytes of that which SQLite has: pages of its cache, up to 2 MB for each connection, and statements.

    0 where it is another library than the system's.
    """
    try:
        return int(ctypes.CDLL("libsqlite3.so.0").sqlite3_memory_used())
    except (OSError, AttributeError):
        return 0


def name_of(kind: type) -> str:
    """With its module, where it has one: on a class of an extension that name may be anything."""
    module = kind.__module__
    return f"{module}.{kind.__qualname__}" if isinstance(module, str) else kind.__qualname__


def attributes(each: Any) -> Iterator[tuple[str, Any]]:
    """Of an instance, by __dict__ and __slots__, without calling anything of it."""
    yield from getattr(each, "__dict__", {}).items()
    for kind in type(each).__mro__:
        for name in getattr(kind, "__slots__", ()):
            descriptor = vars(kind).get(name)
            if descriptor is not None and hasattr(descriptor, "__get__"):
                try:
                    yield name, descriptor.__get__(each, type(each))
                except AttributeError:
                    continue


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, inspect)
    main()
