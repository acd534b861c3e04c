"""Established TCP connections, as the kernel's tables of this machine have them (proc_net_tcp(5))."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol, TypeVar

#: connection states by name and number: include/net/tcp_states.h of Linux
_ESTABLISHED = b"01"
_TABLES = ("net/tcp", "net/tcp6")
PROC = Path("/proc")
_READ_AT_ONCE = 64 * 1024


class Address(Protocol):
    @property
    def host(self) -> str:
        """An IP address."""

    @property
    def port(self) -> int: ...


A = TypeVar("A", bound=Address)


def can_be_told(proc: Path = PROC) -> bool:
    """Whether this machine has such tables: it is Linux."""
    return (proc / _TABLES[0]).exists()


def connected(addresses: Iterable[A], proc: Path = PROC) -> frozenset[A]:
    """Those of the addresses that some established connection leads to.

    One on this machine's loopback is found by its local port, one elsewhere by the remote end of our own connections.
    """
    local: dict[bytes, set[A]] = {}
    remote: dict[bytes, set[A]] = {}
    for address in addresses:
        if ip_address(address.host).is_loopback:
            local.setdefault(_port(address.port), set()).add(address)
        else:
            for endpoint in _endpoints(address):
                remote.setdefault(endpoint, set()).add(address)
    found: set[A] = set()
    for here, there in _established(proc):
        found |= local.get(here[-4:], set()) | remote.get(there, set())
    return frozenset(found)


def connections_to(port: int, proc: Path = PROC) -> int:
    """Established connections at this port of this machine, whoever is at their other end."""
    wanted = _port(port)
    return sum(here[-4:] == wanted for here, _ in _established(proc))


# --- private


def _established(proc: Path) -> Iterator[tuple[bytes, bytes]]:
    """(local, remote) end of each, as the kernel writes them.

    A line at a time: behind the few that are established may stand tens of thousands that wait out their end, of which
    each thread that looks would keep its megabytes.
    """
    for table in _TABLES:
        try:
            with (proc / table).open("rb", buffering=_READ_AT_ONCE) as file:
                next(file, None)
                for line in file:
                    _, here, there, state, _ = line.split(None, 4)
                    if state == _ESTABLISHED:
                        yield here, there
        except FileNotFoundError:
            continue


def _port(port: int) -> bytes:
    return b"%04X" % port


def _endpoints(address: Address) -> list[bytes]:
    """How the kernel writes the address: each 32-bit word in the machine's byte order, then the port."""
    ip = ip_address(address.host)
    packed = [ip.packed]
    if isinstance(ip, IPv4Address):
        packed.append(IPv6Address(b"\0" * 10 + b"\xff\xff" + ip.packed).packed)
    order = "<" if sys.byteorder == "little" else ">"
    words = [struct.unpack(f"{order}{len(p) // 4}I", p) for p in packed]
    return [b"".join(b"%08X" % word for word in each) + b":" + _port(address.port) for each in words]
