"""The end of a manager: asked for by a signal, or because another one has taken over; and the bound on it.

signal ──► the server ends its requests ──► rollouts are left as journalled ──► exit 0
   └── END_S later, whatever is still at work in a thread: exit 0 all the same
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from longshore.errors import InternalError, LeaseLost
from longshore.fence import Fence
from longshore.notify import notify

log = logging.getLogger("longshore")

#: Seconds from hearing that it is to end until the process has. 5 are promised, from the signal on: on a machine at its
#: limit it is heard late, and a thread that waits for the moment is woken late (5.1 s were seen with 4.5).
END_S = 4.0
#: what asks a manager to end
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: seconds between two looks at whether this still is the manager
LEASE_LOOK_S = 1.0


class Ending:
    """Whether, and why, this manager is to end. While it starts, it is told by cancelling its task."""

    def __init__(self) -> None:
        #: such as "SIGTERM"; "": nobody has asked
        self.asked = ""
        self.lost: LeaseLost | None = None
        self._task = asyncio.current_task()
        self._end: Callable[[], None] = self._cancel

    def when_asked(self, end: Callable[[], None]) -> None:
        """From now on, this is what ends it in order."""
        self._end = end
        if self.asked:
            end()

    def ask(self, why: str) -> None:
        if self.asked:
            return
        self.asked = why
        log.info("%s: stopping", why)
        notify("STOPPING=1")
        limit = threading.Timer(END_S, _leave, (1 if self.lost is not None else 0,))
        limit.daemon = True
        limit.start()
        self._end()

    async def watch(self, fence: Fence) -> None:
        """Ask it to end as soon as another manager has taken over. Until cancelled."""
        while True:
            await asyncio.sleep(LEASE_LOOK_S)
            try:
                fence()
            except LeaseLost as error:
                self.lost = error
                self.ask("another manager has taken over")
                return
            except InternalError as error:
                log.warning("%s", error)

    def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()


@contextmanager
def ending() -> Iterator[Ending]:
    """Signals are heard from here on, and at its end never again: they end nothing in any other way than in order.

    The first one asks for the end, and others meanwhile change nothing. SIGHUP is a terminal that was closed; under
    nohup, which has it ignored, it stays so.
    """
    loop, wish = asyncio.get_running_loop(), Ending()

    def heard(number: int, _: object) -> None:
        loop.call_soon_threadsafe(wish.ask, signal.Signals(number).name)

    for number in SIGNALS:
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        # Not the loop's own handlers: once it is closed a signal does again what it does by default, which is to kill.
        signal.signal(number, heard)
    try:
        yield wish
    except asyncio.CancelledError:
        if not wish.asked:
            raise
        log.info("stopped while it started: the next manager goes on from here")
    finally:
        _hear_no_more()


def _hear_no_more() -> None:
    """Until the process is gone: its loop and then its interpreter give handlers back before that, but leave alone what
    is ignored. Only once nothing can be started any more, since a child inherits what is ignored, unlike a handler: an
    application would be deaf to SIGTERM for the rest of its life."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _leave(status: int) -> None:
    """Nothing ends a thread that copies, removes or waits for the disk. What it is at is as safe to break off as by a
    crash: it is done beside what serves, and the next manager removes or repeats it."""
    log.warning("not everything came to an end within %g s: leaving it as it stands, the next manager goes on", END_S)
    os._exit(status)
