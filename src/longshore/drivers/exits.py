"""How processes end: told by a pidfd, and for our own children with the exit code, leaving no zombie."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from dataclasses import dataclass

from longshore.drivers.base import Exit
from longshore.drivers.identity import open_pidfd

#: endings remembered, so that inspect() can tell the code of an instance that ended by itself, until it is stopped or
#: that many have ended after it: all instances of a full machine may end at once. Some 200 bytes each.
REMEMBERED = 4096

Key = tuple[int, int]


@dataclass(slots=True)
class _Watch:
    fd: int
    loop: asyncio.AbstractEventLoop
    ended: asyncio.Future[Exit]


class Exits:
    """Watches processes, each named by pid and start time. Only for the thread of the event loop."""

    def __init__(self) -> None:
        self._watches: dict[Key, _Watch] = {}
        self._ended: OrderedDict[Key, Exit] = OrderedDict()

    def watch(self, pid: int, start_time: int) -> asyncio.Future[Exit]:
        """A future that is done when the process has ended; shield it before awaiting it. Watching twice is watching
        once. Exit(None) where the process is not a child of ours."""
        key = (pid, start_time)
        loop = asyncio.get_running_loop()
        if (found := self._watches.get(key)) is not None:
            if found.loop is loop:
                return found.ended
            self._forget(key)
        ended: asyncio.Future[Exit] = loop.create_future()
        fd = None if key in self._ended else open_pidfd(pid, start_time)
        if fd is None:
            ended.set_result(self._ended.get(key, Exit(None)))
            return ended
        self._watches[key] = _Watch(fd, loop, ended)
        loop.add_reader(fd, self._reap, key)
        return ended

    def known(self, pid: int, start_time: int) -> Exit | None:
        """How it ended, as far as that was seen; reaps a child that has just ended. None: not seen to end."""
        key = (pid, start_time)
        if (watch := self._watches.get(key)) is not None:
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PIDFD, watch.fd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                    self._reap(key)
        return self._ended.get(key)

    def forget(self, pid: int, start_time: int) -> Exit | None:
        """How it ended, as known() says, for the last time."""
        ending = self.known(pid, start_time)
        self._ended.pop((pid, start_time), None)
        return ending

    def close(self) -> None:
        """Stop watching; the processes go on."""
        for key in list(self._watches):
            self._forget(key)

    # --- private

    def _reap(self, key: Key) -> None:
        watch = self._watches[key]
        try:
            status = os.waitid(os.P_PIDFD, watch.fd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            ending = Exit(None)
        else:
            if status is None:
                return
            ending = Exit(status.si_status if status.si_code == os.CLD_EXITED else -status.si_status)
        self._ended[key] = ending
        if len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._forget(key)
        if not watch.ended.done():
            watch.ended.set_result(ending)

    def _forget(self, key: Key) -> None:
        watch = self._watches.pop(key)
        if not watch.loop.is_closed():
            watch.loop.remove_reader(watch.fd)
        os.close(watch.fd)
