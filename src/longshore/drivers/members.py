"""Which processes belong together: those of a session, and those that carry a mark in their environment.

A daemon leaves its session and its parent; what it cannot help inheriting is its environment (and its cgroup). A
program that overwrites its environment block to set its title is found by its session instead.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from longshore.drivers.identity import Stat, read_stat

#: state LISTEN in /proc/net/tcp (include/net/tcp_states.h)
LISTEN = b"0A"


@dataclass(frozen=True, slots=True)
class Circle:
    """What tells the processes of one launch from all others.

    mark          `NAME=VALUE` that they have in their environment
    leader        process that began it, and so its session's id
    since         start time of the leader in clock ticks; nothing of the launch is older
    trust_session whether the session's id is known to be still the leader's (it was seen alive): a process without
                  the mark then counts by its session alone. Otherwise it must have a blank environment besides: that
                  is how a program looks that has overwritten it to set its title (nginx, PostgreSQL, setproctitle),
                  and a stranger hardly ever
    """

    mark: bytes
    leader: int
    since: int
    trust_session: bool


def processes() -> Iterator[Stat]:
    """Every process of the machine that this one can see."""
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names alone, hundreds of them
        if entry.isdigit() and (stat := read_stat(int(entry))) is not None:
            yield stat


def environment(pid: int) -> bytes:
    """The environment block a process was started with, with NUL at both ends; empty where it may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return b"\0" + file.read() + b"\0"
    except OSError:
        return b""


def members(circle: Circle, also: Iterable[int] = ()) -> list[Stat]:
    """The living processes of one launch. also: pids known to belong to it (those of its cgroups)."""
    known = frozenset(also)
    needle = b"\0" + circle.mark + b"\0"
    own = os.getpid()
    leader = read_stat(circle.leader)
    # A pid is given anew only when its session is empty: whoever has the leader's now shares no session with its own.
    session = leader is None or leader.start_time == circle.since

    def belongs(stat: Stat) -> bool:
        if stat.pid in known:
            return True
        block = environment(stat.pid)
        if needle in block:
            return True
        return session and stat.sid == circle.leader and (circle.trust_session or not block.strip(b"\0"))

    return [
        stat
        for stat in processes()
        if stat.start_time >= circle.since and not stat.dead and stat.pid != own and belongs(stat)
    ]


def marked(prefix: bytes) -> Iterator[tuple[Stat, str]]:
    """Living processes whose environment has an entry that starts with `prefix`, and the rest of that entry."""
    needle = b"\0" + prefix
    for stat in processes():
        if stat.dead:
            continue
        block = environment(stat.pid)
        begin = block.find(needle)
        if begin >= 0:
            begin += len(needle)
            yield stat, block[begin : block.index(b"\0", begin)].decode("utf-8", "replace")


def listening(pids: Iterable[int]) -> frozenset[int]:
    """TCP ports (IPv4 and IPv6) that any of these processes listens on; they share one network namespace."""
    pids = list(pids)
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        for pid in pids:
            try:
                with open(f"/proc/{pid}/net/{table}", "rb") as file:  # noqa: PTH123
                    next(file, None)
                    rows = [line.split() for line in file]
            except OSError:
                continue
            ports |= {int(row[1].rpartition(b":")[2], 16) for row in rows if row[3] == LISTEN and row[9] in inodes}
            break
    return frozenset(ports)


# --- private


def _sockets(pid: int) -> Iterator[bytes]:
    directory = f"/proc/{pid}/fd"
    try:
        names = os.listdir(directory)  # noqa: PTH208
    except OSError:
        return
    for name in names:
        try:
            target = os.readlink(f"{directory}/{name}")  # noqa: PTH115
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1].encode()
