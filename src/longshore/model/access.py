"""Who may do what, and what is closed for a while."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Role(StrEnum):
    """Each may what the one before may."""

    read = "read"
    #: changes of deployments, in the environments of the token
    deploy = "deploy"
    #: tokens, and other people's locks
    admin = "admin"

    def may(self, least: Role) -> bool:
        return _RANKS[self] >= _RANKS[least]


_RANKS = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is known: by its hash. name: what its holder is called wherever somebody is named."""

    name: str
    sha256: str
    role: Role
    #: environments it may change; None: all
    environments: tuple[str, ...] | None
    created_by: str
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None

    def is_valid(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


LockScope = Literal["deployment", "environment"]


@dataclass(frozen=True, slots=True)
class Lock:
    """Nobody changes what is locked, its holder included, but with an override. Taking back is always allowed."""

    scope: LockScope
    #: of the deployment or the environment
    name: str
    holder: str
    message: str
    since: float
    expires_at: float | None = None

    @property
    def called(self) -> str:
        return self.name if self.scope == "deployment" else f"the environment {self.name}"
