"""The use cases: what the API, and nothing else, asks of Longshore.

A deployment from request to answer:

    deploy(request) → prepare: resolve and check, all problems at once  SpecInvalid
                    → (queue: wait for its turn, or for an approval)
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

from longshore.errors import Forbidden, Issue, SpecInvalid
from longshore.model import (
    Ask,
    Health,
    Release,
    ReleaseState,
    Rollout,
    RolloutKind,
    RolloutStatus,
    Waiting,
    WaitingFor,
)
from longshore.rollout.closures import Closures
from longshore.rollout.frame import plan_rollout
from longshore.rollout.observe import preview
from longshore.rollout.preparing import Preparation, Prepared
from longshore.rollout.preview import changes, describe_plan
from longshore.rollout.pruning import begin_pruning, pin, prune_now
from longshore.rollout.queries import Queries
from longshore.rollout.queue import Queue
from longshore.rollout.removal import begin_removal
from longshore.rollout.reports import Preview, Validation
from longshore.rollout.request import Request
from longshore.rollout.runner import Runner
from longshore.rollout.status import get_deployment
from longshore.rollout.targets import kept_release, rollback_target
from longshore.rollout.terms import Once, Terms
from longshore.rollout.world import World
from longshore.settings import Settings

log = logging.getLogger("longshore.service")

#: seconds an Idempotency-Key is remembered
KEYS_KEPT_S = 24 * 3600.0


class Service(Queries):
    def __init__(
        self, world: World, settings: Settings, defaults: Mapping[str, Mapping[str, Any]], runner: Runner
    ) -> None:
        """defaults: environment → fields of a request, in model units, where neither it nor the release has them."""
        super().__init__(world)
        self._settings, self._runner = settings, runner
        self._preparation = Preparation(world, settings, defaults)
        self._closures = Closures(world, settings)
        self._queue = Queue(world, runner, self._begin_waiting)
        world.ask_health = self._ask_health
        world.health_now = self.health_now

    # ------------------------------------------------------------------------------------- deploy, rollback

    async def validate(self, request: Request) -> Validation:
        """What a deploy would refuse and what would surprise. Changes nothing, needs no deployment to exist."""
        return (await self._preparation.check(request)).findings.validation

    async def deploy(self, request: Request, *, terms: Terms) -> Rollout:
        """Open the rollout and run it as the manager's own; or let it wait, as its terms or its environment say.

        Raises SpecInvalid and its kinds, DeploymentInProgress, PreconditionFailed, Forbidden, DeploymentLocked and
        DeploymentsFrozen, as all that follow.
        """
        ask = Ask(RolloutKind.deploy, request.fields.get("name", ""), request.fields)
        return await self._admit(ask, terms, request.issues)

    async def rollback(self, name: str, version: str | None, *, terms: Terms) -> Rollout:
        """Take the deployment to a kept release; a rollout in progress is aborted first.

        version   None or "": what served before; where that was a rollout in progress, what serves still
        Raises    DeploymentNotFound, BackupNotFound, SpecInvalid for the version that serves already
        """
        terms.hold_for(name, get_deployment(self._world, name))
        if self._world.store.open_rollout_of(name) is None:
            rollback_target(self._world, name, version)  # what cannot be gone back to cancels nothing
        elif version:
            kept_release(self._world, name, version)
        undone, why = False, f"{terms.caller} asked for a rollback"
        while self._queue.make_way(name, why) is not None:
            # What is asked for meanwhile, and waits, may begin before this goes on.
            undone = await self._runner.abort_open(name, why) or undone
        # What was aborted has moved the revision, and that the caller knew.
        terms = replace(terms, revision=None)
        target = rollback_target(self._world, name, version, undone=undone)
        deployment = get_deployment(self._world, name)
        serving = self._world.store.release(name, deployment.current_version) if deployment.current_version else None
        strategy = serving.spec.strategy if serving is not None else target.spec.strategy
        rollout = self._runner.open(target.spec, RolloutKind.rollback, terms, strategy=strategy)
        self._runner.own(rollout)
        return rollout

    async def change(self, name: str, request: Request, *, terms: Terms) -> Rollout:
        """Roll out what serves with another spec: a release of its own, of the same files. Raises SpecInvalid where
        nothing ever served, or nothing would change."""
        ask = Ask(RolloutKind.change, name, request.fields, request.dropped)
        return await self._admit(ask, terms, request.issues)

    # ------------------------------------------------------------------------------------- from day to day

    async def restart(self, name: str, *, terms: Terms) -> Rollout:
        """Replace every instance by a new one of the same release, rolling. Raises SpecInvalid where nothing runs."""
        return await self._admit(Ask(RolloutKind.restart, name), terms)

    async def stop(self, name: str, *, terms: Terms) -> Rollout:
        """Stop every instance: clients are answered 503 until the next start, deploy or rollback.

        Raises SpecInvalid where nothing runs.
        """
        return await self._admit(Ask(RolloutKind.stop, name), terms)

    async def start(self, name: str, *, terms: Terms) -> Rollout:
        """Start what was stopped. Raises SpecInvalid where it was not."""
        return await self._admit(Ask(RolloutKind.start, name), terms)

    async def scale(self, name: str, replicas: int, *, terms: Terms) -> Rollout:
        """Start more instances, or retire the newest; those that stay are not touched. replicas: 1 or more.

        Raises SpecInvalid where nothing runs or there are as many already.
        """
        return await self._admit(Ask(RolloutKind.scale, name, {"replicas": replicas}), terms)

    def pin(self, name: str, version: str, reason: str | None, *, terms: Terms) -> Release:
        """Never prune that release (reason, "" for none), or as any other one again (None). Raises BackupNotFound."""
        return pin(self._world, name, version, reason, terms)

    async def prune(self, name: str, keep: int | None, *, terms: Terms) -> builtins.list[Release]:
        """Remove releases beyond the newest `keep` (None: as many as the manager keeps) now. Returns the removed ones.

        Raises DeploymentInProgress while a rollout is open.
        """
        with self._world.store.transaction():
            environment = get_deployment(self._world, name).environment
            begin_pruning(self._world, name, terms)
            self._closures.pass_over(name, environment, terms)
        return await prune_now(self._world, name, keep, terms)

    async def plan(self, request: Request) -> Preview:
        """The steps a deploy would run now, and what it would change. Changes nothing."""
        checked = await self._preparation.check(request)
        checked.findings.raise_if_any(checked.spec.name)
        assert checked.scan is not None
        spec, store = checked.spec, self._world.store
        deployment, release = store.deployment(spec.name), store.release(spec.name, spec.version)
        directory = self._world.files_of(spec)
        view = preview(
            spec,
            deployment=deployment,
            scan=checked.scan,
            world=self._world,
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
        """The rollout once it is over, or was cancelled before it began. Cancelling the wait changes nothing."""
        cancelled = await self._queue.left(rollout_id)
        return cancelled.as_rollout() if cancelled is not None else await self._runner.outcome(rollout_id)

    # ------------------------------------------------------------------------------------- steering

    async def abort(self, name: str, rollout_id: str, *, terms: Terms, reason: str = "") -> Rollout:
        """Unwind it, whatever it is doing; returns when that is over. Refused past the commit, with the reason."""
        rollout = self.rollout(name, rollout_id)
        terms.hold_for(name, get_deployment(self._world, name))
        why = reason or f"{terms.caller} asked for it"
        waiting = self._world.store.waiting(rollout_id)
        if waiting is not None:
            aborted = self._queue.cancel(waiting, f"Aborted: {why}", by=terms.caller)
        else:
            aborted = self._runner.ask_abort(rollout, why)
        if not aborted:
            raise self._too_late(rollout, "abort")
        return await self.outcome(rollout_id)

    async def approve(self, name: str, rollout_id: str, *, terms: Terms, comment: str = "") -> Rollout:
        """Let begin what waits for approval, as soon as it is its turn.

        Raises Forbidden for who asked for it, SpecInvalid for what does not wait for approval (any more).
        """
        rollout = self.rollout(name, rollout_id)
        terms.hold_for(name, get_deployment(self._world, name))
        waiting = self._world.store.waiting(rollout_id)
        if waiting is None or waiting.ended_at is not None or waiting.waiting_for is not WaitingFor.approval:
            raise self._too_late(rollout, "approve")
        if waiting.requested_by == terms.caller:
            raise Forbidden(f"{terms.caller} asked for this: somebody else, with another token, has to approve it.")
        self._queue.approve(waiting, terms.caller, comment, terms.queue_timeout)
        return self.rollout(name, rollout_id)

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
        """Stop it and forget it. Raises DeploymentInProgress while a rollout runs, and as deploy does."""
        with self._world.store.transaction():
            environment = get_deployment(self._world, name).environment
            deployment = begin_removal(self._world, name, terms, keep_files=keep_files)
            self._closures.refuse_deletion(name, environment, terms)
            self._closures.pass_over(name, environment, terms)
            self._queue.make_way(name, f"{terms.caller} deleted {name}")
        await self._runner.remove(deployment)
        log.info("%s deleted %s", terms.caller, name)

    async def close(self) -> None:
        """Nothing that waits begins any more."""
        await self._queue.close()

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

    async def _admit(self, ask: Ask, terms: Terms, issues: tuple[Issue, ...] = ()) -> Rollout:
        """Begin it now, or let it wait."""
        if ask.kind is not RolloutKind.deploy:
            get_deployment(self._world, ask.deployment)
        deployment = self._world.store.deployment(ask.deployment)
        if not issues:
            terms.hold_for(ask.deployment, deployment)
        if not issues and deployment is not None:
            self._closures.refuse(ask.deployment, deployment.environment, terms)
        prepared = await self._preparation.of(ask, issues)
        terms.may_change(prepared.spec.environment)
        self._closures.refuse(prepared.spec.name, prepared.spec.environment, terms)
        environment = self._preparation.environment(prepared.spec)
        if environment.approval:
            return self._queue.add(ask, prepared, terms, WaitingFor.approval, environment.approval_timeout_s)
        if terms.on_conflict == "reject":
            self._queue.refuse_if_any(ask)
        elif self._queue.is_taken(ask.deployment):
            return self._queue.add(ask, prepared, terms, WaitingFor.turn, terms.queue_timeout)
        return self._begin(prepared, ask.kind, terms)

    async def _begin_waiting(self, waiting: Waiting) -> None:
        """Its turn has come. What it inherits, and whether it is possible, is looked at once more."""
        terms = Terms(
            waiting.requested_by, override=waiting.override, waited=waiting.id, approved_by=waiting.approved_by
        )
        # Locked, or frozen, since it was asked for: then it waits on, and costs nothing.
        self._closures.refuse(waiting.ask.deployment, waiting.spec.environment, terms)
        self._begin(await self._preparation.of(waiting.ask), waiting.ask.kind, terms)

    def _begin(self, prepared: Prepared, kind: RolloutKind, terms: Terms) -> Rollout:
        spec, source = prepared.spec, prepared.source
        if source is not None:
            self._preparation.expect_unchanged(source)
        with self._world.store.transaction():
            rollout = self._runner.open(spec, kind, terms, strategy=prepared.strategy, runs=prepared.runs)
            self._closures.pass_over(spec.name, spec.environment, terms, rollout.id)
        self._runner.own(rollout, prepared.scan, source)
        return rollout

    async def _ask_health(self, name: str) -> Health:
        known = self.health_now(name)
        return known if known is not Health.unknown else (await self.health(name)).overall

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
