"""Whether anybody is still connected to a target, asked of the kernel: Envoy drops a host's counters with the host."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from longshore.clock import Clock
from longshore.routers.base import Target

#: Measured as enough: two readings without a connection, 50 ms apart.
POLL_S = 0.05
READINGS = 2
#: Connection states by name and number: include/net/tcp_states.h of Linux.
_ESTABLISHED = b"01"
_TABLES = ("net/tcp", "net/tcp6")


async def drained(
    targets: Iterable[Target], bound_s: float, clock: Clock, proc: Path = Path("/proc")
) -> frozenset[Target]:
    """Wait until no connection to these targets is established, at most `bound_s`; return those that have some.

    One reading of the kernel's tables serves all targets. Where there are none (not Linux) it cannot be told: the whole
    bound is waited, and nothing is returned.
    """
    waiting = frozenset(targets)
    if not (proc / _TABLES[0]).exists():
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


def connected(targets: Iterable[Target], proc: Path = Path("/proc")) -> frozenset[Target]:
    """Those of the targets that some established connection leads to.

    An instance on this machine is found by its local port, an instance elsewhere by our connections' remote address.
    """
    local: dict[bytes, set[Target]] = {}
    remote: dict[bytes, set[Target]] = {}
    for target in targets:
        if ip_address(target.host).is_loopback:
            local.setdefault(b"%04X" % target.port, set()).add(target)
        else:
            for endpoint in _endpoints(target):
                remote.setdefault(endpoint, set()).add(target)
    found: set[Target] = set()
    for table in _TABLES:
        path = proc / table
        for line in path.read_bytes().splitlines()[1:] if path.exists() else ():
            _, here, there, state, _ = line.split(None, 4)
            if state == _ESTABLISHED:
                found |= local.get(here[-4:], set()) | remote.get(there, set())
    return frozenset(found)


def _endpoints(target: Target) -> list[bytes]:
    """How proc_net_tcp(5) writes the address: each 32-bit word in the machine's byte order, then the port."""
    address = ip_address(target.host)
    packed = [address.packed]
    if isinstance(address, IPv4Address):
        packed.append(IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed).packed)
    order = "<" if sys.byteorder == "little" else ">"
    words = [struct.unpack(f"{order}{len(p) // 4}I", p) for p in packed]
    return [b"".join(b"%08X" % word for word in each) + b":%04X" % target.port for each in words]


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
