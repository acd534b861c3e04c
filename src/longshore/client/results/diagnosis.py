"""What the hosts of an environment lack."""

from __future__ import annotations

from dataclasses import dataclass

from longshore.client.results.base import Result


@dataclass(frozen=True, kw_only=True)
class Finding(Result):
    """host: "" is the manager's machine. level: ok | warn | fail. remedy: "" where nothing needs doing."""

    host: str
    check: str
    level: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnosis(Result):
    environment: str
    findings: tuple[Finding, ...]
