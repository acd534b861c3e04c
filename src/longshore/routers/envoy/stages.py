"""The stages of a change, each of them one file pushed and its effect awaited.

The acknowledgement of a cluster is not its effect: a changed cluster shows its old hosts until the new ones have been
checked. So every push of clusters is followed by a look at the hosts that Envoy's workers use.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from longshore.clock import Clock
from longshore.routers.base import RouterError, Target
from longshore.routers.envoy.admin import Admin, AdminUnavailable, Hosts
from longshore.routers.envoy.cluster import Cluster
from longshore.routers.envoy.files import Files, Refused, ResourceFile
from longshore.routers.envoy.limits import most_connections_of_one_port
from longshore.routers.envoy.logs import holder_of
from longshore.routers.envoy.moves import Move
from longshore.routers.envoy.resources import (
    PLACEHOLDER,
    Json,
    cluster,
    listener,
    listener_name,
    port_of,
    reachable,
    shard_of,
)

#: A hung target delays a change by the check's timeout (1 s), a loaded machine by some more.
HOSTS_S = 15.0
#: A first check that is answered takes milliseconds, one that is not its timeout of 1 s; requests may be held then.
ILL_S = 3.0
PORT_S = 5.0
POLL_S = 0.005


class Stages:
    def __init__(self, directory: Path, files: Files, admin: Admin, clock: Clock, listen_host: str) -> None:
        self._directory = directory
        self._files = files
        self._admin = admin
        self._clock = clock
        self._listen_host = listen_host
        #: deployments whose clusters were changed and not yet seen in effect (the wait was cancelled, or in vain)
        self._unsettled: set[str] = set()
        #: deployment → cluster → targets that were added and not yet seen healthy, for the wait was cancelled
        self._cold: dict[str, dict[str, frozenset[Target]]] = {}

    # ----------------------------------------------------------------------------------------- what the files hold

    def clusters(self, name: str) -> dict[str, Cluster]:
        """Clusters of a deployment, by name."""
        found = (self._files.clusters.resource(c) for c in self._files.clusters.items if owner(c) == name)
        return {c.name: c for c in map(Cluster.read, filter(None, found))}

    def ports(self, name: str) -> dict[str, int]:
        """Ports of a deployment's listeners, by the listener's name."""
        return {n: port_of(n) for n in self._files.listeners.items if owner(n) == name}

    def virtual_host(self, name: str) -> Json | None:
        return self.shard(name).resource(name)

    def fresh_listener(self, name: str, port: int) -> Json:
        """One that is to be added. One that is there stays as it is: a changed one would drain its connections."""
        return listener(self._directory, name, self._listen_host, port, most_connections_of_one_port())

    def shard(self, name: str) -> ResourceFile:
        return self._files.shards[shard_of(name)]

    # ------------------------------------------------------------------------------------------------- the stages

    async def add(self, move: Move, *, ill_too: bool = False) -> None:
        """Stage 1: everything the traffic needs, beside everything that is there; warm.

        ill_too   what does not pass its checks within ILL_S is taken as it is: Envoy passes it by where another one
                  does, and sends to it where none does (healthy_panic_threshold)
        """
        cold = self._cold.pop(move.name, {})
        healthy = {
            name: added | cold.get(name, frozenset()) & frozenset(move.kept[name].targets if name in move.kept else ())
            for name, added in move.added.items()
        }
        try:
            await self._put_clusters(move.name, move.union)
            if move.name in self._unsettled:
                await self._wait_warm(move, healthy, ill_too)
                self._unsettled.discard(move.name)
        except asyncio.CancelledError:
            self._cold[move.name] = healthy
            raise

    async def shift(self, name: str, host: Json) -> None:
        """Stage 2: new requests follow the new routes."""
        await self.shard(name).change(put={name: host})

    async def listen(self, name: str, port: int) -> None:
        """Stage 3: the public port, where it is new. Raises RouterError that says who has it, if somebody does."""
        wanted = listener_name(name, port)
        if wanted in self._files.listeners.items:
            return
        for other in self._files.listeners.items:
            if port_of(other) == port:
                raise RouterError(f"port {port} is already the port of {owner(other)}; choose another for {name}")
        try:
            await self._files.listeners.change(put={wanted: self.fresh_listener(name, port)})
        except Refused as error:
            holder = await holder_of(port)
            taken = f"the port is taken {holder}; free it or choose another. " if holder else ""
            raise RouterError(f"{name} cannot listen on port {port}: {taken}Envoy says: {error}") from error
        await self._wait_port(port)

    async def clear(self, move: Move) -> None:
        """Stage 4: targets that the traffic no longer names get nothing; what is in flight there ends by itself."""
        await self._put_clusters(move.name, move.kept)
        if move.name in self._unsettled:
            await self.wait_hosts(move.name, move.kept, {})
            self._unsettled.discard(move.name)

    async def hush(self, name: str, but: int | None) -> None:
        """Stage 5: listen no longer on the deployment's ports, but for one. Connections there go on."""
        await self._files.listeners.change(drop=[n for n, port in self.ports(name).items() if port != but])

    def forget(self, name: str) -> None:
        """It is removed: what was not settled of it never will be."""
        self._unsettled.discard(name)
        self._cold.pop(name, None)

    async def undo(self, move: Move, host: Json | None, ports: Mapping[str, int]) -> None:
        """Back to what was before the move, as far as Envoy can be told: routes first, then what they do not need."""
        with contextlib.suppress(RouterError):
            if host is not None:
                await self.shard(move.name).change(put={move.name: host})
            await self._files.listeners.change(drop=set(self.ports(move.name)) - set(ports))
            if host is None:
                await self.shard(move.name).change(drop=[move.name])
            await self._put_clusters(move.name, move.before, frozenset(move.union) - frozenset(move.before))

    # ------------------------------------------------------------------------------------------------- the waits

    async def wait_hosts(
        self,
        name: str,
        clusters: Mapping[str, Cluster],
        healthy: Mapping[str, frozenset[Target]],
        bound_s: float = HOSTS_S,
    ) -> None:
        """Until Envoy's workers use exactly these clusters and hosts, and those of `healthy` take requests.

        name   the deployment. Raises RouterError after `bound_s`, naming the cluster and the hosts.
        """
        deadline = self._clock.monotonic() + bound_s
        while True:
            lacking = await self._lacking(name, clusters, healthy)
            if not lacking:
                return
            if self._clock.monotonic() > deadline:
                raise RouterError(f"{name}: not in effect within {bound_s:g} s: {lacking}")
            await self._clock.sleep(POLL_S)

    async def _wait_warm(self, move: Move, healthy: Mapping[str, frozenset[Target]], ill_too: bool) -> None:
        try:
            await self.wait_hosts(move.name, move.union, healthy, ILL_S if ill_too else HOSTS_S)
        except RouterError:
            if not ill_too:
                raise
            await self.wait_hosts(move.name, move.union, {})

    async def wait_idle(self, name: str, bound_s: float) -> bool:
        """Until no request comes in through the deployment's listeners, at most `bound_s`. Whether that was so."""
        deadline = self._clock.monotonic() + bound_s
        while True:
            active = await self._admin.stats(rf"^http\.{name}\.downstream_rq_active$")
            if not any(int(value) for value in active.values()):
                return True
            if self._clock.monotonic() >= deadline:
                return False
            await self._clock.sleep(0.05)

    async def differs(self, name: str, clusters: Mapping[str, Cluster]) -> str:
        """What of these clusters Envoy does not have; "" if it has exactly them. Raises AdminUnavailable."""
        return difference(clusters, await self._admin.hosts(name), {})

    # --------------------------------------------------------------------------------------------------- private

    async def _put_clusters(self, name: str, wanted: Mapping[str, Cluster], drop: frozenset[str] = frozenset()) -> None:
        there = self.clusters(name)
        if any(there.get(n) != c for n, c in wanted.items()) or drop & frozenset(there):
            self._unsettled.add(name)
        await self._files.clusters.change(put={n: cluster(c) for n, c in wanted.items()}, drop=drop)

    async def _lacking(
        self, name: str, clusters: Mapping[str, Cluster], healthy: Mapping[str, frozenset[Target]]
    ) -> str:
        try:
            return difference(clusters, await self._admin.hosts(name), healthy)
        except AdminUnavailable as error:
            return str(error)

    async def _wait_port(self, port: int) -> None:
        host = reachable(self._listen_host)
        deadline = self._clock.monotonic() + PORT_S
        while True:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), PORT_S)
            except OSError as error:
                if self._clock.monotonic() > deadline:
                    raise RouterError(f"{host}:{port} took no connection within {PORT_S:g} s: {error}") from error
                await self._clock.sleep(POLL_S)
                continue
            writer.close()
            return


def owner(resource: str) -> str:
    """The deployment of a cluster NAME.POOL or a listener NAME.PORT. Names hold no dot."""
    return resource.rpartition(".")[0]


def difference(
    wanted: Mapping[str, Cluster], found: Mapping[str, Hosts], healthy: Mapping[str, frozenset[Target]]
) -> str:
    """The first thing in which the clusters Envoy uses are not the wanted ones, in words; "" if there is none."""
    for name in sorted(frozenset(found) - frozenset(wanted)):
        return f"cluster {name} is still there"
    for name, each in sorted(wanted.items()):
        if name not in found:
            return f"cluster {name} is still being checked for the first time"
        hosts = frozenset((*(each.targets or (PLACEHOLDER,)), *each.standby))
        if found[name].all != hosts:
            return f"cluster {name} has {_listed(found[name].all)}, not yet {_listed(hosts)}"
        ill = found[name].unhealthy & healthy.get(name, frozenset())
        if ill:
            return f"{_listed(ill)} in cluster {name} does not pass Envoy's health check ({each.health_path or 'TCP'})"
    return ""


def _listed(targets: frozenset[Target]) -> str:
    return json.dumps([f"{target.host}:{target.port}" for target in sorted(targets)])
