"""A real manager with several deployments of the demo's application, looked at from outside."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longshore.client import AsyncLongshore
from longshore.client.results import OPEN_STATUSES
from longshore.demo.ledger import Loss
from longshore.demo.manager import ManagerFailed
from longshore.demo.stage import Stage, free_port
from longshore.drivers.identity import Stat
from longshore.drivers.members import environment, processes
from longshore.drivers.process import MARK
from soaking.clients import Clients
from soaking.inspected import INSPECTION
from soaking.roles import HELD_BACK_S, HELD_S, App, roles

#: keep-alive requests a second on all deployments together, more or less
REQUESTS_PER_S = 620
CONNECTIONS = 2
#: what was in flight in an instance or an Envoy that was killed fails at most so much later
GRACE_S = 1.5
#: faults so recent are told with a violation, seconds
LOOK_BACK_S = 30.0
INSPECTED = Path(__file__).resolve().with_name("inspected.py")
INSPECTION_S = 20.0


#: the one kind of fault after which nobody answers for a while
ENVOY_KILLED = "Envoy killed"


@dataclass
class Fault:
    """kind: key of FAULTS; app: the deployment it hit, None: all; settled: None while it is not over."""

    kind: str
    app: str | None
    at: float
    settled: float | None = None


class Stand(Stage):
    """A stage whose manager comes back at the same address and can be looked into, with `apps` and what happened."""

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None) -> None:
        self.inspection = directory / "inspection.json"
        super().__init__(directory, {**(settings or {}), INSPECTION: str(self.inspection)})
        self.manager.program = (sys.executable, "-P", str(INSPECTED))
        self.manager.listen = f"127.0.0.1:{free_port()}"
        self.apps: list[App] = []
        self.clients = Clients()
        self.faults: list[Fault] = []
        #: "what → what" → seconds, one for each fault
        self.recoveries: dict[str, list[float]] = {}
        #: (operation, outcome) → how often
        self.outcomes: Counter[tuple[str, str]] = Counter()
        #: ids of rollouts that were told as violations
        self.told: set[str] = set()
        #: requests lost: in flight in an instance that was killed, sent to a pool in which it was the last one, while
        #: Envoy was killed and away, without a reason
        self.in_flight: Counter[str] = Counter()
        self.emptied: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
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
        await self.clients.kill()
        # Ctrl-C may have come while it started or ended: begin the taking down with one that is ready.
        with suppress(ManagerFailed):
            await self.manager.stop()
        await super().close()

    def add_apps(self, deployments: int, seed: int) -> None:
        for number, role in enumerate(roles(deployments)):
            port = free_port({app.port for app in self.apps})
            self.apps.append(App(role, port, random.Random(f"{seed}/{number}")))

    def app(self, name: str) -> App:
        return next(app for app in self.apps if app.name == name)

    def killable(self, name: str) -> bool:
        """Whether others of its deployment answer where an instance is killed."""
        return any(app.role.killable for app in self.apps if app.name == name)

    async def begin_load(self) -> None:
        ports = {app.name: app.port for app in self.apps if app.role.loaded}
        per_connection = REQUESTS_PER_S / len(ports) / CONNECTIONS
        held = {"websockets": 1, "streams": 1, "slow": 1, "held_s": HELD_S, "timeout_s": HELD_BACK_S + 10}
        await self.clients.begin(ports, {"connections": CONNECTIONS, "pause_s": 1 / per_connection, **held})

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

    def recovered(self, what: str, seconds: float) -> None:
        self.recoveries.setdefault(what, []).append(seconds)

    def disturbed(self, app: App, since: float) -> bool:
        """Whether a fault that touches the deployment was under way at `since` (time.monotonic()) or began later."""
        return any(
            fault.app in (None, app.name) and (fault.settled is None or fault.settled >= since) for fault in self.faults
        )

    def judge(self, losses: Iterable[tuple[str, Loss]]) -> None:
        """Sort requests that failed by what they failed of; those without a reason are violations."""
        for name, loss in losses:
            told, app = f"{loss.kind}: {loss.outcome}", self.app(name)
            if any(kill <= loss.ended <= kill + GRACE_S for kill in app.kills):
                self.in_flight[told] += 1
            elif self._while_envoy_was_away(loss.ended):
                self.cut[told] += 1
            elif loss.outcome == "status 503" and not loss.version and self._in_an_empty_pool(app, loss.ended):
                self.emptied[f"{told} ({name})"] += 1
            else:
                self.unexplained[told] += 1
                self.violated(f"a request to {name} was lost: {self._story(app, loss)}")

    def _while_envoy_was_away(self, at: float) -> bool:
        kills = [fault for fault in self.faults if fault.kind == ENVOY_KILLED]
        return any(fault.at <= at and (fault.settled is None or at <= fault.settled + GRACE_S) for fault in kills)

    def _in_an_empty_pool(self, app: App, at: float) -> bool:
        """Whether one was killed in a rollout that went on until then: nobody starts it again before that is over."""
        turns = app.worked_on(at - GRACE_S, at)
        return any(turn.began <= kill <= at for turn in turns for kill in app.kills)

    def _story(self, app: App, loss: Loss) -> str:
        near = [
            f"{fault.kind} ({fault.app or 'all'}) {loss.ended - fault.at:.1f} s before"
            for fault in self.faults
            if fault.app in (None, app.name) and 0 <= loss.ended - fault.at < 15
        ]
        by, at = loss.version or "nobody known", loss.ended - self.began
        turns = app.worked_on(loss.ended, loss.ended)
        near += [f"{turn.name} {loss.ended - turn.began:.1f} s before" for turn in turns] or ["no operation"]
        return f"{loss.kind}: {loss.outcome} by {by} at {at:.2f} s; {', '.join(near)}"

    # ------------------------------------------------------------------------------------------- looking

    async def inspect(self) -> dict[str, Any]:
        """What the manager says it holds (inspected.py). Raises ManagerFailed where it does not answer."""
        self.inspection.unlink(missing_ok=True)
        os.kill(self.manager.pid, signal.SIGUSR2)

        async def told() -> bool:
            return self.inspection.exists()

        if not await until(told, INSPECTION_S):
            raise ManagerFailed(f"the manager did not say within {INSPECTION_S:g} s what it holds")
        held: dict[str, Any] = json.loads(self.inspection.read_text())
        return held

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of the store, read beside the manager; also while none runs."""
        connection = sqlite3.connect(f"file:{self.manager.data_dir / 'longshore.db'}?mode=ro", uri=True, timeout=5.0)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, parameters)]
        finally:
            connection.close()

    def open_rollouts(self) -> dict[str, str]:
        """Id → status."""
        rows = self.rows("SELECT id, status FROM rollouts")
        return {row["id"]: row["status"] for row in rows if row["status"] in OPEN_STATUSES}

    def facts(self, name: str) -> dict[str, Any]:
        """What a deployment has, of which a request that is refused may change nothing."""
        facts, *_ = self.rows(
            "SELECT current_version, previous_version, public_port, instances, "
            "(SELECT max(number) FROM rollouts WHERE deployment = name) AS last_rollout, "
            "(SELECT group_concat(version || ' ' || state) FROM releases WHERE deployment = name) AS releases "
            "FROM deployments WHERE name = ?",
            name,
        )
        return facts | {"instances": json.loads(facts["instances"])}

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
