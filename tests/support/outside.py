"""What must hold of real processes, from outside: the store beside the manager, /proc, the disk, Envoy, answers."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from inspect import isawaitable
from pathlib import Path
from typing import Any, Protocol

from longshore.client import ClientError
from longshore.client.results import OPEN_STATUSES
from longshore.drivers.members import listening
from longshore.routers.base import RouterError
from support.envoy_view import look, look_at_takers
from support.ground import Ground
from support.manager import Site
from support.once import ran_as_it_may

#: requests on connections of their own, for each instance
ASKED = 2
#: hook of a phase, as it calls itself in the file → its place in the spec
HOOKS = ("first", "second")


def hooks_into(file: Path, pause_s: float) -> list[str]:
    """Hooks of one phase that write down that they ran, and take so long."""
    return [f"echo $DEPLOYMENT_ROLLOUT_ID $DEPLOYMENT_HOOK {each} >> {file}; sleep {pause_s:g}" for each in HOOKS]


class Seen(Protocol):
    """What is looked at. hooks_file: a line of "ROLLOUT PHASE HOOK" for each hook that began."""

    @property
    def site(self) -> Site: ...

    @property
    def hooks_file(self) -> Path: ...


def rollouts(ground: Seen) -> list[str]:
    """None is in progress, held or stuck."""
    rows = ground.site.rows("SELECT deployment, number, status, message FROM rollouts")
    bad = [row for row in rows if row["status"] in OPEN_STATUSES or row["status"] in ("held", "stuck")]
    return [f"{row['deployment']} {row['number']} is {row['status']}: {row['message']}" for row in bad]


def journal(ground: Seen) -> list[str]:
    sql = (
        "SELECT r.deployment, r.number, j.name, j.undo, j.status, j.ended_at FROM journal j JOIN rollouts r "
        "ON r.id = j.rollout_id WHERE j.status = 'running' OR j.ended_at IS NULL OR r.ended_at IS NULL"
    )
    return [f"a step was left open: {row}" for row in ground.site.rows(sql)]


def hooks(ground: Seen) -> list[str]:
    """As support/once.py says, by what the hooks themselves have written."""
    lines = ground.hooks_file.read_text().split("\n")[:-1] if ground.hooks_file.exists() else []
    ran = Counter(tuple(line.split()) for line in lines)
    wrong = [f"the hook {hook} ran {times} times" for hook, times in ran.items() if times > 1]
    for row in ground.site.rows("SELECT id, deployment, number, kind, status, spec FROM rollouts"):
        sql = f"SELECT name, status FROM journal WHERE rollout_id = '{row['id']}' AND NOT undo"
        steps = {step["name"]: step["status"] for step in ground.site.rows(sql)}
        hooked = row["kind"] in ("deploy", "rollback")
        for phase in ("pre_deploy", "post_deploy"):
            commands = json.loads(row["spec"])[f"{phase}_hooks"]
            times = [ran[row["id"], phase, name] for name in HOOKS[: len(commands)]]
            step = steps.get(f"{phase}_hooks")
            if not ran_as_it_may(times, step if hooked else None):
                wrong.append(
                    f"{row['deployment']} {row['number']}: {phase} hooks ran {times} times, the step is {step}"
                )
    return wrong


def releases(ground: Seen) -> Iterator[str]:
    """One is committed: `current`, every instance and the directory say the same, and nothing else is there."""
    site = ground.site
    deployments = {row["name"]: row for row in site.rows("SELECT * FROM deployments")}
    for what in ("apps", "logs"):
        if left := _names(site.data / what) - set(deployments):
            yield f"{what} of {sorted(left)}, which are no deployments"
    for name, row in deployments.items():
        place, version = site.data / "apps" / name, row["current_version"]
        current = (place / "current").resolve().name if (place / "current").is_symlink() else None
        if current != version:
            yield f"current of {name} is {current}, and {version} is committed"
        kept = site.rows(f"SELECT version FROM releases WHERE deployment = '{name}' AND state = 'kept'")
        if (found := _names(place / "releases")) != {each["version"] for each in kept}:
            yield f"{name} has the releases {sorted(found)}, the store keeps {kept}"
        # A first deploy that was undone leaves the name and its history, and nothing else.
        if version is None and kept:
            yield f"nothing of {name} serves, and it keeps {kept}"
        of = {i["version"] for i in site.instances() if i["deployment"] == name and i["retire_at"] is None}
        if of != ({version} - {None}):
            yield f"instances of {name} are of {sorted(of)}, and {version} is committed"


def ends(ground: Seen) -> Iterator[str]:
    """The last rollout of each has ended as what is committed says: the new version, or the one from before."""
    site = ground.site
    last = "number = (SELECT max(number) FROM rollouts WHERE deployment = d.name)"
    for row in site.rows(
        "SELECT d.name, d.current_version, r.status, r.version, r.previous_version, r.number FROM deployments d "
        f"JOIN rollouts r ON r.deployment = d.name AND r.{last}"
    ):
        wanted = row["version"] if row["status"] == "succeeded" else row["previous_version"]
        if row["current_version"] != wanted:
            yield f"rollout {row['number']} of {row['name']} is {row['status']}, {row['current_version']} committed"


def processes(ground: Seen) -> Iterator[str]:
    site = ground.site
    rows = [row for row in site.instances() if row["state"] != "stopped"]
    found = [launch for _, launch in site.launches()]
    if sorted(found) != sorted(row["launch_id"] for row in rows):
        yield f"processes of the launches {found}, the store knows {rows}"
    committed = set(site.committed())
    if strays := [row["id"] for row in site.instances() if row["id"] not in committed and row["retire_at"] is None]:
        yield f"instances that are neither committed nor warm: {strays}"
    if missing := committed - {row["id"] for row in rows if row["state"] == "running"}:
        yield f"instances that are committed and do not run: {missing}"
    if running := site.hooks():
        yield f"hooks run on: {running}"


def ports(ground: Seen) -> Iterator[str]:
    leased = {row["launch_id"]: row["port"] for row in ground.site.instances()}
    for stat, launch in ground.site.launches():
        if (open_ := listening([stat.pid])) != {leased.get(launch)}:
            yield f"instance {launch} listens on {sorted(open_)} and holds {leased.get(launch)}"
    envoy, public = ground.site.envoy(), _public(ground)
    heard = listening([envoy.pid]) if envoy is not None else frozenset()
    if heard != set(public.values()):
        yield f"Envoy listens on {sorted(heard)} for {public}"


async def router(ground: Seen) -> list[str]:
    """Envoy has a listener, clusters and routes for what serves, and for nothing else."""
    public = _public(ground)
    if await asyncio.to_thread(ground.site.envoy) is None:
        return [f"no Envoy runs for {public}"] if public else []
    try:
        view = await look(ground.site.data)
    except RouterError as error:
        return [str(error)]
    wrong = [f"Envoy is still at {passing}" for passing in view.passing]
    if view.listeners != (wanted := {f"{name}.{port}" for name, port in public.items()}):
        wrong.append(f"Envoy has the listeners {sorted(view.listeners)}, wanted are {sorted(wanted)}")
    pools = _pools(ground)
    if view.clusters.keys() != pools.keys():
        wrong.append(f"Envoy has the clusters {sorted(view.clusters)}, wanted are {sorted(pools)}")
    for cluster, hosts in view.clusters.items():
        if {target.port for target in hosts.all} != pools.get(cluster, {0}):
            wrong.append(f"cluster {cluster} has {hosts.all}, wanted is {pools.get(cluster)}")
    if view.routed.keys() != public.keys():
        wrong.append(f"Envoy has routes of {sorted(view.routed)}, wanted are {sorted(public)}")
    committed = set(ground.site.committed())
    for name in public.keys() & view.routed.keys():
        mine = {i["port"] for i in ground.site.instances() if i["deployment"] == name and i["id"] in committed}
        routed = {port for cluster, weight in view.routed[name].items() if weight for port in pools.get(cluster, ())}
        if routed != mine:
            wrong.append(f"Envoy sends requests of {name} to {routed}, its instances are at {mine}")
    return wrong


async def answers(ground: Ground) -> list[str]:
    """What answers is what the status says, and the status says so of as many as answer their health."""
    wrong = []
    for row in ground.site.rows("SELECT name, current_version FROM deployments WHERE current_version IS NOT NULL"):
        name, version = row["name"], row["current_version"]
        try:
            status = await ground.site.client.get(name)
        except ClientError as error:
            return [f"{name} cannot be asked for: {error}"]
        if status.version != version:
            wrong.append(f"the status of {name} says {status.version}, and {version} is committed")
        sick = version.startswith("sick")
        expected = ("unhealthy", "unhealthy", 0) if sick else ("healthy", "healthy", status.replicas.desired)
        if (said := (status.state, status.health, status.replicas.ready)) != expected:
            wrong.append(f"the status of {name} {version} is {said}, not {expected}")
        seen = {await ground.answers(name) for _ in range(ASKED * status.replicas.desired)}
        if seen != {version}:
            wrong.append(f"{sorted(seen)} answered for {name}, and {version} is committed")
    return wrong


async def takers(ground: Ground) -> list[str]:
    """Envoy takes every instance that serves for well: one that was killed is left out until a check of it passes,
    a second after it is ready again at most."""
    try:
        view = await look_at_takers(ground.site.data)
    except RouterError as error:
        return [str(error)] if _public(ground) else []
    wrong = []
    for row in ground.site.rows("SELECT name, current_version, instances FROM deployments"):
        ids = json.loads(row["instances"])
        if ids and not str(row["current_version"]).startswith("sick"):
            mine = {i["port"] for i in ground.site.instances() if i["id"] in ids}
            if (found := view.takers(row["name"])) != mine:
                wrong.append(f"requests of {row['name']} go to {sorted(found)}, its instances are at {sorted(mine)}")
    return wrong


def _public(ground: Seen) -> dict[str, int]:
    """Deployment → its port, of those that serve."""
    rows = ground.site.rows("SELECT name, public_port, current_version FROM deployments")
    return {row["name"]: row["public_port"] for row in rows if row["current_version"]}


def _pools(ground: Seen) -> dict[str, set[int]]:
    """Cluster → ports of its instances, by the stored routing."""
    port_of = {row["id"]: row["port"] for row in ground.site.instances()}
    found: dict[str, set[int]] = {}
    for row in ground.site.rows("SELECT name, routing FROM deployments WHERE routing IS NOT NULL"):
        routing: dict[str, Any] = json.loads(row["routing"])
        for pool in (routing["stable"], routing.get("candidate")):
            if pool is not None:
                found[f"{row['name']}.{pool['id']}"] = {port_of.get(id, 0) for id in pool["instances"]}
    return found


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


Blocking = Callable[[Any], Iterable[str]]
Asking = Callable[[Any], Awaitable[list[str]]]

ROUTED = "no listener, cluster or route that no deployment owns"

# What holds of any site that is at rest: the sweep asks this as well.
# To add an invariant: a function here that looks from outside and answers with a sentence for each thing that is wrong,
# and a line below, whose key says what should be. It is asked until nothing is wrong, within a bound.
# docs/reliability.md names them in its section on histories.
AT_REST: dict[str, Blocking | Asking] = {
    "every rollout is over": rollouts,
    "every step is closed": journal,
    "hooks ran once": hooks,
    "one release is committed": releases,
    "the last rollout has ended as that says": ends,
    "no process that no deployment owns": processes,
    "no port that no deployment owns": ports,
    ROUTED: router,
}
#: and of a Ground, whose clients and ports are known
INVARIANTS: dict[str, Blocking | Asking] = {
    **AT_REST,
    "what answers is what the status says": answers,
    "every instance takes requests": takers,
}


async def problems(ground: Seen, what: str) -> list[str]:
    """What of an invariant does not hold. The clients go on asking while it is looked at."""

    def look() -> list[str] | Awaitable[list[str]]:
        found = INVARIANTS[what](ground)
        return found if isawaitable(found) else list(found)

    found = await asyncio.to_thread(look)
    return await found if isawaitable(found) else found
