"""A real manager with the demo's application, to be killed: `async with open_site(tmp_path) as site: …`.

    site.deploy("2.0", "rolling")        as a user would, by the API       site.load()          clients, all recorded
    site.kill() / site.restart()         SIGKILL / a new manager           site.settled()       what must hold then
    site.light_fuse(17, "commit")        the manager kills itself at its 17th write from now

At the end everything it started is gone: deployments by the API, the manager by SIGTERM, then Envoy. What is left in
spite of that is ended by its pidfd, and fails the test.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from longshore.client import AsyncLongshore, ClientError
from longshore.client.results import Rollout
from longshore.demo.load import Load, Mix
from longshore.demo.manager import ManagerFailed
from longshore.demo.stage import NAME, Stage
from longshore.demo.wire import Connection
from longshore.drivers.identity import Stat, all_ended, send
from longshore.drivers.members import environment, processes
from longshore.drivers.process import MARK
from support.backends import free_port

FUSED = Path(__file__).with_name("fused_manager.py")
POLITE = Path(__file__).with_name("polite_app.py")
#: points of a transaction at which the fuse can burn through
POINTS = ("begin", "commit", "committed")
#: a write that no manager of a test gets to
NEVER = 10**9


class Site(Stage):
    """A stage whose manager can be killed at any of its writes."""

    def __init__(self, directory: Path, replicas: int, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory, {"FUSED_DATA_DIR": str(directory / "data"), **(settings or {})})
        self.manager.program = (sys.executable, "-P", str(FUSED))
        self.port = free_port()  # clear of other workers'
        self.replicas = replicas
        #: how long a manager takes that finds nothing to do: mostly the interpreter's own time
        self.idle_start_s = 0.0

    @property
    def data(self) -> Path:
        return self.manager.data_dir

    def artifact(self, version: str, *, broken: bool = False) -> Path:
        directory = super().artifact(version, broken=broken)
        shutil.copyfile(POLITE, directory / "polite.py")
        return directory

    def spec(self, version: str, strategy: str, *, broken: bool = False, **fields: Any) -> dict[str, Any]:
        return super().spec(version, strategy, broken=broken, **{"replicas": self.replicas, **fields})

    async def deploy(self, version: str, strategy: str, **fields: Any) -> Rollout:
        """A whole deploy; raises what the client raises where it fails."""
        return await self.client.deploy(self.spec(version, strategy, **fields), timeout=60)

    async def begin(self, version: str, strategy: str, **fields: Any) -> Rollout | None:
        """Only begin it; None where the manager did not live to say so."""
        try:
            return await self.client.deploy(self.spec(version, strategy, **fields), wait=False)
        except ClientError:
            if self.manager.alive and not await ended_soon(self.manager.pid):
                raise
            return None

    def load(self, **mix: Any) -> Load:
        return Load("127.0.0.1", self.port, Mix(**mix))

    async def start_manager(self) -> float:
        seconds = await super().start_manager()
        self.idle_start_s = self.idle_start_s or seconds
        await self.client.close()
        # One that gives up at once: what a dead manager did not answer is for the test to find out.
        self._client = AsyncLongshore(data_dir=self.data, patience=0)
        return seconds

    # ------------------------------------------------------------------------------------------------ killing

    def light_fuse(
        self, number: int, point: str = "begin", delay_s: float = 0.0, sent: signal.Signals = signal.SIGKILL
    ) -> None:
        assert point in POINTS
        assert number > 0
        (self.data / "burnt").unlink(missing_ok=True)
        file = self.data / "fuse.new"
        file.write_text(f"{point} {number} {delay_s} {int(sent)}")
        file.replace(self.data / "fuse")

    def put_out_fuse(self) -> None:
        """Nobody is killed any more by the last one lit, whether it has burnt through or not."""
        if self.manager.alive:
            self.light_fuse(NEVER)  # one that was read stands in the manager's memory
        else:
            for name in ("fuse", "burnt"):
                (self.data / name).unlink(missing_ok=True)

    async def burnt(self) -> bool:
        """Whether the fuse has burnt through since it was lit; the manager is dead then."""
        if not (self.data / "burnt").exists():
            return False
        await until(lambda: not self.manager.alive, "the manager is dead, as its fuse has burnt through")
        return True

    def writes(self) -> int:
        """Transactions of the running manager so far."""
        return int((self.data / "writes").read_text() or 0)

    async def kill(self) -> None:
        await self.manager.kill()

    async def restart(self) -> float:
        """A new manager; returns the seconds until it was ready. The old one is dead."""
        assert not self.manager.alive
        return await self.start_manager()

    # ------------------------------------------------------------------------------------------------ looking

    async def last_rollout(self) -> Rollout | None:
        page = await self.client.rollouts(NAME, limit=1)
        return page.rollouts[0] if page.rollouts else None

    async def until_over(self, bound_s: float = 60.0) -> Rollout:
        """The last rollout, once it is over."""

        async def over() -> Rollout:
            while True:
                last = await self.last_rollout()
                assert last is not None
                if last.is_over:
                    return await self.client.rollout(NAME, last.id)
                await asyncio.sleep(0.02)

        return await bounded(over(), bound_s, "the last rollout is over")

    async def settled(self, extra: int = 0) -> str:
        """The one version that serves, everything looked at from outside. Fails where the world is in two minds.

        extra   instances that may run besides the committed ones (those kept warm)
        """
        page = await self.client.rollouts(NAME, limit=500)
        assert all(each.status in ("succeeded", "unwound") for each in page.rollouts), [
            (each.number, each.status, each.message) for each in page.rollouts
        ]
        status = await self.until_healthy()
        assert status.replicas.desired == status.replicas.ready == self.replicas, status.replicas
        answered = await self.answers()
        assert set(answered) == {status.version}, f"{answered} answered, the status says {status.version}"
        current = self.data / "apps" / NAME / "current"
        assert current.resolve().name == status.version, f"current is {current.resolve()}"
        await self._assert_processes(extra)
        return status.version

    async def until_healthy(self, bound_s: float = 15.0) -> Any:
        async def healthy() -> Any:
            while True:
                status = await self.client.get(NAME)
                if (status.state, status.health) == ("healthy", "healthy"):
                    return status
                await asyncio.sleep(0.02)

        return await bounded(healthy(), bound_s, f"{NAME} is healthy")

    async def answers(self, count: int = 3) -> Counter[str]:
        """Which versions answer, asked `count` times per replica, each time on a connection of its own."""
        seen: Counter[str] = Counter()
        for _ in range(count * self.replicas):
            connection = Connection("127.0.0.1", self.port)
            try:
                answer = await connection.request("GET", "/")
            finally:
                connection.close()
            assert answer.status == 200
            seen[answer.version] += 1
        return seen

    async def _assert_processes(self, extra: int) -> None:
        rows = self.instances()
        launched = {row["launch_id"] for row in rows if row["state"] != "stopped"}
        found = [launch for _, launch in self.launches()]
        assert set(found) == launched, f"processes of launches {found}, the store knows {rows}"
        assert len(found) == len(launched)
        assert self.replicas <= len(found) <= self.replicas + extra, f"{len(found)} run: {rows}"
        assert not (hooks := [stat.pid for stat in self.hooks()]), f"hooks run on: {hooks}"

    def instances(self) -> list[dict[str, Any]]:
        """The rows of all instances, read beside the manager."""
        return self.rows("SELECT * FROM instances")

    def committed(self) -> list[str]:
        """Ids of the instances that serve."""
        rows = self.rows("SELECT instances FROM deployments")
        return [str(id) for row in rows for id in json.loads(row["instances"])]

    def pids(self) -> dict[str, int]:
        """Instance → pid."""
        return {row["id"]: json.loads(row["handle"])["pid"] for row in self.instances() if row["handle"]}

    def launches(self) -> list[tuple[Stat, str]]:
        """Every living process that an instance of this manager is made of, with its launch id."""
        if not (rows := self.rows("SELECT id FROM manager")):
            return []
        prefix = f"{MARK}={rows[0]['id']}/".encode()
        return [(stat, value) for stat in alive() if (value := entry(stat, prefix)) is not None]

    def environments(self) -> list[dict[str, str]]:
        """What each process of an instance finds in its environment."""
        return [
            dict(os.fsdecode(line).split("=", 1) for line in environment(stat.pid).split(b"\0") if b"=" in line)
            for stat, _ in self.launches()
        ]

    def hooks(self) -> list[Stat]:
        prefix = f"DEPLOYMENT_RELEASE_DIR={self.data}/".encode()
        return [stat for stat in alive() if entry(stat, prefix) is not None]

    def envoy(self) -> Stat | None:
        boot = os.fsencode(self.data / "envoy/boot.json")
        return next((stat for stat in alive() if boot in _read(stat.pid, "cmdline").split(b"\0")), None)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Of the store, read beside the manager; nothing where it was not made yet."""
        database = self.data / "longshore.db"
        if not database.exists():
            return []
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        try:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql)]
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            connection.close()

    # ------------------------------------------------------------------------------------------------ the end

    def remains(self) -> list[Stat]:
        """Whatever still runs of all this."""
        found = [*(stat for stat, _ in self.launches()), *self.hooks()]
        envoy = self.envoy()
        return [*found, envoy] if envoy is not None else found

    async def end_remains(self) -> list[int]:
        """The last resort: end it by pidfd. Returns the pids."""
        found = self.remains()
        for stat in found:
            send(stat.pid, stat.start_time, signal.SIGKILL)
        assert await all_ended(found, 10.0), f"killed processes did not end: {found}"
        return [stat.pid for stat in found]


