"""What a manager does when it starts: the complete desired traffic, onto the Envoy that is there or a new one.

An adopted Envoy goes through the same stages as for a single change, for all deployments at once: what is on disk is
where it stands, even after a crash between two writes. Rewriting what is there already writes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

from longshore.routers.base import RouterError, Traffic
from longshore.routers.envoy.aliases import Aliases
from longshore.routers.envoy.files import Files, ResourceFile
from longshore.routers.envoy.keeper import Keeper
from longshore.routers.envoy.moves import plan_move
from longshore.routers.envoy.resources import cluster, listener_name
from longshore.routers.envoy.routes import virtual_host
from longshore.routers.envoy.stages import Stages, owner

OnEvent = Callable[[str, str], None]


async def restore(
    traffic: Mapping[str, Traffic],
    files: Files,
    stages: Stages,
    keeper: Keeper,
    aliases: Aliases,
    stamp: str,
    on_event: OnEvent,
) -> None:
    """Adopt Envoy and take it to `traffic`, or start it there; start nothing for no traffic.

    A part that Envoy refuses, or that is not healthy, becomes an event: one deployment's trouble is not the others'.
    Raises RouterError if Envoy cannot be started, or does not answer.
    """
    alive = await keeper.adopt()
    if not traffic:
        if alive and files.listeners.items:
            served = ", ".join(sorted({owner(name) for name in files.listeners.items}))
            on_event("error", f"no deployment is known, but the router serves {served}: it is left as it is")
        return
    if not alive:
        _lay_out(traffic, files.all, files, stages, stamp)
        await keeper.ensure()
        return
    lost = [file for file in files.all if file.lost]
    for file in lost:
        on_event("warning", f"router, {file.path}: {file.lost}; it is written anew from the store")
    # All of it at once: what a file does not name is removed.
    _lay_out(traffic, lost, files, stages, stamp)
    for file in files.all:
        await _or_event(file.confirm(), f"{file.path.name}", on_event)
    await _forget_strangers(traffic, files, stages, on_event)
    moves = [plan_move(name, each, stages.clusters(name), (), stamp) for name, each in traffic.items()]
    for move in moves:
        await _or_event(stages.add(move), move.name, on_event)
    for name, each in traffic.items():
        await _or_event(stages.shift(name, virtual_host(name, each)), name, on_event)
        await _or_event(stages.listen(name, each.port), name, on_event)
    for move in moves:
        await _or_event(stages.clear(move), move.name, on_event)
        await _or_event(stages.hush(move.name, but=traffic[move.name].port), move.name, on_event)
        aliases.set(move.name, move.aliases)


def _lay_out(
    traffic: Mapping[str, Traffic], which: Collection[ResourceFile], files: Files, stages: Stages, stamp: str
) -> None:
    """The whole content of these files, yet to be written, for an Envoy in whose clusters nothing waits: no aliases."""
    if files.clusters in which:
        clusters = [c for name, each in traffic.items() for c in plan_move(name, each, {}, (), stamp).after.values()]
        files.clusters.lay({c.name: cluster(c) for c in clusters})
    for shard in frozenset(files.shards).intersection(which):
        shard.lay({name: virtual_host(name, each) for name, each in traffic.items() if stages.shard(name) is shard})
    if files.listeners in which:
        ports = {name: each.port for name, each in traffic.items()}
        files.listeners.lay({listener_name(n, port): stages.fresh_listener(n, port) for n, port in ports.items()})


async def _forget_strangers(traffic: Mapping[str, Traffic], files: Files, stages: Stages, on_event: OnEvent) -> None:
    """Remove what no deployment owns: ports first, then routes, then clusters."""
    strangers = {owner(name) for name in (*files.listeners.items, *files.clusters.items)}
    strangers |= {name for shard in files.shards for name in shard.items}
    for name in sorted(strangers - set(traffic)):
        on_event("warning", f"the router served {name}, which is no deployment: removed")
        await _or_event(stages.hush(name, but=None), name, on_event)
        await _or_event(stages.shard(name).change(drop=[name]), name, on_event)
        await _or_event(files.clusters.change(drop=list(stages.clusters(name))), name, on_event)


async def _or_event(work: Awaitable[None], what: str, on_event: OnEvent) -> None:
    try:
        await work
    except RouterError as error:
        on_event("error", f"router, {what}: {error}")
