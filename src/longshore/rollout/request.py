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
    dropped  dotted paths of what a change takes back to its default (null in the merge patch)
    conflict what it says of a rollout in progress: on_conflict, queue_timeout
    issues   every problem of shape, with dotted field paths; with any of them the request is refused
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    issues: tuple[Issue, ...] = ()
    dropped: frozenset[str] = frozenset()
    conflict: Mapping[str, Any] = field(default_factory=dict)
