"""GET …/health: everything about a deployment asked now, all at once."""

from __future__ import annotations

import asyncio

from longshore.drivers.base import Driver, DriverError
from longshore.files import FilesError
from longshore.health.probes import Check
from longshore.model import Deployment, Health, Instance, Release, Rollout, Spec, derive_health
from longshore.rollout.observe import hosts_for
from longshore.rollout.providing import far_directory
from longshore.rollout.reports import CheckReport, ComponentReport, HealthReport
from longshore.rollout.status import get_deployment, is_new, serving, unsettled, wanted_replicas
from longshore.rollout.world import World

#: bound on asking a host, in seconds
ASK_S = 5.0
#: components that every deployment has; further ones are its dependencies
OWN_COMPONENTS = ("service", "endpoint", "deployment_files")


async def check_up(world: World, name: str, driver: Driver) -> HealthReport:
    """Probe every instance, the public address, the files and the dependencies; bounded by the probe timeout."""
    deployment = get_deployment(world, name)
    release = world.store.release(name, deployment.current_version) if deployment.current_version else None
    now = world.clock.now()
    if release is None:
        nothing = {key: ComponentReport(key, "unknown", "nothing is committed yet") for key in OWN_COMPONENTS}
        return HealthReport(Health.unknown, nothing, now, f"{name} has never been deployed successfully")
    last = world.store.last_rollout_of(name)
    if deployment.stopped and not unsettled(last):
        return await _of_what_is_stopped(world, deployment, last)
    instances = serving(deployment, last, world.store.instances(name))
    wanted = wanted_replicas(release, last) if release.runs else 1
    service, endpoint, files = await asyncio.gather(
        _service(world, release, instances, driver, wanted),
        _endpoint(world, release, last, instances),
        _files(world, deployment, last),
    )
    components = dict(zip(OWN_COMPONENTS, (service, endpoint[0], files), strict=True))
    for dependency in release.spec.dependencies:
        # A deployment may be called `service`, too.
        key = f"dependency:{dependency}" if dependency in OWN_COMPONENTS else dependency
        components[key] = _dependency(world, dependency)
    overall = _overall(components, wanted=wanted, ready=endpoint[1])
    versions = " and ".join(sorted({i.version for i in instances})) or release.version
    bad = [f"{key}: {component.message}" for key, component in components.items() if component.status != "healthy"]
    return HealthReport(overall, components, now, "; ".join(bad) or f"{name} {versions} is healthy")


async def _of_what_is_stopped(world: World, deployment: Deployment, last: Rollout | None) -> HealthReport:
    """Nothing runs, so nothing is asked: why is known."""
    why = f"{deployment.name} is stopped: nothing runs until it is started, deployed or rolled back"
    down = {key: ComponentReport(key, "unhealthy", "stopped") for key in OWN_COMPONENTS[:2]}
    files = {OWN_COMPONENTS[2]: await _files(world, deployment, last)}
    return HealthReport(Health.unhealthy, {**down, **files}, world.clock.now(), why)


def _overall(components: dict[str, ComponentReport], *, wanted: int, ready: int) -> Health:
    """Instances decide between healthy, degraded and unhealthy; anything else that fails makes it degraded at best."""
    overall = derive_health(desired=wanted, ready=ready)
    others = [component for key, component in components.items() if key != "service"]
    if overall is Health.healthy and any(c.status == "unhealthy" for c in others):
        return Health.unhealthy if components["endpoint"].status == "unhealthy" else Health.degraded
    return overall


async def _service(
    world: World, release: Release, instances: list[Instance], driver: Driver, wanted: int
) -> ComponentReport:
    """The runtime's own view of each instance."""
    if not release.runs:
        return ComponentReport("service", "healthy", "the release has nothing to run: files only")

    async def ask(instance: Instance) -> CheckReport:
        before = world.clock.monotonic()
        if instance.handle is None:
            status, message = "unhealthy", "not running"
        else:
            found = await driver.inspect(instance.handle)
            status = {"running": "healthy", "exited": "unhealthy"}.get(found.state, "unknown")
            message = found.message or (str(found.exit) if found.exit else found.state)
        spent = world.clock.monotonic() - before
        return CheckReport(instance.id, status, message, spent, world.clock.now())

    checks = tuple(await asyncio.gather(*(ask(instance) for instance in instances)))
    up = sum(1 for check in checks if check.status == "healthy")
    status = "healthy" if up >= wanted else "unhealthy"
    if any(check.status == "unknown" for check in checks):
        status = "unknown"
    return ComponentReport("service", status, f"{up} of {wanted} instances run", checks)


