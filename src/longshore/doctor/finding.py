"""What was found: one line of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """host: its name, "" for the manager's machine. remedy: what to do about it, "" where nothing needs doing."""

    host: str
    check: str
    level: Level
    text: str
    remedy: str = ""
