"""Real systemd hosts, of tests/hosts/kit: `with open_hosts(directory, 3) as hosts, hosts.inside(): …`.

The hosts' addresses exist in a network of their own. `inside()` takes the calling thread there (and what it starts:
threads, processes, event loops, sockets); a manager under test is run with `hosts.command(…)` in front.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longshore.hosts.settings import HostSettings, SshSettings

KIT = Path(__file__).parents[1] / "hosts/kit"
#: exit status of the kit where it cannot run here
CANNOT = 77
CLONE_NEWNET = 0x40000000


class HostsMissing(Exception):
    """There can be no such hosts here; the message says why, and what to install."""


@dataclass(frozen=True)
class Kit:
    """One set of hosts. run: its directory."""

    run: Path

    def __call__(self, *arguments: str) -> str:
        """Run a command of the kit; what it prints."""
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


@dataclass(frozen=True)
class Host:
    """One of the hosts, as somebody sees it who stands beside it. name: as the kit has it, `host1`."""

    kit: Kit
    name: str
    address: str = ""
    port: int = 22
    #: private key that root and deploy take, and the file with its host key
    key: Path = Path()
    known_hosts: Path = Path()

    @property
    def pid(self) -> int:
        """Its PID 1, as this machine sees it; another one after each boot."""
        (found,) = (host for host in json.loads(self.kit("status"))["hosts"] if host["name"] == self.name)
        return int(found["pid"])

    def command(self, *command: str) -> list[str]:
        """One that runs on the host, by root."""
        return ["nsenter", f"--target={self.pid}", "--all", "--", *command]

    def network(self, *command: str) -> list[str]:
        """One that runs on this machine, in the network of the host."""
        return ["nsenter", f"--target={self.pid}", "--net", "--", *command]

    def ask(self, *command: str, expect: int | None = 0, input: str | None = None) -> str:
        """What a command there prints; expect: its exit status, None: whichever."""
        done = subprocess.run(self.command(*command), input=input, capture_output=True, text=True, timeout=120)
        assert expect is None or done.returncode == expect, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def shell(self, script: str, expect: int | None = 0) -> str:
        return self.ask("sh", "-c", script, expect=expect)

    def path(self, path: Path | str) -> Path:
        """Where a path of the host is on this machine (until it boots anew)."""
        return Path(f"/proc/{self.pid}/root", str(path).lstrip("/"))

    def show(self, unit: str, key: str) -> str:
        return self.ask("systemctl", "show", unit, f"--property={key}", "--value").strip()

    # --- what happens to it

    def cut(self) -> None:
        """Pull the network cable: established connections hang."""
        self.kit("cut", self.name)

    def mend(self) -> None:
        self.kit("mend", self.name)

    def crash(self) -> None:
        """A power cut. The disk stays."""
        self.kit("crash", self.name)

    def start(self) -> None:
        """Power on; returns when ssh answers."""
        self.kit("start", self.name)

    def reboot(self) -> None:
        self.kit("reboot", self.name)

    # --- for the configuration of a manager

    def settings(self, **more: Any) -> HostSettings:
        """It, as an environment's `hosts` would name it; more: further fields, such as user="deploy"."""
        return HostSettings(**{"name": self.name, "address": self.address, "port": self.port, "key": self.key, **more})

    def ssh(self, **more: Any) -> SshSettings:
        return SshSettings(**{"known_hosts": self.known_hosts, **more})

    def toml(self, **more: Any) -> str:
        """The same as an inline table of the configuration file."""
        given = self.settings(**more).model_dump(mode="json", exclude_defaults=True)
        return "{" + ", ".join(f"{key} = {_toml(value)}" for key, value in given.items()) + "}"


@dataclass(frozen=True)
class HostSet(Sequence[Host]):
    """The hosts that are up, in their order; `hosts["host2"]` and `hosts[1]` are the same."""

    kit: Kit
    all: tuple[Host, ...]
    #: the network namespace that the hosts are reached from, and our address in it
    netns: str
    control: str
    #: cgroup controllers in force on the hosts
    limits: frozenset[str]

    def __getitem__(self, which: Any) -> Any:
        if isinstance(which, str):
            (found,) = (host for host in self.all if host.name == which)
            return found
        return self.all[which]

    def __len__(self) -> int:
        return len(self.all)

    def command(self, *command: str) -> list[str]:
        """One that runs on this machine, and reaches the hosts."""
        return ["nsenter", f"--net={self.netns}", "--", *command]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in the network of the hosts until the block ends."""
        libc = ctypes.CDLL(None, use_errno=True)
        before, there = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(self.netns, os.O_RDONLY)
        try:
            _enter(libc, there)
            try:
                yield
            finally:
                _enter(libc, before)
        finally:
            os.close(before)
            os.close(there)


@contextmanager
def open_hosts(directory: Path, count: int) -> Iterator[HostSet]:
    """So many hosts, up until the block ends (or this process does). directory: for their disks, on a file system that
    overlayfs can lie on. Raises HostsMissing."""
    kit = Kit(directory / "hosts")
    kit("cached")
    try:
        said = json.loads(kit("up", str(count), "--owner", str(os.getpid())))
        hosts = tuple(
            Host(kit, host["name"], host["address"], host["port"], Path(host["key"]), Path(host["known_hosts"]))
            for host in said["hosts"]
        )
        control = said["control"]
        yield HostSet(kit, hosts, control["netns"], control["address"], frozenset(said["limits"]))
    finally:
        kit("down")


def until(condition: Callable[[], Any], what: str, bound_s: float = 30.0) -> Any:
    """What `condition` says as soon as it says anything."""
    deadline = time.monotonic() + bound_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {bound_s:g} s: {what}"
        time.sleep(0.1)
    return found


# --- private


def _enter(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
