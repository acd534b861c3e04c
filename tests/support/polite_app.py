"""The demo's application with manners: on SIGTERM it listens no more, closes what is idle and ends what it is at.

Laid beside app.py in an artifact. What idles is closed at once: a proxy that still uses it loses requests then.
LINGER_S: seconds it goes on after that, as one does that has much to put away.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import app

open_: set[Polite] = set()


class Polite(app.Connection):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        open_.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        open_.discard(self)

    def leave(self) -> None:
        if self.pending is None and not self.upgraded:
            self.close()


async def serve() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    server = await loop.create_server(Polite, os.environ["HOST"], int(os.environ["PORT"]))
    await told.wait()
    server.close()
    while open_:
        for connection in list(open_):
            connection.leave()
        await asyncio.sleep(0.01)
    await asyncio.sleep(float(os.environ.get("LINGER_S", "0")))


if __name__ == "__main__":
    asyncio.run(serve())
