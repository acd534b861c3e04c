"""Whether anybody is still connected to a target, asked of the kernel: Envoy drops a host's counters with the host."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

from longshore.clock import Clock
from longshore.connections import PROC, can_be_told, connected
from longshore.routers.base import Target

#: Measured as enough: two readings without a connection, 50 ms apart.
POLL_S = 0.05
READINGS = 2


async def drained(targets: Iterable[Target], bound_s: float, clock: Clock, proc: Path = PROC) -> frozenset[Target]:
    """Wait until no connection to these targets is established, at most `bound_s`; return those that have some.

    One reading of the kernel's tables serves all targets. Where there are none (not Linux) it cannot be told: the whole
    bound is waited, and nothing is returned.
    """
    waiting = frozenset(targets)
    if not can_be_told(proc):
        await clock.sleep(bound_s)
        return frozenset()
    clear: dict[Target, int] = dict.fromkeys(waiting, 0)
    deadline = clock.monotonic() + bound_s
    while True:
        busy = await asyncio.to_thread(connected, waiting, proc)
        clear = {target: 0 if target in busy else clear[target] + 1 for target in waiting}
        waiting = frozenset(target for target, readings in clear.items() if readings < READINGS)
        if not waiting or clock.monotonic() >= deadline:
            return waiting & busy
        await clock.sleep(min(POLL_S, max(0.0, deadline - clock.monotonic())))


def refuses_connections(target: Target) -> bool:
    """Whether nothing listens there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect((target.host, target.port))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False
