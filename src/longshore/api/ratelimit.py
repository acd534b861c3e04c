"""Rate limits: exact moving windows of a minute, in memory.

A request counts whatever its answer, unless that is 429. An own window and not the `limits` package, whose memory
storage never forgets a key and starts a timer thread beside nearly every hit; token buckets admit twice the number.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from longshore.api.settings import RateLimits
from longshore.errors import RateLimited

WINDOW = 60.0

#: keys remembered; the one longest unused gives way. 10,000 windows of 100 requests are some 30 MB
MOST_KEYS = 10_000

RawHeaders = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit after a request."""

    limited: str
    limit: int
    remaining: int
    #: seconds until the oldest counted request leaves the window
    reset: int

    def headers(self) -> RawHeaders:
        """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers)."""
        return [
            (b"ratelimit-policy", b'"%b";q=%d;w=%d' % (self.limited.encode(), self.limit, WINDOW)),
            (b"ratelimit", b'"%b";r=%d;t=%d' % (self.limited.encode(), self.remaining, self.reset)),
        ]


class Limiter:
    """Counts by (class, key). Classes are the fields of RateLimits; a limit of 0 is off."""

    def __init__(
        self, limits: RateLimits, now: Callable[[], float] = time.monotonic, *, most_keys: int = MOST_KEYS
    ) -> None:
        self._limits = {"deploy": limits.deploy, "status": limits.status, "list": limits.list}
        self._now = now
        self._most_keys = most_keys
        self._windows: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()

    def hit(self, limited: str, key: str) -> Allowance | None:
        """Count a request. None: this class is not limited.

        Raises RateLimited, with Retry-After in its headers, where the window is full; that request does not count.
        """
        limit = self._limits[limited]
        if not limit:
            return None
        now = self._now()
        window = self._window((limited, key), now)
        allowed = len(window) < limit
        if allowed:
            window.append(now)
        reset = max(1, math.ceil(window[0] + WINDOW - now))
        allowance = Allowance(limited, limit, limit - len(window), reset)
        if allowed:
            return allowance
        raise RateLimited(
            f"More than {limit} requests a minute ({limited}): try again in {reset} s.",
            headers={
                "Retry-After": str(reset),
                **{name.decode(): value.decode() for name, value in allowance.headers()},
            },
            limit=limit,
            window="1m0s",
            retry_after=f"{reset}s",
        )

    def _window(self, key: tuple[str, str], now: float) -> deque[float]:
        """The requests of the last minute, oldest first."""
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = deque()
            self._forget(now)
        else:
            self._windows.move_to_end(key)
        while window and window[0] <= now - WINDOW:
            window.popleft()
        return window

    def _forget(self, now: float) -> None:
        """Drop what is over at the old end, and beyond `most_keys` whatever was unused for longest."""
        while len(self._windows) > 1:
            oldest = next(iter(self._windows.values()))
            if oldest and oldest[-1] > now - WINDOW and len(self._windows) <= self._most_keys:
                return
            self._windows.popitem(last=False)