@asynccontextmanager
async def open_site(
    directory: Path, *, replicas: int = 3, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Site]:
    """A site with its manager running, and 1.0 not yet deployed. settings: LONGSHORE_* variables."""
    site = Site(directory, replicas, settings)
    site.data.mkdir(mode=0o700)
    try:
        await site.start_manager()
        yield site
    except BaseException as error:
        error.add_note(f"the manager's log ends:\n{site.manager.tail(40)}")
        await _take_down(site, report=False)
        raise
    await _take_down(site, report=True)


async def _take_down(site: Site, *, report: bool) -> None:
    site.put_out_fuse()
    try:
        await site.close()
    except (ClientError, ManagerFailed, OSError):
        if report:
            raise
    finally:
        if site.manager.alive:
            await site.kill()
        left = await site.end_remains()
    assert not (report and left), f"processes {left} were left over after everything was deleted\n{site.manager.tail()}"


async def bounded(work: Any, bound_s: float, what: str) -> Any:
    """Await it; an AssertionError naming `what` where that takes longer."""
    try:
        async with asyncio.timeout(bound_s):
            return await work
    except TimeoutError:
        raise AssertionError(f"not within {bound_s:g} s: {what}") from None


async def until(condition: Callable[[], Any], what: str, bound_s: float = 10.0) -> Any:
    """Look until it is true, and return what it gave."""

    async def looking() -> Any:
        while True:
            if found := condition():
                return found
            await asyncio.sleep(0.02)

    return await bounded(looking(), bound_s, what)


async def ended_soon(pid: int, bound_s: float = 5.0) -> bool:
    """Whether a process ends within the bound (as a zombie it has)."""
    deadline = time.monotonic() + bound_s
    while any(stat.pid == pid for stat in alive()):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def alive() -> list[Stat]:
    return [stat for stat in processes() if not stat.dead]


def entry(stat: Stat, prefix: bytes) -> str | None:
    """The rest of the entry of a process's environment that starts with `prefix`."""
    for line in environment(stat.pid).split(b"\0"):
        if line.startswith(prefix):
            return os.fsdecode(line[len(prefix) :])
    return None


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
