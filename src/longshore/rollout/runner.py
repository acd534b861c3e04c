"""Running rollouts as the manager's own: opened, planned, run and recovered here, whoever asked for them.

open()   the store admits one open rollout for each deployment, or says who holds it
own()    a task of the manager: clean up after an earlier one → observe → plan → save the plan → engine.run
recover()  at the start of a manager: what the last one left open is brought to its end (recovery.py)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from uuid_utils import uuid7

from longshore.artifacts.base import Scan
from longshore.drivers.base import DriverError
from longshore.errors import InternalError, LongshoreError, NotFound, RolloutFailed, sentence
from longshore.files import FilesError
from longshore.model import Deployment, Release, Rollout, RolloutKind, RolloutStatus, Spec, StrategyName
from longshore.rollout.control import Control
from longshore.rollout.engine import Engine, describe
from longshore.rollout.frame import plan_rollout
from longshore.rollout.journal import Journal
from longshore.rollout.observe import observe
from longshore.rollout.plan import encode_plan
from longshore.rollout.recovery import Recovery
from longshore.rollout.removal import finish_removal
from longshore.rollout.reserving import expect_staying, reserve
from longshore.rollout.terms import Terms
from longshore.rollout.world import World
from longshore.routers.base import RouterError
from longshore.settings import Settings

log = logging.getLogger("longshore.runner")


class Runner:
    def __init__(self, world: World, settings: Settings) -> None:
        self._world, self._settings = world, settings
        self._engine = Engine(world)
        self._recovery = Recovery(world, self._engine)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._controls: dict[str, Control] = {}
        self._removing: dict[str, asyncio.Task[None]] = {}
        self._closed = False
        world.pick_up = self.pick_up

    def control(self, rollout: Rollout) -> Control:
        """What a person may ask of it while it runs."""
        return self._controls.setdefault(rollout.id, Control())

    async def outcome(self, rollout_id: str) -> Rollout:
        """The rollout, once it is over. Cancelling the wait changes nothing."""
        task = self._running.get(rollout_id)
        if task is not None:
            await asyncio.shield(task)
        rollout = self._world.store.rollout(rollout_id)
        if rollout is None:
            raise NotFound(f"There is no rollout {rollout_id} (any more).")
        if rollout.status.is_open:
            why = "the manager is stopping."
            if not self._closed:
                why = (
                    "an error inside the manager, such as a database that cannot be written; its log says more. The "
                    "manager goes on with it by itself as soon as it can: see "
                    f"GET /api/v1/deployments/{rollout.deployment}/rollouts/{rollout_id}."
                )
            raise InternalError(
                f"The rollout {rollout_id} was interrupted: {why}",
                deployment=rollout.deployment,
                rollout_id=rollout_id,
            )
        return rollout

    def ask_abort(self, rollout: Rollout, reason: str) -> bool:
        """Write down that it is to be unwound, and have that done. False: it is past its commit, or over."""
        store = self._world.store
        with store.transaction():
            asked = store.request_abort(rollout, reason)
            if asked:
                store.db.after_commit(lambda: self.control(rollout).abort(reason))
        return asked

    async def abort_open(self, name: str, reason: str) -> bool:
        """Abort the rollout in progress, or wait for its end where it is past its commit. True: one was undone."""
        rollout = self._world.store.open_rollout_of(name)
        if rollout is None:
            return False
        self.ask_abort(rollout, reason)
        ended = await self.outcome(rollout.id)
        return ended.status is RolloutStatus.unwound

    def open(
        self,
        spec: Spec,
        kind: RolloutKind,
        terms: Terms,
        *,
        strategy: StrategyName | None = None,
        runs: bool = True,
    ) -> Rollout:
        """Insert the rollout as the deployment's one open one.

        terms      its `once` stands for this rollout from now on, whatever happens to who asked
        strategy   where it is not the spec's own
        runs       False: files only, so a port that the spec names is not this deployment's
        Raises     DeploymentInProgress, PreconditionFailed, SpecInvalid
        """
        store, now = self._world.store, self._world.clock.now()
        with store.transaction():
            deployment = store.deployment(spec.name)
            terms.hold_for(spec.name, deployment)
            expect_staying(spec.name, deployment)
            reserve(store, spec, runs=runs, now=now)
            if terms.waited is not None:
                store.begin_waiting(spec.name, terms.waited)
            rollout = store.open_rollout(
                Rollout(
                    id=terms.waited or str(uuid7()),
                    deployment=spec.name,
                    number=0,
                    kind=kind,
                    version=spec.version,
                    previous_version=deployment.current_version if deployment is not None else None,
                    strategy=strategy or spec.strategy,
                    status=RolloutStatus.running,
                    spec=spec,
                    requested_by=terms.caller,
                    started_at=now,
                    override=terms.override,
                    approved_by=terms.approved_by,
                )
            )
            store.count_change(spec.name, terms.caller)
            if terms.once is not None:
                store.remember_key(terms.once.caller, terms.once.key, "", rollout.id)
            self._world.tell(rollout, None)
            Journal(self._world, rollout, None).event("info", f"{terms.caller} started a {_called(rollout)}")
        return rollout

    def own(self, rollout: Rollout, scan: Scan | None = None, source: Release | None = None) -> None:
        """Run it, as the manager's own. scan: of the artifact; source: the release whose files a change takes."""
        self._adopt(rollout, self._drive(rollout, scan, source))

    async def recover(self) -> None:
        """Called once at the start: every rollout that a manager left open is brought to its end by the one rule."""
        self.pick_up("The manager was stopped in the middle of this rollout.", "the manager process ended")

    def pick_up(
        self, why: str = "This rollout could not go on.", cause: str = "an error inside the manager: its log says more"
    ) -> None:
        """Go on with what is open and no task of this manager is at: what another left, or what ended here by an error
        that kept it from writing down its end (a disk that was full)."""
        for rollout in self._world.store.open_rollouts():
            if rollout.id not in self._running:
                self._adopt(rollout, self._recovery.recover(rollout, self.control(rollout), why, cause))
        for deployment in self._world.store.deployments():
            if deployment.deleting is not None and deployment.name not in self._removing:
                self._remove(deployment)

    async def remove(self, deployment: Deployment) -> None:
        """Take away what begin_removal has marked. Cancelling the wait changes nothing."""
        await asyncio.shield(self._removing.get(deployment.name) or self._remove(deployment))

    async def close(self) -> None:
        """The manager stops: rollouts stay as the journal has them, for the next one to recover."""
        self._closed = True
        tasks = [*self._running.values(), *self._removing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- private

    def _adopt(self, rollout: Rollout, work: Coroutine[Any, Any, None]) -> None:
        """The manager, not a request, holds the task."""
        self.control(rollout)
        task = asyncio.create_task(self._guarded(rollout, work), name=f"rollout {rollout.id}")
        self._running[rollout.id] = task
        task.add_done_callback(lambda _: self._let_go(rollout))

    def _remove(self, deployment: Deployment) -> asyncio.Task[None]:
        async def locked() -> None:
            async with self._world.lock(deployment.name):
                try:
                    await finish_removal(self._world, deployment)
                except (FilesError, DriverError, RouterError) as error:
                    message = (
                        f"{deployment.name} is only deleted in part: {sentence(error)} Mend that and delete it again."
                    )
                    raise InternalError(message, deployment=deployment.name, operation="delete") from error

        def over(task: asyncio.Task[None]) -> None:
            self._removing.pop(deployment.name, None)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("the removal of %s failed: %s", deployment.name, error)

        task = asyncio.create_task(locked(), name=f"removal of {deployment.name}")
        self._removing[deployment.name] = task
        task.add_done_callback(over)
        return task

    async def _guarded(self, rollout: Rollout, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with self._world.lock(rollout.deployment):
                await work
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("the rollout %s of %s could not be brought to an end", rollout.id, rollout.deployment)
        finally:
            self._world.wake_monitor()

    def _let_go(self, rollout: Rollout) -> None:
        self._running.pop(rollout.id, None)
        self._controls.pop(rollout.id, None)
        if not self._closed:
            self._world.look_at_queue(rollout.deployment)

    async def _drive(self, rollout: Rollout, scan: Scan | None, source: Release | None) -> None:
        try:
            await self._clean_up_after_earlier(rollout)
            view = await observe(self._world, rollout, scan=scan, source=source)
            plan = plan_rollout(view, rollout.spec, rollout.strategy, keep_releases=self._world.keep_releases)
            self._world.store.save_plan(rollout, encode_plan(plan))
        except Exception as error:
            if not isinstance(error, LongshoreError):
                log.exception("planning %s failed", rollout.id)
            journal = Journal(self._world, rollout, None)
            failure = describe(rollout, error)
            journal.move(RolloutStatus.unwinding, failure=failure, message=failure.message)
            await self._engine.unwind(journal.rollout, None)
            return
        await self._engine.run(rollout, plan, self.control(rollout))

    async def _clean_up_after_earlier(self, rollout: Rollout) -> None:
        """What a held or stuck rollout has left is undone before a new one looks at the world."""
        for earlier in self._world.store.left_behind(rollout.deployment):
            ended = await self._engine.unwind(earlier, self._recovery.plan_of(earlier))
            if ended.status is not RolloutStatus.unwound:
                raise RolloutFailed(f"Rollout {earlier.number} left something that cannot be undone: {ended.message}")


def _called(rollout: Rollout) -> str:
    """What it is, for the history."""
    match rollout.kind:
        case RolloutKind.deploy:
            return f"{rollout.strategy} deploy of {rollout.version}"
        case RolloutKind.rollback:
            return f"rollback to {rollout.version}"
        case RolloutKind.restart:
            return f"restart of {rollout.version}"
        case RolloutKind.scale:
            return f"change to {rollout.spec.replicas} replicas"
        case RolloutKind.change:
            return f"{rollout.strategy} change to {rollout.version}"
        case RolloutKind.stop | RolloutKind.start:
            return f"{rollout.kind} of {rollout.version}"
