"""A real systemd host with this Longshore installed on it: `with open_host(directory) as host: …`.

The host is one of tests/hosts/kit. What it runs is copied to the places it has on this machine: the environment, its
Python where that is not Debian's own, and the sources.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import longshore
from longshore.demo.stage import APP
from support import hosts
from support.hosts import HostsMissing, open_hosts, until

__all__ = ["DATA", "Host", "HostsMissing", "open_host", "until"]

#: what runs the tests is not needed to run what is tested
LEFT_OUT = (
    *("__pycache__", "test", "idlelib", "ensurepip", "tkinter", "*.a", "config-3.*", "mypy", "mypyc", "*__mypyc*"),
    *("ruff", "pip", "setuptools", "hypothesis", "schemathesis", "jsonschema_rs"),
)
DATA = Path("/var/lib/longshore")


@dataclass(frozen=True)
class Host(hosts.Host):
    def longshore(self, *arguments: str) -> Any:
        """What `longshore --json ARGUMENTS` answers on the host."""
        return json.loads(self.ask(*self.longshore_command(*arguments)))

    def longshore_command(self, *arguments: str) -> list[str]:
        source = str(Path(longshore.__file__).parents[1])
        program = ["env", f"PYTHONPATH={source}", sys.executable, "-m", "longshore"]
        return [*program, "--data-dir", str(DATA), "--json", *arguments]

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


@contextmanager
def open_host(directory: Path) -> Iterator[Host]:
    """One host, up and with Longshore on it, until the block ends. Raises HostsMissing."""
    with open_hosts(directory, 1) as (plain,):
        host = Host(**vars(plain))
        host.install()
        yield host
