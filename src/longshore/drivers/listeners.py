"""Who listens on a port of this machine's loopback, as a connection to 127.0.0.1 would find out."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from longshore.drivers.identity import read_stat

#: state LISTEN in /proc/net/tcp (include/net/tcp_states.h)
LISTEN = b"0A"
#: proc_net_tcp(5) writes each 32-bit word of an address in the machine's byte order
_ORDER = "<" if sys.byteorder == "little" else ">"


def _written(address: bytes) -> bytes:
    words = struct.unpack(f"{_ORDER}{len(address) // 4}I", address)
    return b"".join(b"%08X" % word for word in words)


_LOOPBACK = socket.inet_aton("127.0.0.1")
#: in the order in which the kernel looks: sockets bound to the address, then those bound to any (an IPv6 one, too,
#: unless it was told otherwise, which cannot be seen)
_ADDRESSES = (
    frozenset({_written(_LOOPBACK), _written(b"\0" * 10 + b"\xff\xff" + _LOOPBACK)}),
    frozenset({_written(b"\0" * 4), _written(b"\0" * 16)}),
)


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket."""

    inode: bytes
    uid: int


def listening_rows(table: Path) -> Iterator[list[bytes]]:
    """Rows of /proc/net/tcp or tcp6 of sockets that listen; none where there is no such table.

    The kernel lists them first (Linux, net/ipv4/tcp_ipv4.c, tcp_get_idx), and only they are read: behind them may stand
    tens of thousands that wait out their end, and 15 MB of objects for 15,000 of those.
    """
    try:
        with table.open("rb") as file:
            next(file, None)
            for line in file:
                row = line.split()
                if row[3] != LISTEN:
                    return
                yield row
    except OSError:
        return


def listeners(port: int, proc: Path = Path("/proc")) -> list[Listener]:
    """Those that a connection to 127.0.0.1:`port` may end up with; several share it by SO_REUSEPORT."""
    bound: dict[bytes, list[Listener]] = {}
    for table in ("tcp", "tcp6"):
        for row in listening_rows(proc / "net" / table):
            address, _, number = row[1].rpartition(b":")
            if int(number, 16) == port:
                bound.setdefault(address, []).append(Listener(row[9], int(row[7])))
    for addresses in _ADDRESSES:
        if found := [each for address in addresses for each in bound.get(address, [])]:
            return found
    return []


def sockets(pid: int) -> frozenset[bytes] | None:
    """Inodes of the sockets that a process has open; None: they may not be looked at. Empty where it is gone."""
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names alone
    except PermissionError:
        return None
    except OSError:
        return frozenset()
    return frozenset(_inodes(directory, names))


def owner(listener: Listener) -> str:
    """Whose it is, in words for a person."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names alone, hundreds of them
        if name.isdigit() and listener.inode in (sockets(int(name)) or ()):
            stat = read_stat(int(name))
            return f"{_command(int(name)) or 'a process'} (pid {name})" if stat is not None else "a process"
    return f"a process of user id {listener.uid}"


def stranger(port: int, pids: Collection[int]) -> str:
    """Who else than these processes a connection to 127.0.0.1:`port` may end up with, in words.

    "" where nobody does, or where that cannot be told: a process of theirs does not let itself be looked at (a set-uid
    program, or one with capabilities, of a manager that is not root).
    """
    found = listeners(port)
    open_ = [sockets(pid) for pid in pids] if found else []
    known = frozenset(inode for inodes in open_ for inode in inodes or ())
    strange = [each for each in found if each.inode not in known]
    if not strange or None in open_:
        return ""
    return owner(strange[0])


# --- private


def _inodes(directory: str, names: list[str]) -> Iterator[bytes]:
    for name in names:
        try:
            target = os.readlink(f"{directory}/{name}")  # noqa: PTH115
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1].encode()


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
