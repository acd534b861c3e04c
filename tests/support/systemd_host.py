"""A real systemd host with this Longshore installed on it: `with open_host(directory) as host: …`.

The host is one of tests/hosts/kit. What it runs is copied to the places it has on this machine: the environment, its
Python where that is not Debian's own, and the sources.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import longshore
from longshore.demo.stage import APP

KIT = Path(__file__).parents[1] / "hosts/kit"
#: exit status of the kit where it cannot run here
CANNOT = 77
#: what runs the tests is not needed to run what is tested
LEFT_OUT = (
    *("__pycache__", "test", "idlelib", "ensurepip", "tkinter", "*.a", "config-3.*", "mypy", "mypyc", "*__mypyc*"),
    *("ruff", "pip", "setuptools", "hypothesis", "schemathesis", "jsonschema_rs"),
)
DATA = Path("/var/lib/longshore")


class HostsMissing(Exception):
    """There can be no such hosts here; the message says why, and what to install."""


@dataclass
class Host:
    run: Path

    def kit(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, str(KIT), *arguments],
            env={**os.environ, "LONGSHORE_HOSTS_RUN": str(self.run)},
            capture_output=True,
            text=True,
        )
        if done.returncode == CANNOT:
            raise HostsMissing(done.stderr.strip())
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stderr}"
        return done.stdout

    @property
    def pid(self) -> int:
        """Its PID 1, as this machine sees it."""
        return int(json.loads(self.kit("status"))["hosts"][0]["pid"])

    def command(self, *command: str) -> list[str]:
        """One that runs on the host."""
        return ["nsenter", f"--target={self.pid}", "--all", "--", *command]

    def network(self, *command: str) -> list[str]:
        """One that runs on this machine, in the network of the host."""
        return ["nsenter", f"--target={self.pid}", "--net", "--", *command]

    def ask(self, *command: str, expect: int | None = 0) -> str:
        done = subprocess.run(self.command(*command), capture_output=True, text=True, timeout=120)
        assert expect is None or done.returncode == expect, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def longshore(self, *arguments: str) -> Any:
        """What `longshore --json ARGUMENTS` answers on the host."""
        source = str(Path(longshore.__file__).parents[1])
        done = self.ask(
            *("env", f"PYTHONPATH={source}", sys.executable, "-m", "longshore", "--data-dir", str(DATA), "--json"),
            *arguments,
        )
        return json.loads(done)

    def path(self, path: Path | str) -> Path:
        """Where a path of the host is on this machine."""
        return Path(f"/proc/{self.pid}/root", str(path).lstrip("/"))

    def show(self, unit: str, key: str) -> str:
        return self.ask("systemctl", "show", unit, f"--property={key}", "--value").strip()

    def install(self) -> None:
        """This Longshore, and two versions of the demo's application to deploy."""
        # What lies below /tmp stays there at a reboot: it may be what is copied here.
        self.path("/etc/tmpfiles.d/tmp.conf").symlink_to("/dev/null")
        if sys.base_prefix != "/usr":
            self._copy(Path(sys.base_prefix), "site-packages")
        self._copy(Path(sys.prefix))
        self._copy(Path(longshore.__file__).parent)
        for version in ("1", "2"):
            artifact = self.path(f"/srv/app/{version}")
            artifact.mkdir(parents=True)
            (artifact / "app.py").write_bytes(APP.read_bytes())
            (artifact / "VERSION").write_text(version)

    def _copy(self, place: Path, *but: str) -> None:
        there = self.path(place)
        there.mkdir(parents=True, exist_ok=True)
        left_out = [f"--exclude={pattern}" for pattern in (*LEFT_OUT, *but)]
        with subprocess.Popen(
            ["tar", "--create", "--directory", str(place), *left_out, "."], stdout=subprocess.PIPE
        ) as packing:
            subprocess.run(["tar", "--extract", "--directory", str(there)], stdin=packing.stdout, check=True)
        assert packing.returncode == 0, f"{place} could not be copied"


def until(condition: Callable[[], Any], what: str, bound_s: float = 30.0) -> Any:
    deadline = time.monotonic() + bound_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {bound_s:g} s: {what}"
        time.sleep(0.1)
    return found


@contextmanager
def open_host(directory: Path) -> Iterator[Host]:
    """One host, up and with Longshore on it, until the block ends. Raises HostsMissing."""
    host = Host(directory / "hosts")
    host.kit("cached")
    try:
        host.kit("up", "1", "--owner", str(os.getpid()))
        host.install()
        yield host
    finally:
        host.kit("down")
