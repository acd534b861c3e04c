"""What must hold of a simulated manager: of journal and hooks at any time, of everything else once all is at rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from longshore.model import (
    Deployment,
    InstanceState,
    Rollout,
    RolloutKind,
    RolloutStatus,
    State,
    StepRecord,
    WaitingFor,
)
from support.living import FAILS, Living
from support.once import ran_as_it_may
from support.scripts import is_good

APPS = Path("/data/apps")
#: what these left is gone on with by the rollout that cleans up, which may be interrupted in that
LEFT_BEHIND = (RolloutStatus.held, RolloutStatus.stuck)
#: phase → the step in which its hooks run
HOOK_STEPS = {"pre_deploy": "pre_deploy_hooks", "post_deploy": "post_deploy_hooks"}


# ------------------------------------------------------------------------------------------- the journal


def journal_problems(lab: Living, rollout: Rollout) -> Iterator[str]:
    """Every step of what is over is closed, at most one runs of what is not, and progress only grows."""
    records, told = lab.store.journal(rollout.id), lab.store.progress(rollout.id)
    who = f"rollout {rollout.number} of {rollout.deployment} ({rollout.status})"
    percent = [message.progress_pct for message in told]
    if percent != sorted(percent):
        yield f"the progress of {who} goes back: {percent}"
    running = [record for record in records if record.status == "running"]
    if unended := [record for record in records if record.status != "running" and record.ended_at is None]:
        yield f"{who}: closed, but without an end: {unended}"
    if rollout.status.is_open:
        if len(running) > 1:
            yield f"{who} is at several steps at once: {running}"
        if any(message.last for message in told):
            yield f"{who} goes on, but was told to be over"
        return
    if running or rollout.ended_at is None:
        yield f"{who} is over and left open: {running or 'itself'}"
    if percent[-1] != 100:
        yield f"{who} ended at {percent[-1]} %"
    if not (told[-1].last or (rollout.status in LEFT_BEHIND and any(message.last for message in told))):
        yield f"nobody was told that {who} is over: {told[-1]}"


def hook_problems(
    rollout: Rollout, records: Collection[StepRecord], ran: Counter[tuple[str, str, str]]
) -> Iterator[str]:
    """Every hook ran as often as it may (support/once.py)."""
    hooked = rollout.kind in (RolloutKind.deploy, RolloutKind.rollback, RolloutKind.change)
    spec, steps = rollout.spec, {record.name: record.status for record in records if not record.undo}
    for phase, name in HOOK_STEPS.items():
        commands = spec.pre_deploy_hooks if phase == "pre_deploy" else spec.post_deploy_hooks
        times, step = [ran[rollout.id, phase, command] for command in commands], steps.get(name)
        fails_at = commands.index(FAILS) if FAILS in commands else None
        if not ran_as_it_may(times, step if hooked else None, fails_at):
            who = f"rollout {rollout.number} of {rollout.deployment} ({rollout.kind}, {rollout.status})"
            yield f"{who}: hooks {commands} ran {times} times, and {name} is {step}"


# ------------------------------------------------------------------------------------------- all at rest


def stray_problems(lab: Living) -> Iterator[str]:
    """What is there, and belongs to no deployment."""
    machine, store = lab.machine, lab.store
    known = {deployment.name for deployment in store.deployments()}
    running = machine.world._running()
    launches = {instance.launch_id for instance in store.instances()}
    if strays := [found.launch.instance for found in running if found.launch.launch_id not in launches]:
        yield f"processes that no instance owns: {strays}"
    ports = Counter(found.launch.port for found in running)
    if shared := [port for port, count in ports.items() if count > 1]:
        yield f"ports that several processes have: {shared}"
    if left := set(machine.router.applied) - known:
        yield f"the router serves {left}, which are no deployments"
    disk = machine.disk
    for what, held in (("releases", disk.releases), ("links", disk.links), ("claims", disk.claims)):
        if left := {path.name for path, content in held.items() if content} - known:
            yield f"{what} of {left}, which are no deployments"


def problems(lab: Living, name: str) -> list[str]:
    """What of one deployment is not as it is when all is at rest."""
    deployment = lab.store.deployment(name)
    # What waits for a person's approval waits for as long as that takes.
    if queue := [each for each in lab.store.waiting_of(name) if each.waiting_for is WaitingFor.turn]:
        return [f"nothing of {name} is in progress, and this waits for its turn: {[each.id for each in queue]}"]
    waits = bool(lab.store.left_behind(name))
    if waits:
        state = lab.service.status(name).state
        return [] if state is State.failed else [f"{name} waits for a person, and its state is {state}"]
    if deployment is None or deployment.current_version is None:
        return list(_left_over(lab, name))
    return [*_of_committed(lab, deployment, deployment.current_version)]


def _left_over(lab: Living, name: str) -> Iterator[str]:
    """Of one where nothing serves."""
    machine, place = lab.machine, APPS / name
    left = {
        "processes": [f.launch.instance for f in machine.world._running() if f.launch.deployment == name],
        "instances": lab.store.instances(name),
        "traffic": machine.router.applied.get(name),
        "releases": machine.disk.releases.get(place),
        "current": machine.disk.links.get(place),
        "claim": machine.disk.claims.get(place),
    }
    yield from (f"left over of {name}, of which nothing serves: {what}: {it}" for what, it in left.items() if it)


def _of_committed(lab: Living, deployment: Deployment, version: str) -> Iterator[str]:
    """One release is committed, and all there is is of it."""
    store, disk, name, place = lab.store, lab.machine.disk, deployment.name, APPS / deployment.name
    rows, release = store.instances(name), store.release(name, version)
    assert release is not None
    committed = [i for i in rows if i.id in deployment.instances]
    warm = [i for i in rows if i.retire_at is not None and i.retire_at > lab.machine.clock.now()]
    if {i.id for i in rows} != {i.id for i in (*committed, *warm)}:
        yield f"instances that are neither committed nor warm: {[i.id for i in rows]}"
    wanted = 0 if deployment.stopped else release.spec.replicas
    if len(committed) != wanted:
        yield f"{len(committed)} instances are committed, not {wanted}"
    if any(i.version != version for i in committed):
        yield f"instances of other versions are committed with {version}"
    applied = lab.machine.router.applied.get(name)
    if deployment.routing is None or applied != lab.world.fleet.traffic(deployment.routing):
        yield f"the router serves {applied}, and {deployment.routing} is wanted"
    takers, ports = {target.port for target in lab.router.takers(name)}, {i.port for i in committed}
    if takers != ports:
        yield f"{takers} get traffic, and {ports} are committed"
    if disk.links.get(place) != version:
        yield f"current names {disk.links.get(place)}, not {version}"
    if disk.claims.get(place) != lab.world.claim_of(name):
        yield f"the claim on the directory is {disk.claims.get(place)}"
    kept = {r.version for r in store.releases(name) if r.state == "kept"}
    if (releases := set(disk.releases.get(place, ()))) != kept:
        yield f"{releases} are on disk, and {kept} are known"
    yield from _of_status(lab, name, version)
    if is_good(version):
        yield from _of_a_good_one(lab, name)


def _of_status(lab: Living, name: str, version: str) -> Iterator[str]:
    """What the status says is what serves."""
    status, serving = lab.service.status(name), lab.watch.serving(name)
    if status.version != version:
        yield f"the status of {name} says {status.version}, and {version} is committed"
    if status.replicas.ready != serving or (status.state is State.healthy) != (serving > 0):
        yield f"{serving} instances of {name} serve, and the status says {status.state}, {status.replicas}"


def _of_a_good_one(lab: Living, name: str) -> Iterator[str]:
    running = {found.launch.launch_id for found in lab.machine.world._running()}
    rows, replicas = lab.store.instances(name), lab.service.status(name).replicas
    if dead := [i.id for i in rows if i.launch_id not in running and i.retire_at is None]:
        yield f"instances that do not run: {dead}"
    if any(i.state is not InstanceState.running for i in rows):
        yield f"an instance of {name} is not said to run"
    if replicas.ready != replicas.desired:
        yield f"of {name} {replicas.ready} of {replicas.desired} are ready"
