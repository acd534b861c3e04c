"""A manager as a process of its own, so that it can be killed and started again like the real thing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from longshore.client import AsyncLongshore, ClientError

#: seconds a manager may take until it is ready, or until it has ended
START_S = 30.0
STOP_S = 10.0
#: between two looks at whether it is ready
LOOK_S = 0.01


class ManagerFailed(Exception):
    """The manager did not start, or did not stop. The message has the end of its log."""


class Manager:
    """`longshore serve` on a data directory of its own and a free port of the loopback.

    settings   LONGSHORE_* variables, over those that keep it quiet: no rate limits, public ports on the loopback only
    """

    #: what it is started with; a test puts one here that can be killed at a moment of its choice
    program: tuple[str, ...] = (sys.executable, "-m", "longshore")
    #: HOST:PORT of its API; port 0 is another one with each start
    listen = "127.0.0.1:0"

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir
        self.log = data_dir / "manager.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("LONGSHORE_")}
        self._environment = {**inherited, **QUIET, **(settings or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> float:
        """Start it; returns the seconds until it was ready. Raises ManagerFailed."""
        started = time.monotonic()
        command = (*self.program, "serve", "--data-dir", str(self.data_dir))
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                *("--listen", self.listen),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                # Ctrl-C in the terminal is for the caller alone, who then takes everything down in order.
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(START_S):
                await self._until_ready()
        except TimeoutError:
            raise ManagerFailed(f"the manager was not ready within {START_S:g} s\n{self.tail()}") from None
        return time.monotonic() - started

    async def _until_ready(self) -> None:
        while not await self._ready():
            if not self.alive:
                raise ManagerFailed(f"the manager ended while it started\n{self.tail()}")
            await asyncio.sleep(LOOK_S)

    async def _ready(self) -> bool:
        try:
            stated: dict[str, Any] = json.loads((self.data_dir / "server.json").read_text())
        except (OSError, ValueError):
            return False
        if stated.get("pid") != self.pid:
            return False
        try:
            async with AsyncLongshore(data_dir=self.data_dir, patience=0) as client:
                await client.ready()
        except ClientError:
            return False
        return True

    async def kill(self) -> None:
        """SIGKILL: nothing of it is told."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """SIGTERM, and wait for its end. Raises ManagerFailed, having killed it, where it does not end in time."""
        if self._process is None or not self.alive:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()
            raise ManagerFailed(f"the manager did not end within {STOP_S:g} s of SIGTERM\n{self.tail()}") from None

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError as error:
            return f"(no log: {error})"


#: A load test is many deploys a minute, and nothing of it is anybody else's business.
QUIET = {
    "LONGSHORE_RATE_LIMITS__DEPLOY": "0",
    "LONGSHORE_RATE_LIMITS__STATUS": "0",
    "LONGSHORE_RATE_LIMITS__LIST": "0",
    "LONGSHORE_ROUTER__LISTEN_HOST": "127.0.0.1",
}
