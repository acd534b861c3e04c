"""PID 1 of a container: collects the processes that others leave behind, and looks after the manager.

    PID 1 ──fork──► manager ──► applications, Envoy, hooks
      ├── reaps every orphan (what an application leaves when it ends, daemons, children of killed hooks)
      ├── hands signals on to the manager
      └── starts it again where it was killed: without PID 1 the kernel would end every application with it

The manager reaps its own children only, by name, so that no exit code is taken from whoever waits for it; being another
process than PID 1 is what makes that so. See pid_namespaces(7).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger("longshore.init")

ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
FORWARDED = ENDING | {signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
HEARD = FORWARDED | {signal.SIGCHLD}
#: seconds that what still runs has after SIGTERM once the manager has ended: together with the manager's own 5 s it is
#: over before a container runtime loses its patience (10 s is what Docker and Podman have by default)
LAST_S = 4.0
#: seconds before a manager that was killed is started again
AGAIN_S = 1.0


def run_as_init(work: Callable[[], int]) -> int:
    """Run `work` in a child, which is the manager, and be the init around it. Returns the exit status for PID 1.

    A manager that is killed by a signal is started again; one that exits, by itself or because it was told to, is not.
    Whatever still runs then gets SIGTERM, and LAST_S seconds.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    # Blocked, a signal waits for sigwait() even where its default is to be ignored, as it is for PID 1.
    signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    while True:
        began = time.monotonic()
        status, told = _look_after(_start(work))
        if status >= 0 or told:
            _end_the_rest()
            return status if status >= 0 else 128 - status
        log.error("the manager was killed by signal %d: starting it again, applications go on", -status)
        # One that dies as soon as it is started must not keep a processor busy.
        if _told_within(max(0.0, AGAIN_S - (time.monotonic() - began))):
            _end_the_rest()
            return 0


def _start(work: Callable[[], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        status = work()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _look_after(manager: int) -> tuple[int, bool]:
    """Until it has ended: (its exit code, negative for a signal; whether it had been told to end)."""
    told = False
    while True:
        heard = signal.sigwait(HEARD)
        if heard in FORWARDED:
            told = told or heard in ENDING
            os.kill(manager, heard)
        if (status := _reap().get(manager)) is not None:
            return status, told


def _reap() -> dict[int, int]:
    """Collect everything that has ended: pid → exit code, negative for a signal."""
    ended: dict[int, int] = {}
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    return ended


def _told_within(seconds: float) -> bool:
    """Collect for so long; True at once where the container is told to end meanwhile."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        heard = signal.sigtimedwait(HEARD, left)
        if heard is not None and heard.si_signo in ENDING:
            return True
        _reap()
    return False


def _end_the_rest() -> None:
    """The kernel would kill it with PID 1 (pid_namespaces(7)): so that it can end in peace, it is asked before."""
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    deadline = time.monotonic() + LAST_S
    while _has_children() and (left := deadline - time.monotonic()) > 0:
        signal.sigtimedwait({signal.SIGCHLD}, left)
        _reap()


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
