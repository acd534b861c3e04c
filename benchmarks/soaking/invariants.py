"""What must hold whenever nothing is under way, looked at from outside: answers, processes, ports, files, the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from longshore.client import ClientError
from longshore.client.results import OPEN_STATUSES
from longshore.demo.wire import Connection, Failed
from longshore.drivers.members import listening
from soaking.roles import App
from soaking.stand import Stand, until

#: the monitor's rounds, the end of sets that were kept warm (5 s), probes of what has just been started, and a back-off
SETTLE_S = 75.0
#: requests on connections of their own, for each replica
ASKED = 3


async def check(stand: Stand) -> None:
    """Every invariant, once nothing is under way; what does not hold in time is a violation, told by the stand."""
    if not stand.manager.alive:
        stand.violated(f"the manager ended by itself\n{stand.manager.tail()}")
        await stand.start_manager()
    for name, invariant in INVARIANTS.items():
        wrong: list[str] = []

        async def holds(invariant: Invariant = invariant, wrong: list[str] = wrong) -> bool:
            wrong[:] = await asyncio.to_thread(invariant, stand)
            return not wrong

        if not await until(holds, SETTLE_S, pause_s=0.2):
            stand.violated(f"not so within {SETTLE_S:g} s: {name}: {'; '.join(wrong)}")
    for what in _stuck(stand):
        stand.violated(what)
    for app in stand.apps:
        for what in await answers(stand, app):
            stand.violated(what)


async def answers(stand: Stand, app: App) -> list[str]:
    """What the status says is what answers, and nothing else does."""

    async def healthy() -> bool:
        status = await stand.client.get(app.name)
        ready = status.replicas.ready == status.replicas.desired
        return ready and (status.state, status.health) == ("healthy", "healthy")

    try:
        if not await until(healthy, SETTLE_S, pause_s=0.2):
            status = await stand.client.get(app.name)
            return [f"{app.name} is {status.state}, {status.health}, {status.replicas} after {SETTLE_S:g} s"]
        status = await stand.client.get(app.name)
    except ClientError as error:
        return [f"{app.name} cannot be asked for: {error}"]
    current = (stand.manager.data_dir / "apps" / app.name / "current").resolve().name
    seen = {status.version} if app.role.files_only else await _seen(app, ASKED * status.replicas.desired)
    if seen == {status.version} and current == status.version:
        return []
    return [f"the status of {app.name} says {status.version}, {sorted(seen)} answered, current is {current}"]


async def _seen(app: App, times: int) -> set[str]:
    """Versions that answer, each time on a new connection."""
    seen: set[str] = set()
    for _ in range(times):
        connection = Connection("127.0.0.1", app.port)
        try:
            answer = await connection.request("GET", "/")
            seen.add(answer.version if answer.status == 200 else f"status {answer.status}")
        except Failed as failure:
            seen.add(failure.outcome)
        finally:
            connection.close()
    return seen


# ------------------------------------------------------------------------------------------- the invariants


def rollouts(stand: Stand) -> list[str]:
    rows = stand.rows("SELECT deployment, number, status, message FROM rollouts")
    open_ = [row for row in rows if row["status"] in OPEN_STATUSES]
    return [f"{row['deployment']} {row['number']} is {row['status']}: {row['message']}" for row in open_]


def _stuck(stand: Stand) -> Iterator[str]:
    """Rollouts that wait for somebody to mend something; no waiting helps. Each is told once."""
    for row in stand.rows("SELECT id, deployment, number, status, message FROM rollouts"):
        if row["status"] in ("held", "stuck") and row["id"] not in stand.told:
            stand.told.add(row["id"])
            yield f"{row['deployment']} {row['number']} is {row['status']}: {row['message']}"


def processes(stand: Stand) -> list[str]:
    return list(_processes(stand))


def _processes(stand: Stand) -> Iterator[str]:
    rows = [row for row in stand.rows("SELECT * FROM instances") if row["state"] != "stopped"]
    launches = stand.launches()
    known, found = {row["launch_id"] for row in rows}, [launch for _, launch in launches]
    if set(found) != known or len(found) != len(known):
        yield f"processes {[(stat.pid, launch) for stat, launch in launches]}, the store knows {sorted(known)}"
    for row in rows:
        if row["retire_at"] is not None:
            yield f"{row['id']} of {row['deployment']} is kept warm"
    for name, desired in _desired(stand).items():
        if (count := sum(row["deployment"] == name for row in rows)) != desired:
            yield f"{name} has {count} instances for {desired}"
    if hooks := stand.hooks():
        yield f"hooks run on: {hooks}"
    if len(envoys := stand.envoys()) != 1:
        yield f"{len(envoys)} Envoys run: {envoys}"


def ports(stand: Stand) -> list[str]:
    leased = {row["launch_id"]: row["port"] for row in stand.rows("SELECT launch_id, port FROM instances")}
    wrong = [
        f"instance {launch} listens on {sorted(open_)} and holds {leased.get(launch)}"
        for stat, launch in stand.launches()
        if (open_ := listening([stat.pid])) != {leased.get(launch)}
    ]
    public = {row["public_port"] for row in stand.rows("SELECT public_port FROM deployments")} - {None}
    envoy = listening(stat.pid for stat in stand.envoys())
    return [*wrong, *([f"Envoy listens on {sorted(envoy)} for {sorted(public)}"] if envoy != public else [])]


def directories(stand: Stand) -> list[str]:
    return list(_directories(stand))


def _directories(stand: Stand) -> Iterator[str]:
    data = stand.manager.data_dir
    names = {row["name"] for row in stand.rows("SELECT name FROM deployments")}
    if (apps := _names(data / "apps")) != names:
        yield f"directories of {sorted(apps)} for {sorted(names)}"
    if logs := _names(data / "logs") - names:
        yield f"logs of {sorted(logs)}, which are no deployments"
    kept: dict[str, set[str]] = {name: set() for name in names}
    for row in stand.rows("SELECT deployment, version FROM releases WHERE state = 'kept'"):
        kept[row["deployment"]].add(row["version"])
    for name in sorted(names & apps):
        if (found := _names(data / "apps" / name / "releases")) != kept[name]:
            yield f"{name} has the releases {sorted(found)}, the store keeps {sorted(kept[name])}"


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def _desired(stand: Stand) -> dict[str, Any]:
    """Deployment → instances that its committed set has."""
    sql = "SELECT name, json_array_length(instances) AS number FROM deployments"
    return {row["name"]: row["number"] for row in stand.rows(sql)}


Invariant = Callable[[Stand], list[str]]

# To add an invariant: a function here that looks from outside and answers with a sentence for each thing that is wrong,
# and a line below, whose key says what should be. It is asked until nothing is wrong, at most SETTLE_S.
# docs/reliability.md names them in its section on the soak.
INVARIANTS: dict[str, Invariant] = {
    "every rollout is closed": rollouts,
    "no process that no deployment owns": processes,
    "no port that no deployment owns": ports,
    "no directory that no deployment owns": directories,
}
