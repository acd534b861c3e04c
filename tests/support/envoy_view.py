"""What a running Envoy says of itself on its admin socket: listeners, clusters and their hosts, routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longshore.routers.envoy.admin import Admin, Hosts
from longshore.routers.envoy.resources import PLACEHOLDER
from longshore.routers.envoy.socket_path import socket_path

#: of a config_dump: key of a section → what in it is on its way in, or was refused. A listener that was taken away
#: listens no more, and is told of as `draining_state` until its clients have left, for ten minutes at most.
PASSING = {
    "dynamic_listeners": ("warming_state", "error_state"),
    "dynamic_warming_clusters": ("cluster",),
}


@dataclass(frozen=True)
class EnvoyView:
    """listeners   NAME.PORT of each that listens
    clusters    NAME.POOL → its hosts, as Envoy's workers use them
    routed      deployment → clusters that get requests by default, with their weight; a deployment without: nothing
    passing     what is being added just now, or could not be
    """

    listeners: frozenset[str]
    clusters: Mapping[str, Hosts]
    routed: Mapping[str, Mapping[str, int]]
    passing: tuple[str, ...]

    def takers(self, name: str) -> frozenset[int]:
        """Ports of the healthy hosts that a deployment's requests go to; what stands for a hold is none."""
        clusters = [
            self.clusters[c] for c, weight in self.routed.get(name, {}).items() if weight and c in self.clusters
        ]
        return frozenset(target.port for hosts in clusters for target in hosts.all - hosts.unhealthy - {PLACEHOLDER})


async def look(data: Path) -> EnvoyView:
    """Ask the Envoy of a data directory. Raises RouterError where none answers."""
    admin = Admin(socket_path(data / "envoy"))
    dump = await admin.get_json("/config_dump")
    return EnvoyView(
        await admin.listeners(), await admin.hosts(), _routed(_section(dump, "dynamic_route_configs")), _passing(dump)
    )


async def look_at_takers(data: Path) -> EnvoyView:
    """Only what takes requests, at one moment: the routes were the same before and after the hosts were looked at."""
    admin = Admin(socket_path(data / "envoy"))
    while True:
        routes, clusters = await _routes(admin), await admin.hosts()
        if routes == await _routes(admin):
            return EnvoyView(frozenset(), clusters, routes, ())


async def _routes(admin: Admin) -> dict[str, dict[str, int]]:
    return _routed((await admin.get_json("/config_dump?resource=dynamic_route_configs")).get("configs", []))


def _section(dump: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    return [entry for config in dump.get("configs", []) for entry in config.get(key, [])]


def _passing(dump: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{entry.get('name') or entry.get('cluster', {}).get('name')} ({state})"
        for key, states in PASSING.items()
        for entry in _section(dump, key)
        for state in states
        if state in entry
    )


def _routed(entries: list[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    hosts = [host for entry in entries for host in entry.get("route_config", {}).get("virtual_hosts", [])]
    # The last route is everybody's: those before it ask for a method, a cookie or a header.
    return {str(host["name"]): _weights(host["routes"][-1].get("route", {})) for host in hosts}


def _weights(to: Mapping[str, Any]) -> dict[str, int]:
    if "cluster" in to:
        return {str(to["cluster"]): 100}
    shares = to.get("weighted_clusters", {}).get("clusters", [])
    return {str(share["name"]): int(share.get("weight", 0)) for share in shares}
