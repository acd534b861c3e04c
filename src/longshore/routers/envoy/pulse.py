"""Pulse: whether a running Envoy still answers. One that is stopped, or stuck, keeps its process, lock and ports.

answers on the admin socket ─► fine
answers on a public port    ─► requests are served, nothing can be changed: said, not ended
neither, for HUNG_S         ─► hung
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from itertools import islice
from typing import Literal

from longshore.clock import Clock
from longshore.routers.envoy.admin import Admin

#: Between two askings.
BEAT_S = 1.0
#: Bound on each answer. Parsing 500 deployments keeps the admin interface waiting for 0.3 s.
ANSWER_S = 2.0
#: Generous: ending an Envoy that would have come back costs every connection. With three askings it comes to 14 s.
HUNG_S = 10.0
#: However much time has passed: a manager that stood still itself asks anew before it says of another that it does.
ASKINGS = 3
#: Public ports that are asked; any worker may take the connection, and each of them serves every port.
_PORTS = 3
#: No request: Envoy answers 400 before it looks for a route, and no application hears of it.
_NONSENSE = b"longshore asks whether anybody is here\r\n\r\n"

State = Literal["fine", "deaf", "hung", "silent"]


class Pulse:
    def __init__(self, admin: Admin, clock: Clock, host: str, ports: Callable[[], Collection[int]]) -> None:
        """host: where the public ports are reached; ports: those that Envoy should listen on"""
        self._admin, self._clock, self._host, self._ports = admin, clock, host, ports
        self._since = 0.0
        self._unanswered = 0

    @property
    def silent_s(self) -> float:
        """How long it has not answered by now."""
        return self._clock.monotonic() - self._since if self._unanswered else 0.0

    async def ask(self) -> State:
        """fine; deaf: serves, but does not answer on its admin socket; silent: neither; hung: that for too long."""
        asked_at = self._clock.monotonic()
        if await self._admin_answers():
            self._unanswered = 0
            return "fine"
        if any(await asyncio.gather(*map(self._answers, islice(self._ports(), _PORTS)))):
            self._unanswered = 0
            return "deaf"
        if not self._unanswered:
            self._since = asked_at
        self._unanswered += 1
        return "hung" if self._unanswered >= ASKINGS and self.silent_s >= HUNG_S else "silent"

    async def _admin_answers(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._admin.ready()
        except TimeoutError:
            return False

    async def _answers(self, port: int) -> bool:
        """Whether somebody does anything about a connection: the kernel accepts it for a process that is stopped."""
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_connection(self._host, port)
                try:
                    writer.write(_NONSENSE)
                    await reader.read(1)
                    return True
                finally:
                    writer.close()
        except ConnectionResetError:
            return True
        except (TimeoutError, OSError):
            return False
