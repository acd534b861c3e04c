"""A real manager with several deployments of the demo's application, looked at from outside."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import sqlite3
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from longshore.client import AsyncLongshore
from longshore.client.results import OPEN_STATUSES
from longshore.demo.ledger import Loss
from longshore.demo.load import Load, Mix
from longshore.demo.manager import ManagerFailed
from longshore.demo.stage import Stage
from longshore.drivers.identity import Stat
from longshore.drivers.members import environment, processes
from longshore.drivers.process import MARK

#: above the ports of services, below those of instances (20000-29999) and of outgoing connections, one of which could
#: otherwise take a port while the manager or Envoy is down
PORTS = range(10_000, 20_000)
#: keep-alive requests a second on all deployments together, more or less
REQUESTS_PER_S = 160
CONNECTIONS = 2
#: each slow request, stream and WebSocket; well below the drain_timeout, so none may be cut by a rollout
HELD_S = 3.0
#: what was in flight in an instance or an Envoy that was killed fails at most so much later
GRACE_S = 1.5
#: faults so recent are told with a violation, seconds
LOOK_BACK_S = 30.0


@dataclass
class App:
    """One deployment. kills: when (time.monotonic()) one of its instances was killed; seen: rows already judged."""

    name: str
    port: int
    loaded: bool
    chance: random.Random
    load: Load
    versions: Iterator[int] = field(default_factory=lambda: count(1))
    kills: list[float] = field(default_factory=list)
    seen: int = 0


@dataclass
class Fault:
    """kind: key of FAULTS; app: the deployment it hit, None: all; settled: None while it is not over."""

    kind: str
    app: str | None
    at: float
    settled: float | None = None


class Stand(Stage):
    """A stage whose manager comes back at the same address, with `apps` and what happened to them."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory, settings)
        self.manager.listen = f"127.0.0.1:{unused_port()}"
        self.apps: list[App] = []
        self.faults: list[Fault] = []
        self.envoy_kills: list[float] = []
        #: "what → what" → seconds, one for each fault
        self.recoveries: dict[str, list[float]] = {}
        #: (operation, outcome) → how often
        self.outcomes: Counter[tuple[str, str]] = Counter()
        #: ids of rollouts that were told as violations
        self.told: set[str] = set()
        self.in_flight: Counter[str] = Counter()
        self.unexplained: Counter[str] = Counter()
        #: sentences: what must not be
        self.violations: list[str] = []
        #: called with each of them at once
        self.on_violation: Callable[[str], None] = lambda _: None
        self.began = time.monotonic()

    # ------------------------------------------------------------------------------------------- up and down

    async def start_manager(self) -> float:
        seconds = await self.manager.start()
        # The address and the token stay: one client for all managers, as a user has.
        if self._client is None:
            self._client = AsyncLongshore(data_dir=self.manager.data_dir)
        return seconds

    async def close(self) -> None:
        # Ctrl-C may have come while it started or ended: begin the taking down with one that is ready.
        with suppress(ManagerFailed):
            await self.manager.stop()
        await super().close()

    def add_apps(self, deployments: int, seed: int) -> None:
        """All but the last are under load; the last is the one that may be deleted."""
        per_connection = REQUESTS_PER_S / (deployments - 1) / CONNECTIONS
        mix = Mix(CONNECTIONS, websockets=1, streams=1, slow=1, held_s=HELD_S, pause_s=1 / per_connection)
        for number in range(deployments):
            port = unused_port([app.port for app in self.apps])
            load = Load("127.0.0.1", port, mix)
            chance = random.Random(f"{seed}/{number}")
            self.apps.append(App(f"app-{number}", port, number < deployments - 1, chance, load))

    # ------------------------------------------------------------------------------------------- what happened

    def now(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def violated(self, what: str) -> None:
        now = time.monotonic()
        near = [
            f"{now - fault.at:.1f} s ago: {fault.kind} ({fault.app or 'all'})"
            for fault in self.faults
            if now - fault.at < LOOK_BACK_S
        ]
        self.violations.append(f"[{self.now():.1f} s] {what} [{', '.join(near) or 'no fault near'}]")
        self.on_violation(self.violations[-1])

    def recovered(self, what: str, since: float) -> None:
        self.recoveries.setdefault(what, []).append(time.monotonic() - since)

    def disturbed(self, app: App, since: float) -> bool:
        """Whether a fault that touches the deployment was under way at `since` (time.monotonic()) or began later."""
        return any(
            fault.app in (None, app.name) and (fault.settled is None or fault.settled >= since) for fault in self.faults
        )

    def judge(self, app: App) -> None:
        """Sort the requests that failed since the last look: in flight in what was killed, or without such a reason."""
        first, app.seen = app.seen, len(app.load.ledger)
        for loss in app.load.ledger.losses(first):
            told = f"{loss.kind}: {loss.outcome}"
            if any(kill <= loss.ended <= kill + GRACE_S for kill in (*app.kills, *self.envoy_kills)):
                self.in_flight[told] += 1
            else:
                self.unexplained[told] += 1
                self.violated(f"a request to {app.name} was lost: {self._story(app, loss)}")

    def _story(self, app: App, loss: Loss) -> str:
        near = [
            f"{fault.kind} ({fault.app or 'all'}) {loss.ended - fault.at:.1f} s before"
            for fault in self.faults
            if fault.app in (None, app.name) and 0 <= loss.ended - fault.at < 15
        ]
        by, at = loss.version or "nobody known", loss.ended - self.began
        return f"{loss.kind}: {loss.outcome} by {by} at {at:.2f} s; {near or 'no fault near'}"

    # ------------------------------------------------------------------------------------------- looking

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Rows of the store, read beside the manager; also while none runs."""
        connection = sqlite3.connect(f"file:{self.manager.data_dir / 'longshore.db'}?mode=ro", uri=True, timeout=5.0)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql)]
        finally:
            connection.close()

    def open_rollouts(self) -> dict[str, str]:
        """Id → deployment."""
        rows = self.rows("SELECT id, deployment, status FROM rollouts")
        return {row["id"]: row["deployment"] for row in rows if row["status"] in OPEN_STATUSES}

    def handles(self) -> dict[str, dict[str, Any]]:
        """Instance → the driver's handle, with `pid` and `start_time`, and `deployment`."""
        rows = self.rows("SELECT id, deployment, handle FROM instances WHERE state = 'running'")
        return {row["id"]: json.loads(row["handle"]) | row for row in rows if row["handle"]}

    def launches(self) -> list[tuple[Stat, str]]:
        """Every living process that an instance of this manager is made of, with its launch id."""
        rows = self.rows("SELECT id FROM manager")
        return entries(f"{MARK}={rows[0]['id']}/") if rows else []

    def hooks(self) -> list[Stat]:
        return [stat for stat, _ in entries(f"DEPLOYMENT_RELEASE_DIR={self.manager.data_dir}/")]

    def envoys(self) -> list[Stat]:
        boot = os.fsencode(self.manager.data_dir / "envoy/boot.json")
        return [stat for stat in processes() if not stat.dead and boot in _command(stat.pid)]


def entries(prefix: str) -> list[tuple[Stat, str]]:
    """Living processes with an environment entry that begins so, and the entry's rest."""
    needle = os.fsencode(prefix)
    return [
        (stat, os.fsdecode(line[len(needle) :]))
        for stat in processes()
        if not stat.dead
        for line in environment(stat.pid).split(b"\0")
        if line.startswith(needle)
    ]


def unused_port(taken: list[int] | None = None) -> int:
    """A port of PORTS where nobody listens. Raises OSError where there is none in a hundred tries."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            if port not in (taken or ()):
                probe.bind(("127.0.0.1", port))
                return port
    raise OSError(f"no port of 127.0.0.1 between {PORTS.start} and {PORTS.stop - 1} is free")


async def until(look: Callable[[], Awaitable[bool]], bound_s: float, pause_s: float = 0.02) -> bool:
    """Look until it is true; False where it was not within the bound."""
    deadline = time.monotonic() + bound_s
    while not await look():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(pause_s)
    return True


def _command(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
