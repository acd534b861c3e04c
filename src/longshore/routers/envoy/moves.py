"""Moves: how to get from the clusters that are there to a Traffic without losing a request. Pure.

    before ──► union: everything added ──► routes follow ──► after: what is no longer named is gone

Every target of `before` stands until the routes are those of the Traffic, and every target of the Traffic stands,
warm, before they are. A cluster that leaves outlives its place in the traffic as an *alias*: a request that waits for
its next try (held, or after a connection that was cut) stays with its cluster whatever the routes say, and is answered
503 if that is gone. So an alias is given the targets that serve now, for as long as such requests need.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from longshore.routers.base import RouterError, Target, TargetPool, Traffic
from longshore.routers.envoy.cluster import Cluster, cluster_name
from longshore.routers.envoy.routes import held_pool


@dataclass(frozen=True, slots=True)
class Move:
    name: str
    before: Mapping[str, Cluster]
    union: Mapping[str, Cluster]
    #: without the aliases
    after: Mapping[str, Cluster]
    aliases: Mapping[str, Cluster]

    @property
    def kept(self) -> Mapping[str, Cluster]:
        """All clusters that stand once the move is done."""
        return {**self.after, **self.aliases}

    @property
    def added(self) -> Mapping[str, frozenset[Target]]:
        """Targets that have to become healthy before requests are sent their way, by cluster."""
        return {
            name: frozenset(cluster.targets) - frozenset(self.before[name].targets if name in self.before else ())
            for name, cluster in self.union.items()
        }


def plan_move(name: str, traffic: Traffic, before: Mapping[str, Cluster], aliases: Collection[str], stamp: str) -> Move:
    """The clusters of each stage.

    before    clusters of the deployment that exist, by name
    aliases   names of those that only linger, from earlier moves: no route leads to them
    stamp     what clusters that are new or change are marked with (microseconds since the epoch)
    """
    after: dict[str, Cluster] = {}
    for pool in (traffic.stable, traffic.candidate):
        if pool is not None and (pool.targets or pool.id == held_pool(traffic)):
            cluster = _cluster(name, pool, standby_of(pool, traffic), before, stamp)
            after[cluster.name] = cluster
    fed = {n: _fed(c, traffic, stamp) for n, c in before.items() if n not in after}
    union = {**after, **fed}
    for n, there in before.items():
        if n in aliases:
            continue
        if n in after:
            union[n] = there.joined(after[n])
        elif not there.holding:
            # Routes lead here until they shift: fed now, it would mix old and new before the time.
            union[n] = there
    return Move(name=name, before=dict(before), union=union, after=after, aliases=fed)


def standby_of(pool: TargetPool, traffic: Traffic) -> tuple[Target, ...]:
    """The other pool's targets: they answer while none of the pool's own does, once the candidate gets requests at all.

    At weight 0 it is only known: not yet trusted, or a set that is kept warm. A pool without targets has no share that
    anybody could take over, and one that holds has to go on holding.
    """
    if traffic.stable is None or traffic.candidate is None or not traffic.weight or not pool.targets:
        return ()
    return (traffic.candidate if pool is traffic.stable else traffic.stable).targets


def check(name: str, traffic: Traffic) -> None:
    """Refuse what Envoy would refuse, with words that help. Raises RouterError."""
    if not 0 < traffic.port < 65536:
        raise RouterError(f"{name}: {traffic.port} is no TCP port; use one of 1-65535")
    if not 0 <= traffic.weight <= 100:
        raise RouterError(f"{name}: a weight of {traffic.weight} % is none; use 0-100")
    pools = [pool for pool in (traffic.stable, traffic.candidate) if pool is not None]
    if len({pool.id for pool in pools}) != len(pools):
        raise RouterError(f"{name}: stable and candidate are both pool {pools[0].id}; each pool needs an id of its own")
    for pool in pools:
        if len(pool.id) != 8 or not all(digit in "0123456789abcdef" for digit in pool.id):
            raise RouterError(f"{name}: pool id {pool.id!r} is not 8 lower-case hex digits")
        for target in pool.targets:
            _check_target(name, target)


# ------------------------------------------------------------------------------------------------------- private


def _cluster(
    name: str, pool: TargetPool, standby: tuple[Target, ...], before: Mapping[str, Cluster], stamp: str
) -> Cluster:
    there = before.get(cluster_name(name, pool.id)) or Cluster(name, pool.id, (), None, stamp)
    return there.changed_to(pool.targets, pool.health_path, stamp, standby)


def _fed(alias: Cluster, traffic: Traffic, stamp: str) -> Cluster:
    """An alias with the targets that serve now; while none do, its requests go on waiting."""
    serving = [pool for pool in (traffic.stable, traffic.candidate) if pool is not None and pool.targets]
    if not serving:
        return alias.changed_to((), alias.health_path, stamp)
    return alias.changed_to(serving[0].targets, serving[0].health_path, stamp)


def _check_target(name: str, target: Target) -> None:
    try:
        ip_address(target.host)
    except ValueError:
        raise RouterError(f"{name}: target host {target.host!r} is no IP address; resolve it first") from None
    if not 0 < target.port < 65536:
        raise RouterError(f"{name}: target port {target.port} is no TCP port; use one of 1-65535")
