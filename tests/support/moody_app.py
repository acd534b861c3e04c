"""The demo's application in a mood: laid beside app.py in an artifact.

START_S   seconds until it listens
SICK_S    seconds from then on until its /health says 503; everything else it answers as before
DEAF      not empty: it ignores SIGTERM
"""

from __future__ import annotations

import asyncio
import os
import signal

import app


def fall_sick() -> None:
    app.HEALTH = app.answer(b"sick\n", "503 Service Unavailable")


async def serve() -> None:
    if os.environ.get("DEAF"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    await asyncio.sleep(float(os.environ.get("START_S", "0")))
    if seconds := os.environ.get("SICK_S"):
        asyncio.get_running_loop().call_later(float(seconds), fall_sick)
    await app.serve()


if __name__ == "__main__":
    asyncio.run(serve())
