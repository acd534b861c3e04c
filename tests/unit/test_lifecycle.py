"""The end of a manager, as far as one process shows it; with real managers: tests/chaos/test_lifecycle_signals.py."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from longshore import lifecycle
from longshore.drivers.base import Exit
from longshore.drivers.exits import Exits
from longshore.drivers.identity import read_stat
from longshore.drivers.spawn import Program, spawn
from longshore.lifecycle import SIGNALS, ending
from support.signals import heard


@pytest.fixture(autouse=True)
def living_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What ends has its signals ignored for good, and a bound after which it leaves; the tests go on."""
    monkeypatch.setattr(lifecycle, "_leave", lambda status: None)
    with heard():
        yield


async def test_a_start_that_somebody_cancels_for_another_reason_is_cancelled() -> None:
    async def start() -> None:
        with ending():
            await asyncio.sleep(60)

    task = asyncio.create_task(start())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def asked(number: signal.Signals, times: int) -> None:
    """A manager's end, asked for by a signal that comes more than once."""
    with ending() as end:
        done = asyncio.Event()
        end.when_asked(done.set)
        for _ in range(times):
            os.kill(os.getpid(), number)
        await asyncio.wait_for(done.wait(), 5.0)
        assert end.asked == number.name


@pytest.mark.parametrize("number", SIGNALS)
async def test_once_it_has_ended_no_signal_does_what_it_does_by_default(number: signal.Signals) -> None:
    await asked(number, 3)
    for each in SIGNALS:
        assert signal.getsignal(each) is signal.SIG_IGN


async def test_what_is_started_while_it_ends_can_be_ended_by_a_signal(tmp_path: Path) -> None:
    """A step that was under way may start an instance just then. What is ignored is inherited, a handler is not."""
    with ending() as end:
        done = asyncio.Event()
        end.when_asked(done.set)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(done.wait(), 5.0)
        with (tmp_path / "log").open("wb") as log:
            pid = await spawn(Program(("sleep", "60"), tmp_path, {"PATH": os.defpath}, "M=1"), log.fileno())
    stat, exits = read_stat(pid), Exits()
    assert stat is not None
    ended = exits.watch(pid, stat.start_time)
    os.kill(pid, signal.SIGTERM)
    try:
        assert await asyncio.wait_for(asyncio.shield(ended), 5.0) == Exit(-signal.SIGTERM)
    finally:
        if not ended.done():
            os.kill(pid, signal.SIGKILL)
        await ended
