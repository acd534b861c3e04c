"""Tokens: made once, shown once, known by their hash."""

from __future__ import annotations

import hashlib
import logging
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import suppress

from longshore.clock import Clock
from longshore.errors import Issue, LongshoreError, NotFound, SpecInvalid
from longshore.model import Role, Token
from longshore.store import Store

log = logging.getLogger("longshore.tokens")

#: what makes a token recognisable, to people and to scanners of leaked secrets
PREFIX = "lsh_"
#: the token in admin.token has this name, and no other can
ADMIN = "admin"
#: a token's last use is written down no more often, in seconds
USE_NOTED_S = 60.0


class Tokens:
    """Those that open something are kept in memory, for every request asks: nobody else writes them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._by_hash = {token.sha256: token for token in store.tokens() if token.revoked_at is None}
        self._noted: dict[str, float] = {}

    def create(
        self, name: str, role: Role, environments: Sequence[str] | None, lifetime: float | None, *, by: str
    ) -> tuple[Token, str]:
        """A new token, and its text, which nobody can ask for again. Raises SpecInvalid for a name that was used.

        environments  that it may change; None: all
        lifetime      seconds; None: until it is revoked
        """
        if name == ADMIN or name.startswith("anonymous"):
            raise SpecInvalid(issues=[Issue("name", f"{name!r} is Longshore's own: choose another")])
        if role is Role.admin and environments is not None:
            message = "an admin makes tokens for every environment: leave them out, or give the role deploy"
            raise SpecInvalid(issues=[Issue("environments", message)])
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
        self._by_hash[token.sha256] = token
        log.info("%s made the token %s of role %s", by, name, role)
        return token, text

    def find(self, text: str) -> Token | None:
        """The token of this text if it is valid now; its use is noted."""
        token, now = self._by_hash.get(_hash(text)), self._clock.now()
        if token is None or not token.is_valid(now):
            return None
        noted = self._noted.get(token.name)
        if noted is None or not 0 <= now - noted < USE_NOTED_S:
            self._noted[token.name] = now
            # Whoever only reads is answered also where nothing can be written.
            with suppress(LongshoreError, sqlite3.Error):
                self._store.note_use(token.name, now)
        return token

    def all(self) -> list[Token]:
        """By name, with those that are expired or revoked."""
        return self._store.tokens()

    def revoke(self, name: str, *, by: str) -> Token:
        """From now on it opens nothing. Raises NotFound."""
        if self._store.token(name) is None:
            raise NotFound(f"There is no token {name[:80]!r}.", operation="find")
        self._store.revoke_token(name, self._clock.now())
        token = self._store.token(name)
        assert token is not None
        self._by_hash.pop(token.sha256, None)
        log.info("%s revoked the token %s", by, name)
        return token


def _hash(text: str) -> str:
    # 256 bits of randomness need no slow hash.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
