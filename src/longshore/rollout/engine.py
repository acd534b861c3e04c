"""Running a plan, by one rule: before the commit undo in reverse, after it finish forward.

    running ── every step up to the commit ──► committed ── the rest ──► succeeded
       │ a step fails, an abort, a deadline
       ├──► unwinding ── undo what was completed or begun, in reverse ──► unwound   (an undo fails: stuck)
       └──► held         where rollback_on_failure is false

The rule is the same whether a step fails, somebody aborts, or a manager died in between and the next one recovers: the
journal says which steps were begun, the stored plan how to undo or repeat them. An unwind is never unwound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from longshore.concurrency import beside
from longshore.durations import format_duration
from longshore.errors import LeaseLost, LongshoreError, RollbackFailed, RolloutAborted, RolloutFailed, sentence
from longshore.model import Failure, Rollout, RolloutKind, RolloutStatus, StepRecord, StepStatus
from longshore.rollout.absence import Absence
from longshore.rollout.commit import write_commit
from longshore.rollout.control import Control
from longshore.rollout.journal import Journal
from longshore.rollout.plan import Context, Plan, Step, StepWarning
from longshore.rollout.steps.release import Commit
from longshore.rollout.tending import keep_serving
from longshore.rollout.world import World
from longshore.store.sqlite import StoreUnavailable

log = logging.getLogger("longshore.engine")

#: an undo, or a shift past the commit, is tried this often, with these pauses in seconds: a router that is just being
#: restarted must not cost a person's sleep
UNDO_PAUSES_S = (0.2, 1.0, 3.0)


_DONE = {
    RolloutKind.deploy: "Deployed",
    RolloutKind.rollback: "Rolled back",
    RolloutKind.restart: "Restarted",
    RolloutKind.scale: "Scaled",
    RolloutKind.change: "Changed",
    RolloutKind.stop: "Stopped",
    RolloutKind.start: "Started",
}


class Engine:
    def __init__(self, world: World) -> None:
        self._world = world

    async def run(
        self, rollout: Rollout, plan: Plan, control: Control, *, start: int = 0, waiting: bool = False
    ) -> Rollout:
        """Run the plan from position `start` to one of the ends. Cancelled (the manager stops), it leaves all as is.

        waiting   the step at `start` was begun and is what the paused rollout waits in: it is run again
        """
        journal = Journal(self._world, rollout, plan, Absence(rollout.spec.max_failed_hosts))
        try:
            for position in range(start, plan.commit_position + 1):
                if not (waiting and position == start):
                    await self._gate(journal, control)
                await self._step(journal, plan, position, control)
        except LeaseLost:
            raise
        except Exception as error:
            return await self._fail(journal, plan, error)
        return await self.finish(journal.rollout, plan, journal.absence)

    async def finish(self, rollout: Rollout, plan: Plan, absence: Absence | None = None) -> Rollout:
        """Past the commit: every step left is run; one that fails is a warning, the monitor tidies up after it. Raises
        StoreUnavailable, to be called again: what was begun, or is yet to be, is then run.

        Behind a guard that fails nothing more is done: the router may still send requests to what would be stopped.
        """
        journal = Journal(self._world, rollout, plan, absence and absence.excused())
        done: dict[int, StepStatus] = {
            record.position: record.status
            for record in self._world.store.journal(rollout.id)
            if not record.undo and record.status is not StepStatus.running
        }
        for position in range(plan.commit_position + 1, len(plan.steps)):
            if position not in done:
                done[position] = await self._finish_step(journal, plan.steps[position], position)
            if plan.steps[position].guards and done[position] is StepStatus.failed:
                journal.event("warning", "The rest is left to the monitor, until the router has the new routing.")
                break
        journal.move(RolloutStatus.succeeded, message=f"{_DONE[rollout.kind]} {rollout.deployment} {rollout.version}")
        return journal.rollout

    async def unwind(self, rollout: Rollout, plan: Plan | None, absence: Absence | None = None) -> Rollout:
        """Undo every step that was begun and is not undone yet, last one first."""
        journal = Journal(self._world, rollout, plan, absence and absence.excused())
        self._close_interrupted(journal, "interrupted: the manager was stopped while this step ran", undo=False)
        records = self._world.store.journal(rollout.id)
        begun = {record.position for record in records if not record.undo}
        undone = {record.position for record in records if record.undo and record.status is StepStatus.completed}
        for position in sorted(begun - undone, reverse=True):
            assert plan is not None
            step = plan.steps[position]
            if step.undoable and (error := await self._undo(journal, step, position)) is not None:
                journal.move(
                    RolloutStatus.stuck,
                    message=f"Undoing {step.name} failed: {sentence(error)} Mend that, then deploy or roll back again: "
                    "it first undoes the rest.",
                )
                return journal.rollout
        failure = journal.rollout.failure
        why = sentence(failure.message if failure else "The rollout was interrupted")
        before = [r for r in self._world.store.left_behind(rollout.deployment) if r.number < rollout.number]
        if before:
            # It came to clean up after them and did not get that far: what they have left is not forgotten with it.
            for earlier in before:
                # An undo of it that a manager was killed in: the next one tries it again, from here.
                left = Journal(self._world, earlier, None)
                self._close_interrupted(left, "interrupted: the manager was stopped while this was undone", undo=True)
            message = f"{why} Rollout {before[0].number} is yet to be undone: the next deploy or rollback does that."
            journal.move(RolloutStatus.stuck, message=message)
        else:
            message = f"{why} Everything was undone; {_serving(self._world, rollout)}."
            journal.move(RolloutStatus.unwound, message=message)
        return journal.rollout

    # --- private

    def _close_interrupted(self, journal: Journal, why: str, *, undo: bool) -> None:
        """Steps (undo: undos) that were begun, and whose end was not written down, have failed."""
        for record in self._world.store.journal(journal.rollout.id):
            if record.status is StepStatus.running and record.undo == undo:
                journal.fail(record, why)

    async def _gate(self, journal: Journal, control: Control) -> None:
        """Between two steps: the place to pause, and to notice an abort."""
        if control.abort_reason is not None:
            raise RolloutAborted(f"Aborted: {control.abort_reason}", cause=control.abort_reason)
        if control.pause_wanted:
            if journal.rollout.status is not RolloutStatus.paused:
                journal.move(RolloutStatus.paused, message="Paused: resume, promote or abort it.")
            async with beside(keep_serving(self._world, journal.rollout.deployment)):
                await control.resumed()
        if journal.rollout.status is RolloutStatus.paused:
            if control.abort_reason is None:
                journal.move(RolloutStatus.running, message="Resumed.")
            else:
                raise RolloutAborted(f"Aborted: {control.abort_reason}", cause=control.abort_reason)

    async def _step(self, journal: Journal, plan: Plan, position: int, control: Control) -> None:
        step = plan.steps[position]
        record = journal.begin(position, step)
        try:
            message = await self._bounded(step, journal, record, control=control)
        except StepWarning as warning:
            journal.fail(record, str(warning), tolerated=True)
            return
        except LeaseLost:
            raise
        except Exception as error:
            if not isinstance(error, LongshoreError):
                log.error("step %s raised", record.name, exc_info=error)
            journal.fail(record, _in_full(error))
            raise _as_failure(error, step.name) from error
        if isinstance(step, Commit):
            with self._world.store.transaction():
                write_commit(self._world.store, journal.rollout, step, self._world.clock.now())
                journal.complete(record, message)
                journal.move(RolloutStatus.committed)
        else:
            journal.complete(record, message)

    async def _fail(self, journal: Journal, plan: Plan, error: Exception) -> Rollout:
        failure = describe(journal.rollout, error)
        self._close_interrupted(journal, f"its end could not be written down: {failure.message}", undo=False)
        new = journal.rollout.kind in (RolloutKind.deploy, RolloutKind.change)
        holds = new and not journal.rollout.spec.rollback_on_failure
        if holds and failure.code != RolloutAborted.code:
            commit, records = plan.commit_position, self._world.store.journal(journal.rollout.id)
            if any(record.position == commit for record in records):
                # What is committed is not held, it is what serves: `current` names that. Where it cannot be put back
                # now, whoever cleans up tries it again.
                await self._undo(journal, plan.steps[commit], commit)
            journal.move(
                RolloutStatus.held,
                failure=failure,
                message=f"{sentence(failure.message)} Held for inspection (rollback_on_failure is false): what serves "
                "keeps serving; the next deploy or rollback cleans up.",
            )
            return journal.rollout
        journal.move(RolloutStatus.unwinding, failure=failure, message="Undoing everything.")
        return await self.unwind(journal.rollout, plan, journal.absence)

    async def _finish_step(self, journal: Journal, step: Step, position: int) -> StepStatus:
        record = journal.begin(position, step)
        try:
            # A guard is tried again: a router that is just being restarted must not leave the old version running.
            if step.guards:
                message = await self._patiently(step, journal, record)
            else:
                message = await self._bounded(step, journal, record, control=None)
        except (LeaseLost, StoreUnavailable):
            raise  # every step past the commit can be repeated: it is, once it can be written down
        except Exception as error:
            log.warning("step %s failed after the commit", record.name, exc_info=error)
            journal.fail(record, _told(error), tolerated=True)
            return StepStatus.failed
        journal.complete(record, message)
        return StepStatus.completed

    async def _undo(self, journal: Journal, step: Step, position: int) -> Exception | None:
        """None: it is undone; otherwise how its last try failed."""
        record = journal.begin(position, step, undo=True)
        try:
            message = await self._patiently(step, journal, record)
        except (LeaseLost, StoreUnavailable):
            raise  # nobody is needed: it is taken up again once it can be written down
        except Exception as error:
            log.error("undo of %s failed", record.name, exc_info=error)
            journal.fail(record, _told(error))
            return error
        journal.complete(record, message or "nothing to undo")
        return None

    async def _patiently(self, step: Step, journal: Journal, record: StepRecord) -> str:
        """As _bounded(), tried again after UNDO_PAUSES_S."""
        for pause in UNDO_PAUSES_S:
            try:
                return await self._bounded(step, journal, record, control=None)
            except LeaseLost:
                raise
            except Exception as error:
                journal.say(record, f"warning: {_told(error)}; trying again")
                await self._world.clock.sleep(pause)
        return await self._bounded(step, journal, record, control=None)

    async def _bounded(self, step: Step, journal: Journal, record: StepRecord, *, control: Control | None) -> str:
        """Run (or undo) one step under its bound without progress, and so that an abort ends it at once."""
        clock, advanced = self._world.clock, self._world.clock.monotonic()

        def advance() -> None:
            nonlocal advanced
            advanced = clock.monotonic()

        def paused() -> bool:
            return journal.rollout.status is RolloutStatus.paused

        def pause(message: str) -> None:
            if not paused():
                journal.move(RolloutStatus.paused, message=message)

        context = Context(
            self._world,
            journal.rollout,
            say=lambda message: journal.say(record, message),
            advance=advance,
            promoted=control.promotion() if control is not None else asyncio.Event().wait,
            pause=pause,
            note=lambda message: journal.note(record, message),
            judged=journal.judge,
            absence=journal.absence,
        )
        work = asyncio.ensure_future(step.undo(context) if record.undo else step.run(context))
        bound = step.bound(journal.rollout.spec)
        abort = asyncio.ensure_future(control.aborted()) if control is not None else None
        try:
            while True:
                left = None if bound is None or paused() else advanced + bound - clock.monotonic()
                late = asyncio.ensure_future(_sleep(self._world, left)) if left is not None else None
                try:
                    waiting = {future for future in (work, abort, late) if future is not None}
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if late is not None:
                        late.cancel()
                if work.done():
                    return work.result()
                if abort is not None and abort.done():
                    assert control is not None
                    raise RolloutAborted(f"Aborted: {control.abort_reason}", cause=control.abort_reason or "")
                if bound is not None and not paused() and advanced + bound <= clock.monotonic():
                    raise RolloutFailed(f"{record.name} got nowhere for {format_duration(bound)} and was given up.")
        finally:
            if abort is not None:
                abort.cancel()
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if not work.cancelled():
                work.exception()  # retrieved, whoever raises instead


def describe(rollout: Rollout, error: Exception) -> Failure:
    """Why it failed, as the API tells it. Of a rollback every failure is ROLLBACK_FAILED, its own code in the cause."""
    if not isinstance(error, LongshoreError):
        return Failure(RolloutFailed.code, f"Something went wrong inside the manager: {_told(error)}", "", _told(error))
    code = error.code if isinstance(error, RolloutFailed) else RolloutFailed.code
    failure = Failure(code, error.message, error.operation, error.cause)
    if rollout.kind is RolloutKind.rollback and code != RolloutAborted.code:
        return replace(failure, code=RollbackFailed.code, cause=f"{code}: {error.cause or error.message}")
    return failure


def _as_failure(error: Exception, operation: str) -> Exception:
    if isinstance(error, LongshoreError):
        error.operation = error.operation or operation
        return error
    return RolloutFailed(f"{operation} failed: {_told(error)}", operation=operation, cause=_told(error))


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__


def _in_full(error: Exception) -> str:
    """What a step's record says: also the output that the one-line message leaves to `cause`."""
    cause = error.cause if isinstance(error, LongshoreError) else ""
    return f"{_told(error)}\n{cause}" if cause and not _told(error).endswith(cause) else _told(error)


def _serving(world: World, rollout: Rollout) -> str:
    deployment = world.store.deployment(rollout.deployment)
    if deployment is None or deployment.current_version is None:
        return "nothing serves"
    return f"{deployment.current_version} serves"


def _sleep(world: World, seconds: float) -> Coroutine[Any, Any, None]:
    return world.clock.sleep(max(0.0, seconds))
