"""What the API layer needs to know of the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longshore.model import Token


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests a minute, 0 = off. The seed contract's numbers."""

    #: for each deployment name
    deploy: int = 5
    #: status and health together, for each client
    status: int = 100
    #: for each client
    list: int = 50


@dataclass(frozen=True, slots=True)
class ApiSettings:
    #: None: no authentication (--no-auth; loopback only)
    token: str | None = None
    #: text of a token that was made → what it may; None: it is not valid
    find_token: Callable[[str], Token | None] = lambda _: None
    rate_limits: RateLimits = RateLimits()
    #: bytes of a request body; the contract's 1 MiB
    max_body: int = 1 << 20
    #: seconds a progress socket waits for a rollout to begin; the contract's
    progress_wait: float = 60.0
    #: seconds of silence after which an event stream says that it is alive; below the usual 60 s of proxies
    keep_alive: float = 15.0
