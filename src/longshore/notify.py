"""Telling systemd how the manager is, as sd_notify(3) does: a datagram to the socket that NOTIFY_SOCKET names.

Without that variable nobody is told anything, and nothing is done.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket

log = logging.getLogger("longshore")


def notify(*assignments: str) -> None:
    """Such as notify("READY=1", "STATUS=listens on …"). One that cannot be sent is only logged: a manager that nobody
    listens to goes on."""
    if not (address := os.environ.get("NOTIFY_SOCKET")):
        return
    # A name that begins with @ is not in the file system: unix(7), abstract sockets.
    name = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(assignments).encode(), name)
    except OSError as error:
        log.warning("systemd could not be told %s: %s", assignments[0], error)


def watchdog_s() -> float | None:
    """Seconds within which systemd wants a sign of life of this process; None: it does not (sd_watchdog_enabled(3))."""
    try:
        wanted = int(os.environ.get("WATCHDOG_USEC", "0")) / 1e6
        meant = int(os.environ.get("WATCHDOG_PID") or os.getpid()) == os.getpid()
    except ValueError:
        return None
    return wanted if wanted > 0 and meant else None


async def keep_alive() -> None:
    """Give that sign from the event loop, which is what would hang, until cancelled: thrice as often as wanted."""
    if (wanted := watchdog_s()) is None:
        return
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(wanted / 3)
