"""The use cases: what the API, and nothing else, asks of Longshore.

A deployment from request to answer:

    deploy(request) → check: all problems at once                       SpecInvalid
                    → runner.open: one open rollout for each name       DeploymentInProgress
                    → runner.own: clean up → observe → plan → save the plan → engine.run
    outcome(id)     → waits for that; who stops waiting changes nothing
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from longshore.bus import Subscription
from longshore.errors import (
    Issue,
    NotFound,
    SpecInvalid,
)
from longshore.model import (
    Deployment,
    Event,
    Health,
    Instance,
    Progress,
    Release,
    ReleaseState,
    Rollout,
    RolloutKind,
    RolloutStatus,
    Spec,
    State,
    StepRecord,
)
from longshore.rollout.checkup import check_up
from longshore.rollout.frame import plan_rollout
from longshore.rollout.observe import preview
from longshore.rollout.preview import changes, describe_plan
from longshore.rollout.removal import begin_removal
from longshore.rollout.reports import HealthReport, Preview, Status, Summary, Validation
from longshore.rollout.request import Once, Request
from longshore.rollout.runner import Runner
from longshore.rollout.specs import resolve
from longshore.rollout.status import get_deployment, health_of, read_status, summaries
from longshore.rollout.targets import kept_release, version_before
from longshore.rollout.validation import Checked, check
from longshore.rollout.world import World
from longshore.settings import Environment, Settings

log = logging.getLogger("longshore.service")

#: seconds an Idempotency-Key is remembered
KEYS_KEPT_S = 24 * 3600.0


class Service:
    def __init__(
        self, world: World, settings: Settings, defaults: Mapping[str, Mapping[str, Any]], runner: Runner
    ) -> None:
        """defaults: environment → fields of a request, in model units, where neither it nor the release has them."""
        self._world, self._settings, self._defaults, self._runner = world, settings, defaults, runner
        world.ask_health = self._ask_health
        world.health_now = self.health_now

    # ------------------------------------------------------------------------------------- deploy, rollback

    async def validate(self, request: Request) -> Validation:
        """What a deploy would refuse and what would surprise. Changes nothing, needs no deployment to exist."""
        return (await self._check(request)).findings.validation

    async def deploy(self, request: Request, *, caller: str, once: Once | None = None) -> Rollout:
        """Open the rollout and run it as the manager's own. Raises SpecInvalid and its kinds, DeploymentInProgress.

        once   what idempotency_begin has been asked about: stands for the rollout from the moment it is opened
        """
        checked = await self._check(request)
        checked.findings.raise_if_any(checked.spec.name)
        rollout = self._runner.open(
            checked.spec, RolloutKind.deploy, caller, runs=checked.command is not None, once=once
        )
        self._runner.own(rollout, checked.scan)
        return rollout

    async def rollback(self, name: str, version: str | None, *, caller: str, once: Once | None = None) -> Rollout:
        """Take the deployment to a kept release; a rollout in progress is aborted first.

        version   None or "": what served before; where that was a rollout in progress, what serves still
        Raises    DeploymentNotFound, BackupNotFound, SpecInvalid for the version that serves already
        """
        get_deployment(self._world, name)
        if version:
            kept_release(self._world, name, version)
        undone = await self._runner.abort_open(name, f"{caller} asked for a rollback")
        deployment, last = get_deployment(self._world, name), self._world.store.last_rollout_of(name)
        # What was held, or could not be undone, is to be cleaned up, just as what was aborted: what serves then stays.
        undone = undone or (last is not None and last.status in (RolloutStatus.held, RolloutStatus.stuck))
        if undone and deployment.current_version is not None and version in (None, "", deployment.current_version):
            target = kept_release(self._world, name, deployment.current_version)
        elif version and version == deployment.current_version:
            raise SpecInvalid(
                f"{name} serves {version} already: there is nothing to roll back.",
                deployment=name,
                operation="rollback",
                cause=f"{version} is the committed version",
            )
        else:
            target = kept_release(self._world, name, version or version_before(self._world, deployment))
        serving = self._world.store.release(name, deployment.current_version) if deployment.current_version else None
        strategy = serving.spec.strategy if serving is not None else target.spec.strategy
        rollout = self._runner.open(target.spec, RolloutKind.rollback, caller, strategy=strategy, once=once)
        self._runner.own(rollout, None)
        return rollout

    async def restart(self, name: str, *, caller: str, once: Once | None = None) -> Rollout:
        """Replace every instance by a new one of the same release, rolling. Raises SpecInvalid where nothing runs."""
        release = self._running_release(name, "restart")
        rollout = self._runner.open(release.spec, RolloutKind.restart, caller, strategy="rolling", once=once)
        self._runner.own(rollout, None)
        return rollout

    async def scale(self, name: str, replicas: int, *, caller: str, once: Once | None = None) -> Rollout:
        """Start more instances, or retire the newest; those that stay are not touched. replicas: 1 or more.

        Raises SpecInvalid where nothing runs or there are as many already.
        """
        release = self._running_release(name, "scale")
        if replicas == release.spec.replicas:
            raise SpecInvalid(
                issues=[Issue("replicas", f"{name} has {replicas} already")], deployment=name, operation="scale"
            )
        rollout = self._runner.open(replace(release.spec, replicas=replicas), RolloutKind.scale, caller, once=once)
        self._runner.own(rollout, None)
        return rollout

    async def plan(self, request: Request) -> Preview:
        """The steps a deploy would run now, and what it would change. Changes nothing."""
        checked = await self._check(request)
        checked.findings.raise_if_any(checked.spec.name)
        assert checked.scan is not None
        spec, store = checked.spec, self._world.store
        deployment, release = store.deployment(spec.name), store.release(spec.name, spec.version)
        directory = self._world.directory(spec.working_directory)
        view = preview(
            spec,
            deployment=deployment,
            scan=checked.scan,
            world=self._world,
            routed=self._environment(spec).router != "none",
            foreign=await asyncio.to_thread(directory.is_foreign),
            kept=release is not None and release.state is ReleaseState.kept,
        )
        plan = plan_rollout(view, spec, keep_releases=self._world.keep_releases)
        return Preview(
            steps=describe_plan(plan),
            changes=changes(view.current.spec if view.current else None, spec),
            warnings=checked.findings.validation.warnings,
        )

    async def outcome(self, rollout_id: str) -> Rollout:
        """The rollout, once it is over. Cancelling the wait changes nothing."""
        return await self._runner.outcome(rollout_id)

    # ------------------------------------------------------------------------------------- steering

    async def abort(self, name: str, rollout_id: str, *, caller: str, reason: str = "") -> Rollout:
        """Unwind it, whatever it is doing; returns when that is over. Refused past the commit, with the reason."""
        rollout = self.rollout(name, rollout_id)
        why = reason or f"{caller} asked for it"
        if not self._world.store.request_abort(rollout, why):
            raise self._too_late(rollout, "abort")
        self._runner.control(rollout).abort(why)
        return await self.outcome(rollout_id)

    async def pause(self, name: str, rollout_id: str, *, caller: str) -> Rollout:
        """Stop before the next step, until resume, promote or abort."""
        rollout = self._steerable(name, rollout_id, "pause")
        self._runner.control(rollout).pause()
        self._world.event(name, "info", f"{caller} paused the rollout", source="control", rollout_id=rollout.id)
        return self.rollout(name, rollout_id)

    async def resume(self, name: str, rollout_id: str, *, caller: str) -> Rollout:
        rollout = self._steerable(name, rollout_id, "resume")
        self._runner.control(rollout).resume()
        self._world.event(name, "info", f"{caller} resumed the rollout", source="control", rollout_id=rollout.id)
        return self.rollout(name, rollout_id)

    async def promote(self, name: str, rollout_id: str, *, caller: str) -> Rollout:
        """Skip what is left of a canary's pauses."""
        rollout = self._steerable(name, rollout_id, "promote")
        self._runner.control(rollout).promote()
        self._world.event(name, "info", f"{caller} promoted the candidate", source="control", rollout_id=rollout.id)
        return self.rollout(name, rollout_id)

    async def delete(self, name: str, *, keep_files: bool, caller: str) -> None:
        """Stop it and forget it. Raises DeploymentInProgress while a rollout runs."""
        deployment = begin_removal(self._world, get_deployment(self._world, name), keep_files=keep_files)
        await self._runner.remove(deployment)
        log.info("%s deleted %s", caller, name)

    # ------------------------------------------------------------------------------------- reading

    def status(self, name: str) -> Status:
        return read_status(self._world, name)

    def revision(self, name: str) -> int:
        return self._world.store.revision(name)

    def list(
        self, *, environment: str | None, state: State | None, limit: int, offset: int
    ) -> tuple[builtins.list[Summary], int]:
        return summaries(self._world, environment=environment, state=state, limit=limit, offset=offset)

    async def health(self, name: str) -> HealthReport:
        deployment = get_deployment(self._world, name)
        return await check_up(self._world, name, self._world.driver_of(deployment.environment))

    def health_now(self, name: str) -> Health:
        """From what the monitor knows, without asking."""
        deployment = self._world.store.deployment(name)
        if deployment is None or deployment.current_version is None:
            return Health.unhealthy
        release = self._world.store.release(name, deployment.current_version)
        last = self._world.store.last_rollout_of(name)
        return health_of(self._world, deployment, release, last, self._world.store.instances(name))

    def deployment(self, name: str) -> Deployment:
        return get_deployment(self._world, name)

    def rollout(self, name: str, rollout_id: str) -> Rollout:
        get_deployment(self._world, name)
        rollout = self._world.store.rollout(rollout_id)
        if rollout is None or rollout.deployment != name:
            raise NotFound(f"{name} has no rollout {rollout_id!r}.", deployment=name, operation="find")
        return rollout

    def rollouts(self, name: str, *, limit: int, offset: int) -> tuple[builtins.list[Rollout], int]:
        get_deployment(self._world, name)
        return self._world.store.rollouts(name, limit=limit, offset=offset)

    def steps(self, rollout_id: str) -> builtins.list[StepRecord]:
        return self._world.store.journal(rollout_id)

    def progress_pct(self, rollout_id: str) -> int:
        return self._world.store.progress_pct(rollout_id)

    def releases(self, name: str) -> builtins.list[Release]:
        get_deployment(self._world, name)
        return self._world.store.releases(name)

    def events(self, name: str, *, limit: int, before: int | None) -> builtins.list[Event]:
        get_deployment(self._world, name)
        return self._world.store.events(name, limit=limit, before=before)

    def instances(self, name: str) -> builtins.list[Instance]:
        get_deployment(self._world, name)
        return self._world.store.instances(name)

    def log_path(self, instance: Instance) -> Path:
        return self._world.instance_log(instance.deployment, instance.id)

    def watch(self, name: str, rollout_id: str | None, after: int) -> Subscription:
        """Progress of the rollout in progress (or of the last one), then of all that follow."""
        store = self._world.store
        last = store.rollout(rollout_id) if rollout_id else store.last_rollout_of(name)
        history: builtins.list[Progress] = []
        if last is not None and last.deployment == name:
            history = store.progress(last.id, after)
        return self._world.bus.subscribe(name, history)

    # ------------------------------------------------------------------------------------- idempotency

    def idempotency_begin(self, once: Once, fingerprint: str) -> str | None:
        """The rollout that this key opened; None: none yet. Raises SpecInvalid if its body was another."""
        self._world.store.forget_keys(self._world.clock.now() - KEYS_KEPT_S)
        known = self._world.store.idempotency(once.caller, once.key)
        if known is None:
            self._world.store.remember_key(once.caller, once.key, fingerprint, None)
            return None
        if known[0] != fingerprint:
            raise SpecInvalid(
                f"Idempotency-Key {once.key!r} was used with another body: use a new key for a new request.",
                cause="same key, other body",
            )
        return known[1]

    # --- private

    async def _check(self, request: Request) -> Checked:
        name = request.fields.get("name", "")
        deployment = self._world.store.deployment(name) if name else None
        current = (
            self._world.store.release(name, deployment.current_version)
            if deployment is not None and deployment.current_version
            else None
        )
        wanted = request.fields.get("environment") or (deployment.environment if deployment else "default")
        environment = self._settings.environment(wanted)
        spec = resolve(
            request.fields,
            current=current.spec if current is not None else None,
            deployment=deployment,
            defaults=self._defaults.get(wanted, {}),
            apps=self._settings.data_dir / "apps",
        )
        return await check(self._world, request, spec, environment)

    def _environment(self, spec: Spec) -> Environment:
        return self._settings.environment(spec.environment)

    async def _ask_health(self, name: str) -> Health:
        known = self.health_now(name)
        return known if known is not Health.unknown else (await self.health(name)).overall

    def _running_release(self, name: str, verb: str) -> Release:
        deployment = get_deployment(self._world, name)
        version = deployment.current_version
        release = self._world.store.release(name, version) if version is not None else None
        if release is None or not release.runs:
            raise SpecInvalid(
                f"{name} has nothing that runs, so there is nothing to {verb}.", deployment=name, operation=verb
            )
        return release

    def _steerable(self, name: str, rollout_id: str, verb: str) -> Rollout:
        rollout = self.rollout(name, rollout_id)
        if rollout.status not in (RolloutStatus.running, RolloutStatus.paused):
            raise self._too_late(rollout, verb)
        return rollout

    def _too_late(self, rollout: Rollout, verb: str) -> SpecInvalid:
        return SpecInvalid(
            f"This rollout is {rollout.status}: there is nothing left to {verb}."
            + (" Roll back instead." if rollout.status in (RolloutStatus.committed, RolloutStatus.succeeded) else ""),
            deployment=rollout.deployment,
            operation=verb,
            cause=f"rollout {rollout.id} is {rollout.status}",
        )
