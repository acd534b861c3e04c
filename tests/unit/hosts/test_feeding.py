"""Scripts that do not read what they are given, on the event loop that the manager has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from longshore.hosts import ScriptFailed
from longshore.hosts.local import LocalHost


@pytest.mark.parametrize("code", [0, 3])
def test_a_script_that_ends_before_its_input_does_has_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(50):  # long enough that its end of the pipe is known to be gone
            yield b"y" * 100_000
            await asyncio.sleep(0.01)

    async def work() -> int:
        host = LocalHost("user", "test", 1)
        try:
            return (await host.run(f"exit {code}", input=blocks())).code
        except ScriptFailed as failed:
            return failed.done.code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(work()) == code
