"""What a command on a host says, read while it runs: it lies there in pieces (see commands.py), and each look takes
what has come since the last.

    new ─ full ─► old ─► older ─► gone
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from longshore.hosts import HostUnreachable
from longshore.hosts.base import Host

#: seconds between two looks
LOOK_S = 1.0

#: name scope piece bytes: of each piece, from the newest to the one that was read last (so many bytes of it): a line
#: "PIECE FROM BYTES", and those bytes. What becomes older meanwhile is then seen twice, and not missed.
_MORE = r"""
run=${XDG_RUNTIME_DIR:-/run}
[ "$2" = user ] || run=/run
cd "$run/longshore-$1" 2> /dev/null || exit 0
piece=$3 bytes=$4
for file in new old older; do
  [ -e "$file" ] || continue
  {
    set -- $(stat -c '%i %s' -)
    from=0
    [ "$1" != "$piece" ] || from=$bytes
    echo "$1 $from $(($2 - from))"
    tail -c "+$((from + 1))" | head -c "$(($2 - from))"
  } < "$file" || continue
  [ "$1" != "$piece" ] || break
done 2> /dev/null
"""


class CommandOutput:
    """Of one command. take: given its output in order, as it is read, and nothing twice; called in a thread."""

    def __init__(self, host: Host, name: str, take: Callable[[bytes], None]) -> None:
        self._host, self._name, self._take = host, name, take
        #: the piece that was read last, and how many bytes of it; "": none was
        self._piece, self._bytes = "", 0

    @asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """It is read every second until the block ends. Raises what `take` does, then."""
        over = asyncio.Event()
        following = asyncio.create_task(self._follow(over), name=f"output of {self._name}")
        try:
            yield
        except BaseException:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            raise
        over.set()  # a look that is under way is waited for: cut short, it would cost the shell that it has there
        await following

    async def finish(self, tail: bytes, most: int) -> None:
        """The command has ended, and `tail` are the last bytes that it said, at most so many: what is left of it.
        Raises HostUnreachable."""
        if self._piece or len(tail) >= most:
            await self._look()
        elif tail:
            await asyncio.to_thread(self._take, tail)

    # --- private

    async def _follow(self, over: asyncio.Event) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await over.wait()
                return
            except TimeoutError:
                pass
            try:
                await self._look()
            except HostUnreachable:
                continue  # whoever waits for the command decides how long it may be gone

    async def _look(self) -> None:
        asked = (self._name, self._host.scope, self._piece, str(self._bytes))
        pieces = parse((await self._host.run(_MORE, *asked, check=False)).stdout)  # what it did not say, the next will
        if not pieces:
            return
        if self._piece and pieces[0][0] != self._piece:
            await asyncio.to_thread(self._take, b"[some of the output came faster than it could be read]\n")
        for piece, start, data in pieces:
            self._piece, self._bytes = piece, start + len(data)
            if data:
                await asyncio.to_thread(self._take, data)


def parse(said: bytes) -> list[tuple[str, int, bytes]]:
    """What _MORE says, oldest first: (piece, where in it the bytes begin, bytes)."""
    found: dict[str, tuple[int, bytes]] = {}
    while said:
        head, _, rest = said.partition(b"\n")
        piece, start, size = head.split()
        found.setdefault(piece.decode(), (int(start), rest[: int(size)]))
        said = rest[int(size) :]
    return [(piece, start, data) for piece, (start, data) in reversed(found.items())]
