"""Tokens: made once, shown once, known by their hash."""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
from collections.abc import Sequence

from longshore.clock import Clock
from longshore.errors import Issue, NotFound, SpecInvalid
from longshore.model import Role, Token
from longshore.store import Store

#: what makes a token recognisable, to people and to scanners of leaked secrets
PREFIX = "lsh_"
#: the token in admin.token has this name, and no other can
ADMIN = "admin"
#: a token's last use is written down no more often, in seconds
USE_NOTED_S = 60.0

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Tokens:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def create(
        self, name: str, role: Role, environments: Sequence[str] | None, lifetime: float | None, *, by: str
    ) -> tuple[Token, str]:
        """A new token, and its text, which nobody can ask for again. Raises SpecInvalid for a name that was used.

        environments  that it may change; None: all
        lifetime      seconds; None: until it is revoked
        """
        if name == ADMIN or name.startswith("anonymous"):
            raise SpecInvalid(issues=[Issue("name", f"{name!r} is Longshore's own: choose another")])
        text, now = PREFIX + secrets.token_urlsafe(32), self._clock.now()
        token = Token(
            name, _hash(text), role, None if environments is None else tuple(environments), by, now,
            None if lifetime is None else now + lifetime,
        )  # fmt: skip
        try:
            self._store.add_token(token)
        except sqlite3.IntegrityError:
            message = f"{name!r} was given before: names in the history stay clear only if each is one token's"
            raise SpecInvalid(issues=[Issue("name", message)]) from None
        return token, text

    def find(self, text: str) -> Token | None:
        """The token of this text if it is valid now; its use is noted."""
        token, now = self._store.token_by_hash(_hash(text)), self._clock.now()
        if token is None or not token.is_valid(now):
            return None
        if token.last_used_at is None or now - token.last_used_at >= USE_NOTED_S:
            self._store.note_use(token.name, now)
        return token

    def all(self) -> list[Token]:
        """By name, with those that are expired or revoked."""
        return self._store.tokens()

    def revoke(self, name: str) -> Token:
        """It opens nothing any more. Raises NotFound."""
        if self._store.token(name) is None:
            raise NotFound(f"There is no token {name[:80]!r}.", operation="find")
        self._store.revoke_token(name, self._clock.now())
        token = self._store.token(name)
        assert token is not None
        return token


def _hash(text: str) -> str:
    # 256 bits of randomness need no slow hash.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
