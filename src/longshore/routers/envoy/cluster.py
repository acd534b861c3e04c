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
    #: sorted, none of `targets`: the other pool's, asked only while none of `targets` can answer
    standby: tuple[Target, ...] = ()

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
        targets = _sorted({*self.targets, *after.targets})
        standby = _sorted({*self.standby, *after.standby}.difference(targets))
        for each in (after, self):
            if (each.targets, each.standby) == (targets, standby):
                return each
        return replace(after, targets=targets, standby=standby, since=f"{after.since}+")

    def changed_to(
        self, targets: Iterable[Target], health_path: str | None, stamp: str, standby: Iterable[Target] = ()
    ) -> Cluster:
        """With these targets; marked with `stamp`, if that is any change."""
        own = frozenset(targets)
        after = replace(self, targets=_sorted(own), health_path=health_path, standby=_sorted(frozenset(standby) - own))
        return self if after == self else replace(after, since=stamp)

    @classmethod
    def read(cls, resource: Mapping[str, Any]) -> Cluster:
        """The inverse of resources.cluster()."""
        deployment, _, pool = str(resource["name"]).rpartition(".")
        by_priority = [_addresses(each) for each in resource["load_assignment"]["endpoints"]]
        check = resource["health_checks"][0].get("http_health_check")
        return cls(
            deployment=deployment,
            pool=pool,
            targets=by_priority[0],
            health_path=str(check["path"]) if check else None,
            since=str(resource["metadata"]["filter_metadata"]["longshore"]["since"]),
            standby=by_priority[1] if len(by_priority) > 1 else (),
        )


def _sorted(targets: Iterable[Target]) -> tuple[Target, ...]:
    return tuple(sorted(frozenset(targets)))


def _addresses(locality: Mapping[str, Any]) -> tuple[Target, ...]:
    """Without the placeholder."""
    endpoints = [each["endpoint"] for each in locality["lb_endpoints"]]
    found = [e["address"]["socket_address"] for e in endpoints if "health_check_config" not in e]
    return _sorted(Target(str(a["address"]), int(a["port_value"])) for a in found)
