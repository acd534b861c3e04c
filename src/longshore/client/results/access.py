"""Locks and tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from longshore.client.results.base import Result


@dataclass(frozen=True, kw_only=True)
class Lock(Result):
    """Changes are refused, but for rollbacks and overrides. scope: deployment | environment; name: of that."""

    scope: str
    name: str
    #: name of the token
    holder: str
    message: str = ""
    since: datetime
    #: None: until it is unlocked
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Locks(Result):
    locks: tuple[Lock, ...]


@dataclass(frozen=True, kw_only=True)
class Token(Result):
    """What a token is known by. role: read | deploy | admin."""

    name: str
    role: str
    #: that it may change; None: all
    environments: tuple[str, ...] | None = None
    created_by: str = ""
    created_at: datetime
    #: None: until it is revoked
    expires_at: datetime | None = None
    #: to the minute; None: never
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    #: its text; only where it was just made
    token: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Tokens(Result):
    tokens: tuple[Token, ...]
