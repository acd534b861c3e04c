"""envoy.log: kept small, and read for the one thing that Envoy says nowhere else, why it refused a change."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from longshore.clock import Clock
from longshore.routers.envoy.admin import Admin

#: envoy.log, .1 and .2: 30 MB at most
ROTATE_BYTES = 10 * 1024**2
KEPT = 3
#: Envoy flushes its log every 100 ms (see the command line).
_FLUSH_S = 1.0
_PREFIX = re.compile(r"^(\[[^\]]*\]\s*)+")


async def refusal(log: Path, since: int, clock: Clock) -> str:
    """What Envoy wrote behind byte `since`, without time stamps; waits up to 1 s for it to be flushed."""
    deadline = clock.monotonic() + _FLUSH_S
    while clock.monotonic() < deadline:
        lines = _lines_since(log, since)
        told = [line for line in lines if "rejected" in line or "rror" in line or "nable" in line]
        if told:
            return " ".join(_PREFIX.sub("", line).strip() for line in told[:4])
        await clock.sleep(0.02)
    return f"Envoy gave no reason; see {log}"


async def rotate(log: Path, admin: Admin, limit: int = ROTATE_BYTES) -> bool:
    """Begin a new envoy.log once it has `limit` bytes; the oldest of three goes. Returns whether it did."""
    if not await asyncio.to_thread(_shift, log, limit):
        return False
    await admin.post("/reopen_logs")
    return True


def _shift(log: Path, limit: int) -> bool:
    if not log.exists() or log.stat().st_size < limit:
        return False
    for number in range(KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        newer = log.with_name(f"{log.name}.{number - 1}") if number > 1 else log
        if newer.exists():
            newer.replace(older)
    return True


async def holder_of(port: int) -> str:
    """Who listens on a TCP port of this machine, in words; "" where that cannot be told."""

    def look() -> str:
        import psutil  # here, since it is seldom needed and every start would pay for it

        try:
            for connection in psutil.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                    if connection.pid is None:
                        return "by another user's process"
                    return f"by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
        except psutil.Error:
            return ""
        return ""

    return await asyncio.to_thread(look)


def _lines_since(log: Path, since: int) -> list[str]:
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(since)
        return file.read().decode(errors="replace").splitlines()
