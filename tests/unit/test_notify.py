"""What systemd is told, and that nothing depends on its being there."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from longshore.notify import keep_alive, notify, watchdog_s


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@longshore-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1))
        receiver.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield receiver


def test_a_state_is_one_datagram(systemd: socket.socket) -> None:
    notify("READY=1", "STATUS=listens")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=listens"


async def test_signs_of_life_come_often_enough(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    alive = asyncio.create_task(keep_alive())
    for _ in range(3):
        assert await asyncio.to_thread(systemd.recv, 1000) == b"WATCHDOG=1"
    alive.cancel()
    with suppress(asyncio.CancelledError):
        await alive


def test_a_watchdog_that_is_meant_for_another_process_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert watchdog_s() == 60.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_s() is None
    monkeypatch.setenv("WATCHDOG_USEC", "soon")
    assert watchdog_s() is None


def test_nobody_is_told_where_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("READY=1")
