"""Which processes belong together: those of a session, and those that carry a mark in their environment.

A daemon leaves its session and its parent; what it cannot help inheriting is its environment (and its cgroup). A
program that overwrites its environment block to set its title is found by its session instead.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from longshore.drivers.identity import Stat, read_stat, uptime
from longshore.drivers.listeners import listening_rows, sockets

#: looks at a young process whose environment cannot be read yet, seconds between them, and seconds it counts as young
EXEC_ROUNDS, EXEC_PAUSE_S, YOUNG_S = 20, 0.01, 5.0


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
    """Living processes whose environment has an entry that starts with `prefix`, and the rest of that entry.

    Takes up to EXEC_ROUNDS * EXEC_PAUSE_S more where something has only just been started.
    """
    needle = b"\0" + prefix
    unsettled: list[Stat] = []
    for stat in processes():
        block = environment(stat.pid)
        if (value := _entry(block, needle)) is not None:
            yield stat, value
        elif _in_exec(stat, block):
            unsettled.append(stat)
    for _ in range(EXEC_ROUNDS):
        if not unsettled:
            return
        time.sleep(EXEC_PAUSE_S)
        blocks = [(stat, environment(stat.pid)) for stat in unsettled if read_stat(stat.pid) == stat]
        yield from ((stat, value) for stat, block in blocks if (value := _entry(block, needle)) is not None)
        unsettled = [stat for stat, block in blocks if _in_exec(stat, block)]


def listening(pids: Iterable[int]) -> frozenset[int]:
    """TCP ports (IPv4 and IPv6) that any of these processes listens on; they share one network namespace."""
    pids = list(pids)
    inodes = {inode for pid in pids for inode in sockets(pid) or ()}
    ports: set[int] = set()
    for table in ("tcp", "tcp6"):
        for pid in pids:
            rows = list(listening_rows(Path(f"/proc/{pid}/net/{table}")))
            if rows:
                ports |= {int(row[1].rpartition(b":")[2], 16) for row in rows if row[9] in inodes}
                break
    return frozenset(ports)


# --- private


def _entry(block: bytes, needle: bytes) -> str | None:
    begin = block.find(needle)
    if begin < 0:
        return None
    begin += len(needle)
    return block[begin : block.index(b"\0", begin)].decode("utf-8", "replace")


def _in_exec(stat: Stat, block: bytes) -> bool:
    """Whether a process may be one of ours in the middle of its exec: the kernel closes descriptors, by which the
    starter knows that it worked, shortly before the new environment can be read (fs/exec.c, fs/binfmt_elf.c)."""
    return not block.strip(b"\0") and not stat.dead and stat.sid == stat.pid and uptime(stat.start_time) < YOUNG_S
