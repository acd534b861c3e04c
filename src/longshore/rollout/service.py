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
from typing import Any

from longshore.errors import DeploymentInProgress, Issue, SpecInvalid
from longshore.files import FilesError
from longshore.model import (
    Health,
    Release,
    ReleaseState,
    Rollout,
    RolloutKind,
    RolloutStatus,
    Spec,
)
from longshore.rollout.frame import plan_rollout
from longshore.rollout.observe import preview
from longshore.rollout.preview import changes, describe_plan
from longshore.rollout.pruning import pin, prune_now
from longshore.rollout.queries import Queries
from longshore.rollout.removal import begin_removal
from longshore.rollout.reports import Preview, Validation
from longshore.rollout.request import Request
from longshore.rollout.runner import Runner
from longshore.rollout.specs import changed, changed_version, resolve
from longshore.rollout.status import get_deployment
from longshore.rollout.targets import kept_release, version_before
from longshore.rollout.terms import Once, Terms
from longshore.rollout.validation import Checked, check
from longshore.rollout.world import World
from longshore.settings import Environment, Settings

log = logging.getLogger("longshore.service")

#: seconds an Idempotency-Key is remembered
KEYS_KEPT_S = 24 * 3600.0


class Service(Queries):
    def __init__(
        self, world: World, settings: Settings, defaults: Mapping[str, Mapping[str, Any]], runner: Runner
    ) -> None:
        """defaults: environment → fields of a request, in model units, where neither it nor the release has them."""
        super().__init__(world)
        self._settings, self._defaults, self._runner = settings, defaults, runner
        world.ask_health = self._ask_health
        world.health_now = self.health_now

    # ------------------------------------------------------------------------------------- deploy, rollback

    async def validate(self, request: Request) -> Validation:
        """What a deploy would refuse and what would surprise. Changes nothing, needs no deployment to exist."""
        return (await self._check(request)).findings.validation

    async def deploy(self, request: Request, *, terms: Terms) -> Rollout:
        """Open the rollout and run it as the manager's own.

        Raises SpecInvalid and its kinds, DeploymentInProgress, PreconditionFailed, as all that follow.
        """
        if not request.issues:
            terms.hold_for(request.fields["name"], self._world.store.deployment(request.fields["name"]))
        checked = await self._check(request)
        checked.findings.raise_if_any(checked.spec.name)
        rollout = self._runner.open(checked.spec, RolloutKind.deploy, terms, runs=checked.command is not None)
        self._runner.own(rollout, checked.scan)
        return rollout

    async def rollback(self, name: str, version: str | None, *, terms: Terms) -> Rollout:
        """Take the deployment to a kept release; a rollout in progress is aborted first.

        version   None or "": what served before; where that was a rollout in progress, what serves still
        Raises    DeploymentNotFound, BackupNotFound, SpecInvalid for the version that serves already
        """
        terms.hold_for(name, get_deployment(self._world, name))
        if version:
            kept_release(self._world, name, version)
        undone = await self._runner.abort_open(name, f"{terms.caller} asked for a rollback")
        # What was aborted has moved the revision, and that the caller knew.
        terms = replace(terms, revision=None)
        deployment, last = get_deployment(self._world, name), self._world.store.last_rollout_of(name)
        # What was held, or could not be undone, is to be cleaned up, just as what was aborted: what serves then stays.
        undone = undone or (last is not None and last.status in (RolloutStatus.held, RolloutStatus.stuck))
        if undone and deployment.current_version is not None and version in (None, "", deployment.current_version):
            target = kept_release(self._world, name, deployment.current_version)
        elif version and version == deployment.current_version:
            raise SpecInvalid(
                f"{name} is stopped on {version}: start it instead."
                if deployment.stopped
                else f"{name} serves {version} already: there is nothing to roll back.",
                deployment=name,
                operation="rollback",
                cause=f"{version} is the committed version",
            )
        else:
            target = kept_release(self._world, name, version or version_before(self._world, deployment))
        serving = self._world.store.release(name, deployment.current_version) if deployment.current_version else None
        strategy = serving.spec.strategy if serving is not None else target.spec.strategy
        rollout = self._runner.open(target.spec, RolloutKind.rollback, terms, strategy=strategy)
        self._runner.own(rollout)
        return rollout

    async def change(self, name: str, request: Request, *, terms: Terms) -> Rollout:
        """Roll out what serves with another spec: a release of its own, of the same files. Raises SpecInvalid where
        nothing ever served, or nothing would change."""
        if not request.issues:
            terms.hold_for(name, get_deployment(self._world, name))
        source = self._committed_release(name, "change")
        spec = changed(source.spec, request.fields, request.dropped)
        if spec == source.spec and not request.issues:
            raise SpecInvalid(f"{name} is like that: nothing would change.", deployment=name, operation="change")
        spec = replace(spec, version=changed_version(source.version, await self._taken_versions(name)))
        checked = await check(self._world, request, spec, self._environment(spec), source=source)
        checked.findings.raise_if_any(name)
        now = self._committed_release(name, "change")
        if (now.version, now.spec) != (source.version, source.spec):
            raise DeploymentInProgress(f"{name} was changed at the same moment: look at it again.", deployment=name)
        rollout = self._runner.open(spec, RolloutKind.change, terms, runs=checked.command is not None)
        self._runner.own(rollout, source=source)
        return rollout

    # ------------------------------------------------------------------------------------- from day to day

    async def restart(self, name: str, *, terms: Terms) -> Rollout:
        """Replace every instance by a new one of the same release, rolling. Raises SpecInvalid where nothing runs."""
        release = self._running_release(name, "restart", terms)
        rollout = self._runner.open(release.spec, RolloutKind.restart, terms, strategy="rolling")
        self._runner.own(rollout)
        return rollout

    async def stop(self, name: str, *, terms: Terms) -> Rollout:
        """Stop every instance: clients are answered 503 until the next start, deploy or rollback.

        Raises SpecInvalid where nothing runs.
        """
        release = self._running_release(name, "stop", terms)
        rollout = self._runner.open(release.spec, RolloutKind.stop, terms)
        self._runner.own(rollout)
        return rollout

    async def start(self, name: str, *, terms: Terms) -> Rollout:
        """Start what was stopped. Raises SpecInvalid where it was not."""
        terms.hold_for(name, get_deployment(self._world, name))
        release = self._committed_release(name, "start")
        if not get_deployment(self._world, name).stopped:
            raise SpecInvalid(f"{name} is not stopped: there is nothing to start.", deployment=name, operation="start")
        rollout = self._runner.open(release.spec, RolloutKind.start, terms, strategy="recreate")
        self._runner.own(rollout)
        return rollout

    async def scale(self, name: str, replicas: int, *, terms: Terms) -> Rollout:
        """Start more instances, or retire the newest; those that stay are not touched. replicas: 1 or more.

        Raises SpecInvalid where nothing runs or there are as many already.
        """
        release = self._running_release(name, "scale", terms)
        if replicas == release.spec.replicas:
            raise SpecInvalid(
                issues=[Issue("replicas", f"{name} has {replicas} already")], deployment=name, operation="scale"
            )
        rollout = self._runner.open(replace(release.spec, replicas=replicas), RolloutKind.scale, terms)
        self._runner.own(rollout)
        return rollout

    def pin(self, name: str, version: str, reason: str | None, *, terms: Terms) -> Release:
        """Never prune that release (reason, "" for none), or as any other one again (None). Raises BackupNotFound."""
        return pin(self._world, name, version, reason, terms)

    async def prune(self, name: str, keep: int | None, *, terms: Terms) -> builtins.list[Release]:
        """Remove releases beyond the newest `keep` (None: as many as the manager keeps) now. Returns the removed ones.

        Raises DeploymentInProgress while a rollout is open.
        """
        return await prune_now(self._world, name, keep, terms)

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

    async def abort(self, name: str, rollout_id: str, *, terms: Terms, reason: str = "") -> Rollout:
        """Unwind it, whatever it is doing; returns when that is over. Refused past the commit, with the reason."""
        rollout = self.rollout(name, rollout_id)
        terms.hold_for(name, get_deployment(self._world, name))
        why = reason or f"{terms.caller} asked for it"
        if not self._world.store.request_abort(rollout, why):
            raise self._too_late(rollout, "abort")
        self._runner.control(rollout).abort(why)
        return await self.outcome(rollout_id)

    async def pause(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout:
        """Stop before the next step, until resume, promote or abort."""
        rollout = self._steerable(name, rollout_id, "pause", terms)
        self._runner.control(rollout).pause()
        self._told(rollout, f"{terms.caller} paused the rollout")
        return self.rollout(name, rollout_id)

    async def resume(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout:
        rollout = self._steerable(name, rollout_id, "resume", terms)
        self._runner.control(rollout).resume()
        self._told(rollout, f"{terms.caller} resumed the rollout")
        return self.rollout(name, rollout_id)

    async def promote(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout:
        """Skip what is left of a canary's pauses."""
        rollout = self._steerable(name, rollout_id, "promote", terms)
        self._runner.control(rollout).promote()
        self._told(rollout, f"{terms.caller} promoted the candidate")
        return self.rollout(name, rollout_id)

    async def delete(self, name: str, *, keep_files: bool, terms: Terms) -> None:
        """Stop it and forget it. Raises DeploymentInProgress while a rollout runs."""
        deployment = begin_removal(self._world, name, terms, keep_files=keep_files)
        await self._runner.remove(deployment)
        log.info("%s deleted %s", terms.caller, name)

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

    def _committed_release(self, name: str, verb: str) -> Release:
        version = get_deployment(self._world, name).current_version
        release = self._world.store.release(name, version) if version is not None else None
        if release is None:
            raise SpecInvalid(f"{name} never served, so there is nothing to {verb}.", deployment=name, operation=verb)
        return release

    async def _taken_versions(self, name: str) -> set[str]:
        """Those that were ever released, and whatever else stands in their place on the disk."""
        directory = self._world.directory(get_deployment(self._world, name).working_directory)
        try:
            standing = await asyncio.to_thread(directory.places)
        except FilesError as error:
            raise SpecInvalid(issues=[Issue("working_directory", str(error))], deployment=name) from error
        return standing | {release.version for release in self._world.store.releases(name)}

    def _running_release(self, name: str, verb: str, terms: Terms) -> Release:
        terms.hold_for(name, get_deployment(self._world, name))
        release = self._committed_release(name, verb)
        if not release.runs:
            raise SpecInvalid(
                f"{name} has nothing that runs, so there is nothing to {verb}.", deployment=name, operation=verb
            )
        if get_deployment(self._world, name).stopped:
            remedy = "" if verb == "stop" else ": start it first"
            raise SpecInvalid(
                f"{name} is stopped, so there is nothing to {verb}{remedy}.", deployment=name, operation=verb
            )
        return release

    def _steerable(self, name: str, rollout_id: str, verb: str, terms: Terms) -> Rollout:
        rollout = self.rollout(name, rollout_id)
        terms.hold_for(name, get_deployment(self._world, name))
        if rollout.status not in (RolloutStatus.running, RolloutStatus.paused):
            raise self._too_late(rollout, verb)
        return rollout

    def _told(self, rollout: Rollout, message: str) -> None:
        self._world.event(rollout.deployment, "info", message, source="control", rollout_id=rollout.id)

    def _too_late(self, rollout: Rollout, verb: str) -> SpecInvalid:
        return SpecInvalid(
            f"This rollout is {rollout.status}: there is nothing left to {verb}."
            + (" Roll back instead." if rollout.status in (RolloutStatus.committed, RolloutStatus.succeeded) else ""),
            deployment=rollout.deployment,
            operation=verb,
            cause=f"rollout {rollout.id} is {rollout.status}",
        )
