"""Established TCP connections of this machine, by netlink, or by the kernel's tables where that is not to be had."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol, TypeVar

from longshore import sock_diag
from longshore.sock_diag import Connection

#: the tables (proc_net_tcp(5)) and the state, as include/net/tcp_states.h of Linux numbers it
_TABLES = ("net/tcp", "net/tcp6")
_ESTABLISHED = b"01"
PROC = Path("/proc")
_READ_AT_ONCE = 64 * 1024
#: addresses are written by 32-bit words in the machine's byte order
_WORDS = "<" if sys.byteorder == "little" else ">"


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
    local: dict[int, set[A]] = {}
    remote: dict[tuple[bytes, int], set[A]] = {}
    for address in addresses:
        ip = ip_address(address.host)
        if ip.is_loopback:
            local.setdefault(address.port, set()).add(address)
        else:
            remote.setdefault((ip.packed, address.port), set()).add(address)
    found: set[A] = set()
    for port, there, remote_port in _established(proc):
        found |= local.get(port, set()) | remote.get((there, remote_port), set())
    return frozenset(found)


def connections_to(port: int, proc: Path = PROC) -> int:
    """Established connections at this port of this machine, whoever is at their other end."""
    return sum(connection.port == port for connection in _established(proc, port))


# --- private


def _established(proc: Path, port: int = 0) -> Iterable[Connection]:
    """All of them, or at least those at this port."""
    if proc == PROC:
        try:
            return sock_diag.established(port)
        except OSError:
            pass
    return _in_tables(proc)


def _in_tables(proc: Path) -> Iterator[Connection]:
    """A line at a time: behind the few that are established may stand tens of thousands that wait out their end, of
    which each thread that looks would keep its megabytes."""
    for table in _TABLES:
        try:
            with (proc / table).open("rb", buffering=_READ_AT_ONCE) as file:
                next(file, None)
                for line in file:
                    _, here, there, state, _ = line.split(None, 4)
                    if state == _ESTABLISHED:
                        address, _, remote_port = there.partition(b":")
                        yield Connection(int(here[-4:], 16), _packed(address), int(remote_port, 16))
        except FileNotFoundError:
            continue


def _packed(address: bytes) -> bytes:
    count = len(address) // 8
    words = (int(address[8 * word : 8 * word + 8], 16) for word in range(count))
    return sock_diag.unmapped(struct.pack(f"{_WORDS}{count}I", *words))
