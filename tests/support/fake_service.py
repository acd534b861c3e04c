"""A small Service for tests of the API: everything in memory, rollouts that end when the test says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from longshore.bus import Bus, Subscription
from longshore.drivers import logs
from longshore.drivers.base import LogLine
from longshore.errors import BackupNotFound, DeploymentInProgress, DeploymentNotFound, Issue, NotFound, SpecInvalid
from longshore.model import (
    Deployment,
    Event,
    Failure,
    Health,
    Instance,
    InstanceState,
    Progress,
    Release,
    ReleaseState,
    Rollout,
    RolloutKind,
    RolloutStatus,
    Spec,
    State,
    StepRecord,
    StepStatus,
)
from longshore.rollout.hook_output import HookOutput
from longshore.rollout.reports import (
    Change,
    CheckReport,
    ComponentReport,
    EndpointList,
    EndpointPool,
    EndpointTarget,
    HealthReport,
    InstanceList,
    InstanceReport,
    PlannedStep,
    Preview,
    Replicas,
    Share,
    Status,
    Summary,
    Validation,
)
from longshore.rollout.request import Request
from longshore.rollout.terms import Once, Terms

SIMPLE = ("name", "version", "artifact_path", "environment", "strategy", "configuration")


@dataclass
class FakeService:
    #: where logs are
    root: Path = Path("/nonexistent")
    #: rollouts end by themselves, at once
    instant: bool = True
    #: how they end; None: well
    failure: Failure | None = None
    ends_as: RolloutStatus = RolloutStatus.unwound
    warnings: tuple[Issue, ...] = ()
    replicas: Replicas = field(default_factory=lambda: Replicas(1, 1, 1, 1))
    #: raised by the next call of the method of that name
    raises: dict[str, Exception] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    known: dict[str, Rollout] = field(default_factory=dict)
    messages: dict[str, list[Progress]] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    running: list[Instance] = field(default_factory=list)
    keys: dict[Once, tuple[str, str | None]] = field(default_factory=dict)
    callers: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.bus = Bus()
        self._over: dict[str, asyncio.Event] = {}
        self._stamp = 0

    # ------------------------------------------------------------------------------------------ what tests do

    def finish(self, rollout_id: str) -> Rollout:
        """End a rollout as `failure` says."""
        rollout = self.known[rollout_id]
        status = RolloutStatus.succeeded if self.failure is None else self.ends_as
        message = "deployed" if self.failure is None else self.failure.message
        over = replace(rollout, status=status, ended_at=rollout.started_at + 1.5, failure=self.failure, message=message)
        self.known[rollout_id] = over
        if self.failure is None:
            now = self.deployments[rollout.deployment]
            self.deployments[rollout.deployment] = replace(
                now, current_version=rollout.version, previous_version=now.current_version
            )
        self.say(rollout_id, "commit", "success" if self.failure is None else "failed", 100)
        self._over[rollout_id].set()
        return over

    def say(self, rollout_id: str, step: str, status: str = "running", pct: int = 10) -> None:
        """Publish a progress message."""
        rollout, said = self.known[rollout_id], self.messages.setdefault(rollout_id, [])
        message = Progress(
            rollout_id,
            rollout.deployment,
            len(said) + 1,
            step,
            status,
            f"{step} {status}",
            pct,
            time.time(),
            pct == 100,
        )
        said.append(message)
        self.happen(rollout.deployment, f"{step} {status}")
        self.bus.publish(message)

    def happen(self, name: str, message: str) -> None:
        self._stamp += 1
        self.history.append(Event(len(self.history) + 1, name, time.time(), "info", message, "engine"))

    def rollout_of(self, name: str) -> Rollout:
        """The newest."""
        return [rollout for rollout in self.known.values() if rollout.deployment == name][-1]

    # ------------------------------------------------------------------------------------------ what the API calls

    async def validate(self, request: Request) -> Validation:
        self._raise("validate")
        return Validation(request.issues, self.warnings)

    async def plan(self, request: Request) -> Preview:
        self._raise("plan")
        steps = (PlannedStep("fetch_artifact", "unpack it"), PlannedStep("commit", "it serves"))
        return Preview(steps, (Change("replicas", "2", "3"),), self.warnings, request.issues)

    async def deploy(self, request: Request, *, terms: Terms) -> Rollout:
        self._raise("deploy")
        self.callers.append(terms.caller)
        self.requests.append(request)
        if request.issues:
            raise SpecInvalid(issues=request.issues)
        spec = Spec(**{key: value for key, value in request.fields.items() if key in SIMPLE})
        return self._open(spec, RolloutKind.deploy, terms)

    async def rollback(self, name: str, version: str | None, *, terms: Terms) -> Rollout:
        self._raise("rollback")
        now = self.deployment(name)
        spec = Spec(name, version or now.previous_version or "1", "/a")
        return self._open(spec, RolloutKind.rollback, terms)

    async def restart(self, name: str, *, terms: Terms) -> Rollout:
        spec = Spec(name, self.deployment(name).current_version or "1", "/a")
        return self._open(spec, RolloutKind.restart, terms)

    async def scale(self, name: str, replicas: int, *, terms: Terms) -> Rollout:
        version = self.deployment(name).current_version or "1"
        return self._open(Spec(name, version, "/a", replicas=replicas), RolloutKind.scale, terms)

    async def change(self, name: str, request: Request, *, terms: Terms) -> Rollout:
        self.requests.append(request)
        if request.issues:
            raise SpecInvalid(issues=request.issues)
        version = f"{self.deployment(name).current_version}+c1"
        return self._open(Spec(name, version, "/a"), RolloutKind.change, terms)

    async def stop(self, name: str, *, terms: Terms) -> Rollout:
        version = self.deployment(name).current_version or "1"
        return self._open(Spec(name, version, "/a"), RolloutKind.stop, terms)

    async def start(self, name: str, *, terms: Terms) -> Rollout:
        version = self.deployment(name).current_version or "1"
        return self._open(Spec(name, version, "/a"), RolloutKind.start, terms)

    def pin(self, name: str, version: str, reason: str | None, *, terms: Terms) -> Release:
        terms.hold_for(name, self.deployment(name))
        found = [release for release in self.releases(name) if release.version == version]
        if not found:
            raise BackupNotFound(f"{name} keeps no release {version}.")
        return replace(found[0], pinned=reason)

    async def prune(self, name: str, keep: int | None, *, terms: Terms) -> list[Release]:
        return self.releases(name)[keep or 5 :]

    async def outcome(self, rollout_id: str) -> Rollout:
        if rollout_id not in self.known:
            raise NotFound
        await self._over[rollout_id].wait()
        return self.known[rollout_id]

    def steps(self, rollout_id: str) -> list[StepRecord]:
        rollout = self.known[rollout_id]
        failed = rollout.failure is not None
        status = (
            StepStatus.running if rollout.ended_at is None else StepStatus.failed if failed else StepStatus.completed
        )
        return [
            StepRecord(
                rollout_id, 0, "fetch_artifact", False, status, rollout.started_at, rollout.ended_at, "unpacked",
                "it broke" if failed else "",
            )
        ]  # fmt: skip

    def progress_pct(self, rollout_id: str) -> int:
        said = self.messages.get(rollout_id)
        return said[-1].progress_pct if said else 0

    def stamp(self, name: str) -> int:
        self.deployment(name)
        return self._stamp

    def status(self, name: str) -> Status:
        self._raise("status")
        now, last = self.deployment(name), self.rollout_of(name)
        running = last.status.is_open
        events = tuple(reversed([event for event in self.history if event.deployment == name]))
        return Status(
            now, now.current_version or last.version, State.deploying if running else State.healthy, Health.healthy,
            now.updated_at, self.replicas, last.spec, events[:50], last if running else None,
        )  # fmt: skip

    def list(
        self, *, environment: str | None, state: State | None, limit: int, offset: int
    ) -> tuple[list[Summary], int]:
        rows = [
            Summary(name, status.version, status.deployment.environment, status.state, status.health, 0.0)
            for name in sorted(self.deployments)
            for status in [self.status(name)]
            if environment in (None, status.deployment.environment) and state in (None, status.state)
        ]
        return rows[offset : offset + limit], len(rows)

    async def health(self, name: str) -> HealthReport:
        self.deployment(name)
        check = CheckReport("GET /up", "healthy", "200", 0.1, 1.0)
        return HealthReport(
            Health.healthy, {"service": ComponentReport("service", "healthy", "up", (check,))}, 1.0, "all is well"
        )

    def rollout(self, name: str, rollout_id: str) -> Rollout:
        self.deployment(name)
        if rollout_id not in self.known or self.known[rollout_id].deployment != name:
            raise NotFound(f"{name} has no rollout {rollout_id}.")
        return self.known[rollout_id]

    def rollouts(self, name: str, *, limit: int, offset: int) -> tuple[list[Rollout], int]:
        self.deployment(name)
        rows = [rollout for rollout in reversed(self.known.values()) if rollout.deployment == name]
        return rows[offset : offset + limit], len(rows)

    def releases(self, name: str) -> list[Release]:
        return [
            Release(name, rollout.version, "0" * 64, rollout.spec, None, "/r", 10, ReleaseState.kept, 1.0, 2.0)
            for rollout in self.rollouts(name, limit=100, offset=0)[0]
        ]

    def events(self, name: str, *, limit: int, before: int | None) -> list[Event]:
        self.deployment(name)
        rows = [e for e in reversed(self.history) if e.deployment == name and (before is None or e.id < before)]
        return rows[:limit]

    def deployment(self, name: str) -> Deployment:
        if name not in self.deployments:
            raise DeploymentNotFound(f"There is no deployment {name!r}.", deployment=name)
        return self.deployments[name]

    async def abort(self, name: str, rollout_id: str, *, terms: Terms, reason: str = "") -> Rollout:
        self.callers.append(f"{terms.caller}: {reason}")
        return self.rollout(name, rollout_id)

    async def approve(self, name: str, rollout_id: str, *, terms: Terms, comment: str = "") -> Rollout:
        return self.rollout(name, rollout_id)

    async def pause(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout:
        return self._set(name, rollout_id, RolloutStatus.paused)

    async def resume(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout:
        return self._set(name, rollout_id, RolloutStatus.running)

    async def promote(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout:
        return self._set(name, rollout_id, RolloutStatus.running)

    async def delete(self, name: str, *, keep_files: bool, terms: Terms) -> None:
        self.deployment(name)
        del self.deployments[name]
        self._stamp += 1

    async def endpoints(self, name: str, after: str | None = None) -> EndpointList:
        now = self.deployment(name)
        target = EndpointTarget("shop-1-0", "1.0", "", "127.0.0.1", 20001, True)
        pools = (EndpointPool("stable", "1.0", 100, "/up", (target,)),)
        return EndpointList(name, now.environment, "envoy", 8080, True, "0123456789abcdef", pools)

    async def running_now(self, name: str, after: str | None = None) -> InstanceList:
        self.deployment(name)
        report = InstanceReport("shop-1-0", "1.0", "", 20001, "healthy", "200", 0.0, 0)
        return InstanceList(name, None, (Share("stable", "1.0", 100),), (report,), "0123456789abcdef")

    def instances(self, name: str) -> list[Instance]:
        self.deployment(name)
        return [instance for instance in self.running if instance.deployment == name]

    def logged(self, name: str) -> list[str]:
        there = {f"{instance.id}.log" for instance in self.running}
        return sorted(path.stem for path in self.root.glob(f"{name}-*.log") if path.name not in there)

    def log(
        self, name: str, instance: str, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        return logs.read(self.root / f"{instance}.log", tail=tail, since=since, follow=follow)

    def hook_output(self, name: str, rollout_id: str) -> HookOutput:
        return HookOutput(self.root, self.rollout(name, rollout_id))

    def idempotency_begin(self, once: Once, fingerprint: str) -> str | None:
        stored, rollout_id = self.keys.setdefault(once, (fingerprint, None))
        if stored != fingerprint:
            raise SpecInvalid(issues=[Issue("Idempotency-Key", "was used with another body")])
        return rollout_id

    def watch(self, name: str, rollout_id: str | None, after: int) -> Subscription:
        mine = [rollout.id for rollout in self.known.values() if rollout.deployment == name]
        chosen = rollout_id or (mine[-1] if mine else "")
        return self.bus.subscribe(name, [m for m in self.messages.get(chosen, []) if m.seq > after])

    # ------------------------------------------------------------------------------------------ private

    def _raise(self, method: str) -> None:
        if method in self.raises:
            raise self.raises.pop(method)

    def _open(self, spec: Spec, kind: RolloutKind, terms: Terms) -> Rollout:
        name, now = spec.name, time.time()
        terms.hold_for(name, self.deployments.get(name))
        mine = [rollout for rollout in self.known.values() if rollout.deployment == name]
        if mine and mine[-1].status.is_open:
            raise DeploymentInProgress(deployment=name, started_by="admin", rollout_id=mine[-1].id)
        before = self.deployments.setdefault(
            name, Deployment(name, spec.environment, "/w", None, None, None, None, now, now)
        )
        rollout = Rollout(
            f"r-{len(self.known) + 1}", name, len(mine) + 1, kind, spec.version, before.current_version,
            spec.strategy, RolloutStatus.running, spec, terms.caller, now, override=terms.override,
        )  # fmt: skip
        self.known[rollout.id] = rollout
        if terms.once is not None:
            self.keys[terms.once] = (self.keys[terms.once][0], rollout.id)
        self._over[rollout.id] = asyncio.Event()
        self.running = [
            *(instance for instance in self.running if instance.deployment != name),
            Instance(f"{name}-{rollout.number}-1", name, spec.version, 1, None, InstanceState.running, {}, "l"),
        ]
        self.say(rollout.id, "fetch_artifact")
        if self.instant:
            self.finish(rollout.id)
        return rollout

    def _set(self, name: str, rollout_id: str, status: RolloutStatus) -> Rollout:
        self.known[rollout_id] = replace(self.rollout(name, rollout_id), status=status)
        return self.known[rollout_id]


def spec(name: str = "shop", version: str = "1.0", **more: Any) -> dict[str, Any]:
    """A request body."""
    return {"name": name, "version": version, "artifact_path": "/srv/a.tar.gz", **more}
