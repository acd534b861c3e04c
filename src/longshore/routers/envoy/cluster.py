"""Cluster: one pool as Envoy knows it. Small enough to be read back out of the file it was written to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from longshore.routers.base import Target


def cluster_name(deployment: str, pool: str) -> str:
    return f"{deployment}.{pool}"


@dataclass(frozen=True, slots=True)
class Cluster:
    deployment: str
    pool: str
    #: sorted; empty: holding, its only endpoint is the placeholder
    targets: tuple[Target, ...]
    health_path: str | None
    #: marks the change that made it what it is; Envoy's histograms begin anew with every change of a cluster
    since: str

    @property
    def name(self) -> str:
        return cluster_name(self.deployment, self.pool)

    @property
    def stat_name(self) -> str:
        return f"{self.deployment}_{self.pool}"

    @property
    def holding(self) -> bool:
        return not self.targets

    def joined(self, after: Cluster) -> Cluster:
        """What may stand while routes change from this to `after`: the targets of both.

        The placeholder is never joined with targets: a request could be sent to it and fail. A hold is entered only
        once the routes know how to wait (so the targets stay until then), and left at once.
        """
        if after.holding:
            return self
        if self.holding:
            return after
        both = tuple(sorted({*self.targets, *after.targets}))
        if both == after.targets:
            return after
        return self if both == self.targets else replace(after, targets=both, since=f"{after.since}+")

    def changed_to(self, targets: Iterable[Target], health_path: str | None, stamp: str) -> Cluster:
        """With these targets; marked with `stamp`, if that is any change."""
        after = replace(self, targets=tuple(sorted(set(targets))), health_path=health_path)
        return self if after == self else replace(after, since=stamp)

    @classmethod
    def read(cls, resource: Mapping[str, Any]) -> Cluster:
        """The inverse of resources.cluster()."""
        deployment, _, pool = str(resource["name"]).rpartition(".")
        endpoints = [e["endpoint"] for e in resource["load_assignment"]["endpoints"][0]["lb_endpoints"]]
        addresses = [e["address"]["socket_address"] for e in endpoints if "health_check_config" not in e]
        check = resource["health_checks"][0].get("http_health_check")
        return cls(
            deployment=deployment,
            pool=pool,
            targets=tuple(sorted(Target(str(a["address"]), int(a["port_value"])) for a in addresses)),
            health_path=str(check["path"]) if check else None,
            since=str(resource["metadata"]["filter_metadata"]["longshore"]["since"]),
        )
