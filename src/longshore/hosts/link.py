"""One SSH connection that is kept, and made again when it is needed after it was lost.

closed ──open()──► connecting ──► connected ──lost──► closed        everybody who asks meanwhile waits for the
          ▲             │ failed: back-off                          same attempt
          └─────────────┘
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from longshore.errors import LeaseLost
from longshore.hosts.base import Facts, HostUnreachable

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

#: sessions at once over one connection, of the 10 (MaxSessions) that sshd allows where nobody has said otherwise: what
#: is left is for ending what has to be ended, and for those that sshd has not yet seen the end of
SESSIONS = 8
#: seconds before it is tried again: after the first failure, and after many in a row
BACK_OFF_S, MOST_BACK_OFF_S = 0.25, 5.0
#: seconds that the other side may take to say good-bye
CLOSE_S = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Opened:
    """A connection, and what was asked over it first. generation: how many this link has had."""

    connection: SSHClientConnection
    generation: int
    facts: Facts


class Link:
    """dial(generation, lost): makes a connection; calls lost(error) when it is over. changed(reachable, passing):
    tells, and where it is not, whether that may be over by itself. stays: it is made again when it was lost, also while
    nobody asks."""

    def __init__(
        self,
        host: str,
        dial: Callable[[int, Callable[[Exception | None], None]], Awaitable[Opened]],
        changed: Callable[[bool, bool], None],
        *,
        stays: bool = False,
    ) -> None:
        self.id = secrets.token_hex(4)
        self.sessions = asyncio.Semaphore(SESSIONS)
        #: sessions that somebody waits for or uses
        self.used = 0
        self._host, self._dial, self._changed = host, dial, changed
        self._stays = stays
        self._returning: asyncio.Task[None] | None = None
        self._generation = 0
        self._opened: Opened | None = None
        self._attempt: asyncio.Task[Opened] | None = None
        self._failures, self._again_at = 0, 0.0

    async def open(self) -> Opened:
        """Raises what `dial` does, and HostUnreachable when it is closed meanwhile."""
        if self._opened is not None:
            return self._opened
        if self._attempt is None:
            self._attempt = asyncio.create_task(self._connect())
            # Whoever waited may have gone: then nobody looks at how it ended.
            self._attempt.add_done_callback(lambda task: task.cancelled() or task.exception())
        attempt = self._attempt
        await asyncio.wait((attempt,))  # which goes on when we are cancelled: others may wait for it
        if attempt.cancelled():
            raise HostUnreachable(self._host, f"host {self._host}: the connection was closed while it was made")
        return attempt.result()

    async def close(self) -> None:
        """Nothing of it is left here. It can be opened again."""
        for task in (self._returning, self._attempt):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.connection.close()
            try:
                async with asyncio.timeout(CLOSE_S):
                    await opened.connection.wait_closed()
            except TimeoutError:  # the cable is cut: what is yet to be sent never will be
                opened.connection.abort()

    # --- private

    async def _connect(self) -> Opened:
        await asyncio.sleep(self._again_at - time.monotonic())
        self._generation += 1
        generation, ended = self._generation, False

        def lost(error: Exception | None) -> None:
            nonlocal ended
            ended = True
            if self._opened is not None and self._opened.generation == generation:
                self._opened = None
                self._changed(False, True)
                if self._stays:
                    self._returning = asyncio.create_task(self._return())

        try:
            opened = await self._dial(generation, lost)
        except Exception as error:
            self._failures += 1
            wait_s = min(BACK_OFF_S * 2 ** min(self._failures - 1, 10), MOST_BACK_OFF_S)
            self._again_at = time.monotonic() + wait_s
            self._changed(False, isinstance(error, HostUnreachable) and error.passing)
            raise
        finally:
            self._attempt = None
        self._failures, self._again_at = 0, 0.0
        if not ended:
            self._opened = opened
            self._changed(True, True)
        return opened

    async def _return(self) -> None:
        """Until it is connected again, or waiting does not help."""
        while self._opened is None:
            try:
                await self.open()
            except HostUnreachable as error:
                if not error.passing:
                    return
            except LeaseLost:
                return  # whoever works there is told
