"""A site for one group of kills: the deployment as the act finds it, under light load, and what is known of both."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chaos.sweeping.cases import Group
from longshore.demo.ledger import Ledger, Summary
from longshore.demo.load import Load
from longshore.drivers.identity import read_stat, send
from support import kills
from support.manager import Site, open_site, until
from support.outside import AT_REST, ROUTED, hooks_into, problems
from support.waits import Patience

REPLICAS = 2
#: of one group; two of them run side by side, and the managers' own times are measured meanwhile
MIX: dict[str, Any] = {"connections": 4, "pause_s": 0.05, "websockets": 1, "streams": 1, "slow": 1, "held_s": 0.5}
#: requests are done half a second after they began; CPython starts and ends, on a machine that is busy
PATIENCE = Patience(request_s=MIX["held_s"] + 0.3, start_s=1.5, end_s=0.5)
#: short, so that a case takes seconds; a warm set outlives all cases of its group
SHORT: dict[str, Any] = {
    **kills.SHORT,
    "health_check": {"interval": "300ms", "timeout": "1s", "deadline": "15s", "healthy_threshold": 1},
    "canary": {**kills.SHORT["canary"], "steps": [{"weight": w, "pause": "100ms"} for w in (20, 100)]},
    "blue_green": {"keep_old": "1h"},
    "drain_timeout": "10s",
    "stop_timeout": "3s",
}
#: what a release that is never healthy has instead
BROKEN: dict[str, Any] = {
    "broken": True, "health_check": {"interval": "100ms", "timeout": "500ms", "deadline": "500ms"}
}  # fmt: skip
#: of each of two hooks before and two after: enough to be killed in the middle of one
HOOK_S = 0.02
#: seconds until nothing is left that nobody owns
REST_S = 15.0
#: what is asked after every kill; Envoy's own view of itself after all of a group, as it keeps what it is to forget for
#: some seconds, until nobody uses it
AFTER_A_KILL = tuple(what for what in AT_REST if what != ROUTED)


class Stand:
    """What the acts and the trials of one group share."""

    def __init__(self, site: Site, group: Group) -> None:
        self.site, self.group = site, group
        self.load: Load | None = None
        #: the version that serves; "": nothing is deployed
        self.serving = ""
        #: the version that the act is to lead to
        self.wanted = ""
        #: another one that is kept, to go back to
        self.other = ""
        self._count = 0

    @property
    def hooks_file(self) -> Path:
        return self.site.directory / "hooks"

    @property
    def short(self) -> dict[str, Any]:
        """Of every release: SHORT, and hooks that write down that they ran."""
        hooks = hooks_into(self.hooks_file, HOOK_S)
        return {**SHORT, "pre_deploy_hooks": hooks, "post_deploy_hooks": hooks}

    async def at_rest(self, invariants: Iterable[str] = AT_REST) -> None:
        """Wait until these hold, as they must where nothing is under way. Raises AssertionError."""
        deadline = time.monotonic() + REST_S
        for what in invariants:
            while wrong := await problems(self, what):
                assert time.monotonic() < deadline, f"not so within {REST_S:g} s: {what}: {'; '.join(wrong)}"
                await asyncio.sleep(0.02)

    @property
    def ledger(self) -> Ledger:
        return self.load.ledger if self.load is not None else Ledger()

    def losses(self, first: int = 0) -> tuple[Summary, str]:
        """Of the requests from row `first` on: their sum, and the first losses in words."""
        ledger = self.ledger
        return ledger.summary(first), "; ".join(map(str, ledger.losses(first)[:5]))

    def fresh(self) -> str:
        """The name of a version that was not there yet; it is wanted from now on."""
        self._count += 1
        self.wanted = f"v{self._count}"
        return self.wanted

    async def deploy(self, **fields: Any) -> None:
        """A whole good deploy of a fresh version, or with `fields` another one; it serves then."""
        await self.site.deploy(self.fresh(), self.group.strategy, **{**self.short, **fields})
        self.serving = self.wanted

    def moment(self) -> str:
        """What the journal says of now: the last thing that was written of the last rollout."""
        query = (
            "SELECT r.status, j.name, j.undo, j.status AS step "
            "FROM rollouts r LEFT JOIN journal j ON j.rollout_id = r.id "
            "WHERE r.rowid = (SELECT max(rowid) FROM rollouts) "
            "ORDER BY max(j.started_at, coalesce(j.ended_at, 0)) DESC LIMIT 1"
        )
        for row in self.site.rows(query):
            step = f"{'undo ' * row['undo']}{row['name']} {row['step']}" if row["name"] else "no step"
            return f"{row['status']}, {step}"
        return "nothing written"

    def last_committed(self) -> str:
        """Id of the last rollout that is past its commit; "": there is none."""
        rows = self.site.rows("SELECT max(id) AS id FROM rollouts WHERE status IN ('committed', 'succeeded')")
        return str(rows[0]["id"] or "") if rows else ""

    async def until_finished(self) -> None:
        """Until no rollout and no deletion is under way, or the manager is dead. It is looked at beside the manager."""
        rollouts = "SELECT 1 FROM rollouts WHERE ended_at IS NULL"
        deletions = "SELECT 1 FROM deployments WHERE deleting IS NOT NULL"

        def finished() -> bool:
            return not self.site.manager.alive or not (self.site.rows(rollouts) or self.site.rows(deletions))

        await until(finished, "what is under way is brought to an end", 60.0)

    async def stopped(self) -> bool:
        """Wait until the manager stands still, by SIGSTOP; False: its rollout was over before."""

        def seen() -> str | None:
            stat = read_stat(self.site.manager.pid)
            if stat is not None and stat.state == "T":
                return "T"
            over = f"SELECT id FROM rollouts WHERE version = '{self.wanted}' AND ended_at IS NOT NULL"
            return "over" if self.site.rows(over) else None

        return bool(await until(seen, "the manager stands still at its fuse", 30.0) == "T")

    def go_on(self) -> None:
        """SIGCONT, where the manager stands still: it may be dead, and its pid nobody's any more."""
        stat = read_stat(self.site.manager.pid)
        if stat is not None and stat.state == "T":
            send(stat.pid, stat.start_time, signal.SIGCONT)

    def keep_evidence(self, directory: Path) -> None:
        """The manager's log and its store, as they are now."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for file in (*self.site.data.glob("*.log"), *self.site.data.glob("longshore.db*")):
            shutil.copy(file, directory)


@asynccontextmanager
async def open_stand(group: Group, *, loaded: bool) -> AsyncIterator[Stand]:
    """A site with nothing deployed, or under load with something that serves; all of it is gone at the end.
    Raises AssertionError where something is left that nobody owns."""
    # A short path: the router's socket lies below it, and those names are bounded.
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="longshore-sweep-"))
    try:
        async with open_site(directory, replicas=REPLICAS) as site:
            stand = Stand(site, group)
            if not loaded:
                yield stand
            else:
                await stand.deploy()
                async with site.load(**MIX) as stand.load:
                    yield stand
            await stand.at_rest()
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
