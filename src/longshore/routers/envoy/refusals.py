"""Refusals: client connections that Envoy closed at once because there were too many. Nobody else says so."""

from __future__ import annotations

import re
from collections.abc import Callable

from longshore.clock import Clock
from longshore.routers.envoy.admin import Admin
from longshore.routers.envoy.limits import most_connections, most_connections_of_one_port

#: A flood is said once in so many seconds, not in every round.
QUIET_S = 60.0
_OF_PORT = re.compile(r"^connection_limit\.(.+)\.limited_connections$")
_WANTED = r"^(connection_limit\..+\.limited_connections|listener\..+\.downstream_global_cx_overflow)$"


class Refusals:
    def __init__(self, admin: Admin, clock: Clock, on_event: Callable[[str, str], None]) -> None:
        self._admin, self._clock, self._on_event = admin, clock, on_event
        #: what was refused by the last look that said something: deployment ("": all together) → count
        self._told: dict[str, int] = {}
        self._quiet_until = 0.0

    async def look(self) -> None:
        """Say what has been refused since the last time. Raises AdminUnavailable."""
        counts: dict[str, int] = {}
        for name, value in (await self._admin.stats(_WANTED)).items():
            of_port = _OF_PORT.match(name)
            key = of_port[1] if of_port else ""
            counts[key] = counts.get(key, 0) + int(value)
        # An Envoy that was started anew counts from 0.
        told = {key: before for key, before in self._told.items() if before <= counts.get(key, 0)}
        more = {key: count - told.get(key, 0) for key, count in counts.items() if count > told.get(key, 0)}
        if not more or self._clock.monotonic() < self._quiet_until:
            return
        for key, count in sorted(more.items()):
            most = most_connections_of_one_port() if key else most_connections()
            whose = f"of {key}" if key else "of all ports together"
            self._on_event("warning", f"{count} client connections were closed at once: {most} {whose} is the most")
        self._told, self._quiet_until = counts, self._clock.monotonic() + QUIET_S
