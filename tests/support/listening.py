"""A port of a host that is taken by somebody else."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def listening(command: Callable[..., list[str]], place: str) -> Iterator[None]:
    """command: of what runs in the host's namespaces. place: ADDRESS:PORT."""
    # A group of its own: what enters the namespaces has the listener for a child, which would outlive it.
    listener = subprocess.Popen(
        command("systemd-socket-activate", "-l", place, "/bin/true"),
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert listener.stderr is not None
        assert "Listening" in listener.stderr.readline()
        yield
    finally:
        os.killpg(listener.pid, signal.SIGTERM)
        listener.communicate(timeout=30)
