"""The TCP sockets of units, counted on the host where they are: by ss, which has the kernel choose, or where that is
not there from /proc, where the kernel walks through all that there could be."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from longshore.drivers.systemd.manager import Batched
from longshore.hosts.base import Host

#: pids: "inode N" of each socket they have open, and the rows of those that listen
_PORTS = r"""
[ $# -gt 0 ] || exit 0
for pid do ls -l "/proc/$pid/fd" 2> /dev/null; done | sed -n 's/.*socket:\[\([0-9]*\)\]$/inode \1/p'
for pid do
  grep -hs ' 0A ' "/proc/$pid/net/tcp" "/proc/$pid/net/tcp6" && break
done
:
"""

#: ports in hexadecimal digits, divided by |, and the same as numbers: the one of each established connection
_CONNECTIONS = r"""
ports=$1 filter=''
shift
for port do filter="$filter${filter:+ or }sport = :$port"; done
if rows=$(ss -Htn state established "( $filter )" 2> /dev/null); then
  printf '%s\n' "$rows" | while read -r _ _ local _; do [ -z "$local" ] || echo "${local##*:}"; done
  exit
fi
set -- /proc/net/tcp
[ ! -r /proc/net/tcp6 ] || set -- "$@" /proc/net/tcp6
sed -n -E "s/^ *[0-9]+: [0-9A-F]+:($ports) [0-9A-F]+:[0-9A-F]+ 01 .*/\1/p" "$@" |
  while read -r port; do echo $((0x$port)); done
"""

#: port in hexadecimal digits and as a number, pids: user id, pid and name of whoever else listens there
_STRANGER = r"""
set -f
if rows=$(ss -Htlne "sport = :$2" 2> /dev/null); then
  rows=$(printf '%s\n' "$rows" | while read -r row; do
    uid=0 inode=''
    for word in $row; do case $word in uid:*) uid=${word#uid:} ;; ino:*) inode=${word#ino:} ;; esac; done
    [ -z "$inode" ] || echo "$uid $inode"
  done)
else
  rows=$(grep -hsE "^ *[0-9]+: [0-9A-F]+:$1 [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6 |
    while read -r _ _ _ _ _ _ _ uid _ inode _; do echo "$uid $inode"; done)
fi
[ -n "$rows" ] || exit 0
shift 2
own=$(for pid do ls -l "/proc/$pid/fd" 2> /dev/null; done)
set +f
printf '%s\n' "$rows" | while read -r uid inode; do
  case $own in *"socket:[$inode]"*) continue ;; esac
  found=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2> /dev/null | head -n 1)
  pid=${found#/proc/} pid=${pid%%/*} name=''
  [ -z "$pid" ] || IFS= read -r name < "/proc/$pid/comm" || :
  echo "$uid ${pid:--} $name"
done
"""


class Sockets:
    """Of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._asked: dict[int, list[asyncio.Future[int]]] = {}
        self._counting = Batched(self._count)

    async def ports(self, pids: Iterable[int]) -> frozenset[int]:
        """That these processes listen on."""
        done = await self._host.run(_PORTS, *map(str, pids), check=False)
        return parse_ports(done.stdout.decode("ascii", "replace"))

    async def connections(self, port: int) -> int:
        """Asked for many at once, it takes one look at the host."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(port, []).append(future)
        await self._counting.join()
        return await future

    async def stranger(self, port: int, pids: Iterable[int]) -> str:
        """Who else than these processes listens on the port, in words; "" where nobody does."""
        done = await self._host.run(_STRANGER, f"{port:04X}", *map(str, (port, *pids)), check=False)
        return parse_stranger(done.stdout.decode("utf-8", "replace"))

    # --- private

    async def _count(self) -> None:
        asked, self._asked = self._asked, {}
        try:
            ports = "|".join(f"{port:04X}" for port in asked)
            done = await self._host.run(_CONNECTIONS, ports, *map(str, asked))
        except BaseException as error:
            for future in (each for futures in asked.values() for each in futures):
                if not future.done():
                    future.cancel()
            raise error
        found = parse_counts(done.stdout.decode("ascii", "replace"))
        for port, futures in asked.items():
            for future in futures:
                if not future.done():
                    future.set_result(found[port])


def parse_ports(said: str) -> frozenset[int]:
    inodes, found = set[str](), list[tuple[str, int]]()
    for line in said.splitlines():
        row = line.split()
        if row[0] == "inode":
            inodes.add(row[1])
        elif len(row) > 9:
            found.append((row[9], int(row[1].rpartition(":")[2], 16)))
    return frozenset(port for inode, port in found if inode in inodes)


def parse_counts(said: str) -> Counter[int]:
    return Counter(map(int, said.split()))


def parse_stranger(said: str) -> str:
    for line in said.splitlines():
        uid, pid, name = line.split(" ", 2)
        return f"{name or 'a process'} (pid {pid})" if pid != "-" else f"a process of user id {uid}"
    return ""
