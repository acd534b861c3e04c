"""What a client asked for: the readable part of a request body, and everything wrong with its shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from longshore.errors import Issue


@dataclass(frozen=True, slots=True)
class Request:
    """A deploy, validate or plan request after parsing, before anything was looked up or inherited.

    fields   only what the client gave and what is well-typed, in model units: durations float seconds, sizes bytes,
             lists as tuples, nested groups as patches such as `{"health_check": {"interval": 2.0}}`
    issues   every problem of shape, with dotted field paths; with any of them the request is refused
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()


@dataclass(frozen=True, slots=True)
class Once:
    """An Idempotency-Key of a caller's. The transaction that opens a rollout binds it, so that it opens one at most."""

    caller: str
    key: str
