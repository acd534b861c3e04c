"""What whoever runs the tests has had ignored: nohup SIGHUP, a shell SIGINT for what it runs in the background."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from longshore.lifecycle import SIGNALS


@contextmanager
def heard() -> Iterator[None]:
    """None of the signals that end a manager is ignored, here or in what is started; as before afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
