"""A real manager as a process of its own, on an ephemeral port and a temporary data directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "longshore"]


def until(what: str, true: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What `true` answers once it is true; fails naming `what` after that many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.02)
    return answer


class RealManager:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.listen = "127.0.0.1:0"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("LONGSHORE_")}
        return clean | {"LONGSHORE_DATA_DIR": str(self.data_dir)}

    def start(self) -> None:
        """Start, and keep the port for the next start."""
        stated = self.data_dir / "server.json"
        stated.unlink(missing_ok=True)
        with (self.data_dir.parent / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "--listen", self.listen], env=self.environment, stdout=log, stderr=log
            )
        until("the start of the manager", lambda: self.process.poll() is not None or stated.exists())
        assert self.process.poll() is None, (self.data_dir.parent / "serve.log").read_text()
        url = until("a complete server.json", stated.read_text) and json.loads(stated.read_text())["url"]
        self.listen = url.removeprefix("http://")

    def end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(10)

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *args], env=self.environment, capture_output=True, text=True, timeout=60)
