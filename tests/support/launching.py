"""Launches for driver tests, and looks at the processes they make."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from longshore.drivers.base import Launch

#: a program that says "up" and then only waits
WAITER = (sys.executable, "-S", "-c", "import signal,sys; print('up', flush=True); signal.pause()")


def launch_of(directory: Path, command: str | tuple[str, ...] = WAITER, **changes: Any) -> Launch:
    """A launch of `command` in a directory of the test; `changes` replace fields."""
    environment: Mapping[str, str] = {"PATH": os.environ["PATH"], "RELEASE_VERSION": "1.0"}
    fields: dict[str, Any] = {
        "deployment": "shop",
        "instance": "shop-1-0",
        "launch_id": uuid.uuid4().hex,
        "command": command,
        "directory": directory,
        "environment": environment,
        "log": directory / "app.log",
    }
    return Launch(**(fields | changes))


async def until(condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> Any:
    """Look until `condition` gives something true, and return it; an AssertionError naming `what` after the bound."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        await asyncio.sleep(0.01)
    return found


def running(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
