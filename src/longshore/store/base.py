"""What every part of the store has: the database, the clock, and writes that say which deployment they concern."""

from __future__ import annotations

import asyncio
from typing import Any

from longshore.clock import Clock
from longshore.errors import InternalError
from longshore.store.sqlite import Database


class Base:
    db: Database
    clock: Clock

    def __init__(self) -> None:
        self._stamps: dict[str, int] = {}
        #: the stamp of all others: of what nothing was written about, or that is forgotten
        self._rest = 0
        #: by name, whoever waits for its stamp to move
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        #: grows with every change of anything, and with what touch() is told
        self.changes = 0

    def stamp(self, name: str) -> int:
        """Moves whenever something stored about the deployment, or told by touch(), has changed."""
        return self._stamps.get(name, self._rest)

    def touch(self, name: str) -> None:
        """What is shown of this deployment may have changed."""
        self.changes += 1
        # Of all changes, not of its own: no stamp comes a second time when a name is forgotten and used again.
        self._stamps[name] = self.changes
        for waiter in self._waiting.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)

    def forget_name(self, name: str) -> None:
        """It is deleted: nothing is kept in memory by its name."""
        self.touch(name)
        self._rest = self._stamps.pop(name)

    async def moved(self, name: str, since: int) -> None:
        """Wait, without a bound, until stamp() is another than `since`."""
        while self.stamp(name) == since:
            waiter = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(name, set())
            waiting.add(waiter)
            try:
                await waiter
            finally:
                waiting.discard(waiter)
                if not waiting and self._waiting.get(name) is waiting:
                    del self._waiting[name]

    def _write(self, name: str, sql: str, /, **parameters: Any) -> int:
        """One statement about the deployment `name`; how many rows it changed."""
        with self.db.transaction():
            changed = self.db.write(sql, parameters)
            self.db.after_commit(lambda: self.touch(name))
        return changed


def expect(changed: int, what: str) -> None:
    """An update that had to change one row, and did not, is an error."""
    if changed != 1:
        raise InternalError(f"The store has no {what}: an update that had to change one row changed {changed}.")
