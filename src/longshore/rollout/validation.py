"""Everything a deploy would refuse, and what would surprise: found without changing anything, all at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from longshore.artifacts import find
from longshore.artifacts.base import ArtifactError, ArtifactMissing, Scan
from longshore.artifacts.command import missing_program
from longshore.artifacts.stopping import in_thread
from longshore.drivers.listeners import stranger
from longshore.errors import ArtifactNotFound, DependencyUnknown, Issue, SpecInvalid
from longshore.files import PRE_LONGSHORE, FilesError, shared_path_problems
from longshore.fleet import base_environment
from longshore.masking import is_masked
from longshore.model import Deployment, Health, Release, ReleaseState, Spec
from longshore.rollout.observe import command_of
from longshore.rollout.reports import Validation
from longshore.rollout.request import Request
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.strategies.rolling import bounds
from longshore.rollout.validation_hosts import check_hosts, check_units
from longshore.rollout.world import World
from longshore.settings import Environment

#: a disk with less than this left after unpacking, in bytes, is worth a warning
NEARLY_FULL = 512 * 1024**2


@dataclass
class Findings:
    """Issues by what the API calls them, and warnings."""

    spec: list[Issue] = field(default_factory=list)
    artifact: list[Issue] = field(default_factory=list)
    dependency: list[Issue] = field(default_factory=list)
    warnings: list[Issue] = field(default_factory=list)

    def warn(self, name: str, message: str) -> None:
        self.warnings.append(Issue(name, message, "warning"))

    def refuse(self, name: str, message: str) -> None:
        self.spec.append(Issue(name, message))

    @property
    def validation(self) -> Validation:
        return Validation((*self.spec, *self.artifact, *self.dependency), tuple(self.warnings))

    def raise_if_any(self, deployment: str) -> None:
        """The error for a deploy: the code is the one of what is wrong, where only one thing is."""
        every = self.validation.issues
        if not every:
            return
        kind: type[SpecInvalid] = SpecInvalid
        if not self.spec:
            kind = ArtifactNotFound if self.artifact else DependencyUnknown
        raise kind(issues=every, deployment=deployment, operation="validate", cause=every[0].message)


@dataclass(frozen=True)
class Checked:
    spec: Spec
    scan: Scan | None
    findings: Findings
    command: str | tuple[str, ...] | None = None


async def check(
    world: World, request: Request, spec: Spec, environment: Environment, *, source: Release | None = None
) -> Checked:
    """Look at everything a deploy of `spec` depends on. Reads only.

    source  the release whose files a change takes; None: they come from the artifact
    """
    findings = Findings(spec=list(request.issues))
    bad = {issue.field.partition(".")[0].partition("[")[0] for issue in request.issues}
    deployment = world.store.deployment(spec.name) if "name" not in bad else None
    readable = source is None and "artifact_path" not in bad and spec.artifact_path
    scan = await _artifact(world, spec, findings) if readable else None
    command = (spec.command if spec.command is not None else source.command) if source is not None else None
    if scan is not None:
        command = command_of(spec, scan)
    runs = command is not None or spec.command is not None
    if "version" not in bad and spec.version:
        _version(world, spec, scan, findings)
    if spec.name:
        _place(world, request, spec, deployment, findings)
        if (files := source or scan) is not None:
            at = "artifact_path" if source is None else "working_directory"
            await _disk(world, spec, files.size_bytes, findings, at)
            await check_hosts(world, spec, files.size_bytes, findings)
        _dependencies(world, spec, findings)
    _port(world, spec, deployment, findings, runs=runs, environment=environment)
    if "rolling" not in bad:
        _strategy(world, spec, findings, runs=runs)
    check_units(world, spec, findings)
    if runs:
        await _driver(world, spec, findings)
        if environment.router == "none" and spec.public_port is not None:  # Envoy takes 0.2 s to say, and mostly runs
            found = await world.router_of(spec.environment).fingerprint()
            if not found.usable:
                findings.refuse("environment", f"endpoints of {spec.environment!r}: {found.reason}")
    for problem in shared_path_problems(spec.shared_paths):
        findings.refuse("shared_paths", problem)
    for key in sorted({"PORT", "HOST", "RELEASE_VERSION"} & spec.configuration.keys()):
        findings.refuse(f"configuration.{key}", f"{key} is set by Longshore for each instance; leave it out")
    for key in sorted(key for key, text in spec.configuration.items() if is_masked(text)):
        findings.refuse(f"configuration.{key}", "is the mask that is shown instead of a secret: give the secret itself")
    if scan is not None and spec.systemd.unit == "managed":
        _command(spec, scan, command, findings)
    if runs and spec.health_check_url == "" and "health_check_url" not in bad:
        what = "a TCP connect" if spec.public_port is not None else "staying up"
        findings.warn("health_check_url", f"there is no health check: {what} is all that is asked of a new version")
    return Checked(spec, scan, findings, command)


async def _artifact(world: World, spec: Spec, findings: Findings) -> Scan | None:
    path = Path(spec.artifact_path)
    if not path.is_absolute():
        message = f"must be an absolute path on the manager's machine, not {spec.artifact_path!r}"
        findings.refuse("artifact_path", message)
        return None
    try:
        scan = await in_thread(lambda limits: find(path).scan(path, limits), world.artifact_limits)
    except ArtifactMissing as error:
        findings.artifact.append(Issue("artifact_path", str(error)))
        return None
    except ArtifactError as error:
        findings.refuse("artifact_path", str(error))
        return None
    if spec.artifact_sha256 and scan.sha256 != spec.artifact_sha256.lower():
        findings.refuse(
            "artifact_sha256", f"the artifact's SHA-256 is {scan.sha256}: it is not the file you mean, or was damaged"
        )
    return scan


def _version(world: World, spec: Spec, scan: Scan | None, findings: Findings) -> None:
    if spec.version == PRE_LONGSHORE:
        findings.refuse("version", f"{PRE_LONGSHORE!r} is reserved for what a directory held before Longshore had it")
        return
    release = world.store.release(spec.name, spec.version)
    if release is None or scan is None or release.sha256 == scan.sha256:
        return
    if release.state is ReleaseState.kept or release.healthy_at is not None:
        findings.refuse(
            "version",
            f"{spec.version} is deployed with other content (SHA-256 {release.sha256[:12]}…, this artifact has "
            f"{scan.sha256[:12]}…): versions are immutable, give the new content a new version",
        )


def _place(world: World, request: Request, spec: Spec, deployment: Deployment | None, findings: Findings) -> None:
    settled = deployment is not None and deployment.current_version is not None
    if settled and deployment is not None:
        if spec.environment != deployment.environment:
            findings.refuse(
                "environment",
                f"{spec.name} is in {deployment.environment!r} and stays there; deploy to {spec.environment!r} under "
                "another name",
            )
        if spec.working_directory != deployment.working_directory:
            findings.refuse(
                "working_directory",
                f"{spec.name} is in {deployment.working_directory!r} and stays there; for another place deploy under "
                "another name, or delete the deployment first",
            )
    here = _real(spec.working_directory)
    far = world.is_far(spec.environment)
    for other in world.store.deployments():
        # Directories of other hosts have nothing to do with those here.
        if world.is_far(other.environment) != far or (far and other.environment != spec.environment):
            continue
        there = _real(other.working_directory)
        if other.name != spec.name and (here == there or here in there.parents or there in here.parents):
            findings.refuse(
                "working_directory",
                f"{spec.working_directory!r} is, contains or lies in the working directory of {other.name} "
                f"({other.working_directory}): give each deployment one of its own",
            )
    ours = _real(world.logs.parent)
    if far:
        here = ours / "apps" / spec.name
    if here == ours or here in ours.parents or (ours in here.parents and ours / "apps" not in here.parents):
        findings.refuse(
            "working_directory",
            f"{spec.working_directory!r} is, contains or lies in the manager's own data directory ({ours}): choose "
            f"another, or leave it out for {ours / 'apps' / spec.name}",
        )
    directory = world.files_of(spec)
    try:
        directory.check()
        holder = directory.holder()
        if holder is not None and holder != world.claim_of(spec.name):
            findings.refuse("working_directory", f"{spec.working_directory!r} belongs to {holder}")
    except FilesError as error:
        findings.refuse("working_directory", str(error))
    if spec.artifact_path:
        artifact = _real(spec.artifact_path)
        if artifact.is_dir() and (artifact == here or artifact in here.parents):
            findings.refuse("artifact_path", "contains the working directory: a release would contain itself")


def _real(path: str | Path) -> Path:
    """Where a path leads: links may bring two directories that look apart together. A loop of links stays as it is."""
    return Path(os.path.realpath(path))


async def _disk(world: World, spec: Spec, size_bytes: int, findings: Findings, at: str) -> None:
    """at: the field whose value needs the room."""
    try:
        free = world.files_of(spec).free_bytes()
    except FilesError as error:
        findings.refuse("working_directory", str(error))
        return
    if size_bytes > free:
        findings.refuse(
            at,
            f"the release takes {size_bytes:,} bytes, but only {free:,} are free where {spec.working_directory!r} is: "
            "free space there, or choose another working_directory",
        )
    elif free - size_bytes < NEARLY_FULL:
        findings.warn("working_directory", f"the disk is nearly full: {free - size_bytes:,} bytes would be left")


def _dependencies(world: World, spec: Spec, findings: Findings) -> None:
    for name in spec.dependencies:
        if name == spec.name:
            continue  # the request's own shape says so
        if world.store.deployment(name) is None:
            findings.dependency.append(
                Issue("dependencies", f"there is no deployment {name!r}: deploy it first, or leave it out")
            )
        elif path := _path_to(world, name, spec.name):
            findings.refuse("dependencies", f"is a cycle: {' → '.join((spec.name, *path))}")
        elif world.health_now(name) not in (Health.healthy, Health.unknown):
            findings.warn("dependencies", f"{name} is {world.health_now(name)} now: the rollout would fail")


def _path_to(world: World, start: str, goal: str) -> tuple[str, ...]:
    """A path of dependencies from `start` to `goal`; empty: there is none."""
    queue: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while queue:
        path = queue.pop()
        if path[-1] == goal:
            return path
        if path[-1] in seen:
            continue
        seen.add(path[-1])
        deployment = world.store.deployment(path[-1])
        release = (
            world.store.release(path[-1], deployment.current_version)
            if deployment is not None and deployment.current_version
            else None
        )
        queue += [(*path, name) for name in (release.spec.dependencies if release is not None else ())]
    return ()


def _port(
    world: World,
    spec: Spec,
    deployment: Deployment | None,
    findings: Findings,
    *,
    runs: bool,
    environment: Environment,
) -> None:
    port = spec.public_port
    if port is None or not runs:
        return
    at = "port" if spec.port is not None else "health_check_url"
    named = Spec("", "", "", health_check_url=spec.health_check_url).public_port
    if spec.port is not None and named is not None and named != spec.port:
        findings.refuse("port", f"is {spec.port}, but health_check_url says {named}: name one public port")
    for other in world.store.deployments():
        if other.name != spec.name and other.public_port == port:
            findings.refuse(at, f"{port} is the public port of {other.name}: choose another")
            return
    # With a balancer of the user's own it is that which listens there, here or elsewhere.
    ours = environment.router != "none"
    new = deployment is None or deployment.routing is None or deployment.routing.port != port
    if ours and new and not world.ports.is_free(port):
        holder = stranger(port, ())
        by = f"another program, {holder}" if holder else "another program, or needs privileges"
        findings.refuse(at, f"port {port} is in use by {by}: free it or choose another")


async def _driver(world: World, spec: Spec, findings: Findings) -> None:
    """Is what runs the instances usable, and does it enforce the limits that are asked for?"""
    found = await world.driver_of(spec.environment).fingerprint()
    if not found.usable:
        findings.refuse("environment", f"nothing can run in {spec.environment!r} here: {found.reason}")
    for name in ("memory", "cpu", "tasks"):
        how = found.details.get(name, "")
        if getattr(spec.resources, name) is not None and how.startswith("not enforced"):
            findings.refuse(f"resources.{name}", f"{how}: leave it out, or make that available")


def _strategy(world: World, spec: Spec, findings: Findings, *, runs: bool) -> None:
    try:
        limit = bounds(spec.replicas, spec.rolling.max_surge, spec.rolling.max_unavailable)
    except SpecInvalid as error:
        findings.spec += error.issues
        return
    if not runs:
        return
    if spec.public_port is not None:
        _traffic(world, spec, findings)
    if spec.strategy == "canary" and spec.public_port is None:
        findings.warn("strategy", "canary without a port: no requests can be shared out, only health is watched")
    if spec.strategy == "rolling" and spec.replicas == 1:
        what = "stops before the new one starts" if limit.most == 1 else "is replaced in one step"
        findings.warn("replicas", f"rolling with 1 replica: the only instance {what}")


def _traffic(world: World, spec: Spec, findings: Findings) -> None:
    """Can the environment's router do what is asked of it?"""
    router = world.router_of(spec.environment)
    can, where = router.capabilities(), f"the router of {spec.environment!r} ({router.name})"
    # A canary's figures come from the router. Where there are none, the user's own checks can judge it all the same.
    judged = spec.strategy == "canary" and bool(spec.canary.analysis.checks)
    missing = STRATEGIES[spec.strategy].NEEDS - can - (frozenset({"figures"}) if judged else frozenset())
    if missing:
        remedy = ": give it checks of your own (canary.analysis.checks)" if missing == {"figures"} else ""
        findings.refuse(
            "strategy", f"{spec.strategy} needs {', '.join(sorted(missing))}, which {where} cannot do{remedy}"
        )
    if spec.canary.sticky and "sticky" not in can:
        findings.refuse("canary.sticky", f"{where} cannot keep clients on a version: leave it out")
    if spec.strategy == "recreate" and spec.recreate.hold and "hold" not in can:
        findings.warn(
            "strategy",
            f"{where} cannot hold requests: they fail while recreate has nothing running; rolling loses none",
        )


def _command(spec: Spec, scan: Scan, command: str | tuple[str, ...] | None, findings: Findings) -> None:
    if command is None:
        findings.warn(
            "command",
            "nothing runs: the artifact has no Procfile and not exactly one executable, and no command was given. "
            "Only the files are deployed",
        )
        if spec.port is not None:
            findings.warn("port", f"nothing will listen on port {spec.port}: the release has nothing to run")
        return
    path: Mapping[str, str] = base_environment()
    names = _names(Path(spec.artifact_path))
    if names is not None and (program := missing_program(command, names, path.get("PATH", ""))):
        findings.warn("command", f"the program {program!r} is neither in the artifact nor on the manager's PATH")


def _names(artifact: Path) -> Path | None:
    """Where a command's own files can be looked up without unpacking; None: they cannot."""
    return artifact if artifact.is_dir() else None
