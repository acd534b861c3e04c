"""What instances and hooks wrote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from longshore.client.results.base import Result


@dataclass(frozen=True, kw_only=True)
class LogLine(Result):
    """It was written between `earliest` and `time`; None: not known."""

    instance: str
    line: str
    time: datetime | None = None
    earliest: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LogProblem:
    """An instance whose output cannot be read now."""

    instance: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Logs(Result):
    """Oldest first."""

    lines: tuple[LogLine, ...]
    problems: tuple[LogProblem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HookLine(Result):
    """phase: pre_deploy, post_deploy or canary_check."""

    phase: str
    line: str


@dataclass(frozen=True, kw_only=True)
class Hooks(Result):
    """Oldest first within each phase."""

    lines: tuple[HookLine, ...]
