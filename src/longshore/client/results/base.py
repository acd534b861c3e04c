"""What every result has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Result:
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