async def _endpoint(
    world: World, release: Release, last: Rollout | None, instances: list[Instance]
) -> tuple[ComponentReport, int]:
    """health_check_url through the public port and for each instance. Also how many instances answered."""
    spec = release.spec
    asked = [(i.id, world.readiness.check(i, _spec_of(i, release, last))) for i in instances]
    known = {id for id, _ in asked}
    whole = world.readiness.whole_checks(spec, ())
    named = [*asked, *((str(check), check) for check in whole)]
    if release.runs and (port := world.readiness.opened_port(spec)) is not None:
        public = Check(
            kind="http" if spec.probe_path else "tcp",
            port=port,
            path=spec.probe_path or "/",
            timeout_s=spec.health_check.timeout,
        )
        named.append((f"port {port}", public))
    results = await asyncio.gather(*(world.readiness.probe(check) for _, check in named))
    now = world.clock.now()
    checks = tuple(
        CheckReport(id, "healthy" if r.ok else "unhealthy", r.message, r.duration_s, now)
        for (id, _), r in zip(named, results, strict=True)
    )
    ready = sum(1 for check in checks if check.name in known and check.status == "healthy")
    bad = [check for check in checks if check.status != "healthy"]
    if not release.runs:
        ready = 0 if bad else 1
    # The public address answering is what users see; a single instance that does not is the service's affair.
    status = "unhealthy" if any(check.name not in known for check in bad) else "healthy"
    message = "; ".join(check.message for check in bad) or f"{len(checks)} checks passed"
    return ComponentReport("endpoint", status, message, checks), ready


def _spec_of(instance: Instance, release: Release, last: Rollout | None) -> Spec:
    """A new version may be asked for its health on another path than the old one beside it."""
    return last.spec if last is not None and is_new(instance, last) else release.spec


async def _files(world: World, deployment: Deployment, last: Rollout | None) -> ComponentReport:
    """Is the committed release on disk, and does `current` name it, or the one that a rollout is switching to?"""
    directory = world.files_of(deployment)
    version = deployment.current_version
    assert version is not None
    try:
        current = await asyncio.to_thread(directory.current)
        release = await asyncio.to_thread(directory.release, version)
    except FilesError as error:
        return ComponentReport("deployment_files", "unhealthy", str(error))
    where = directory.path
    if release is None:
        message = f"{where / 'releases' / version} is missing"
        return ComponentReport("deployment_files", "unhealthy", message)
    if current != version and not (unsettled(last) and last is not None and current == last.version):
        message = f"{where / 'current'} names {current or 'nothing'}, not {version}"
        return ComponentReport("deployment_files", "unhealthy", message)
    if world.is_far(deployment.environment):
        return await _files_there(world, deployment, version, last)
    return ComponentReport("deployment_files", "healthy", f"current → releases/{current}")


async def _files_there(world: World, deployment: Deployment, version: str, last: Rollout | None) -> ComponentReport:
    """The same of each host that has instances, or would have."""
    release = world.store.release(deployment.name, version)
    assert release is not None
    possible = {version, last.version} if last is not None and unsettled(last) else {version}

    async def ask(host: str) -> CheckReport:
        began = world.clock.monotonic()
        try:
            async with asyncio.timeout(ASK_S):
                current = await far_directory(world, release.spec, host).current()
            status = "healthy" if current in possible else "unhealthy"
            message = f"current → {f'releases/{current}' if current else 'nothing'}"
        except (DriverError, FilesError) as error:
            status, message = "unknown", str(error)
        except TimeoutError:
            status, message = "unknown", f"host {host} did not answer within {ASK_S:g} s"
        return CheckReport(host, status, message, world.clock.monotonic() - began, world.clock.now())

    checks = tuple(await asyncio.gather(*(ask(host) for host in hosts_for(world, release.spec))))
    bad = [f"{check.name}: {check.message}" for check in checks if check.status != "healthy"]
    status = "unhealthy" if any(check.status == "unhealthy" for check in checks) else "unknown" if bad else "healthy"
    message = "; ".join(bad) or f"current → releases/{version} on {len(checks)} hosts"
    return ComponentReport("deployment_files", status, message, checks)


def _dependency(world: World, name: str) -> ComponentReport:
    if world.store.deployment(name) is None:
        return ComponentReport(name, "unhealthy", f"there is no deployment {name} any more")
    health = world.health_now(name)
    status = health.value if health in (Health.healthy, Health.unknown) else "unhealthy"
    return ComponentReport(name, status, f"dependency {name} is {health}")
