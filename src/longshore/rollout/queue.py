"""What was asked for and cannot begin yet: it waits in the store, and begins when its turn has come.

    add()       the request waits: for its turn, or for another person's approval
    look()      begin what is first, where nothing is in progress: asked whenever a rollout ends, and at the start
    make_way()  end what waits and what is in progress, for something that goes before it
    cancel()    it will not begin: aborted, superseded, too late, or no longer possible

A manager that is killed loses none of it: each of these is one transaction, a row goes in the very one that opens its
rollout, and what is left begins with the next manager.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from uuid_utils import uuid7

from longshore.durations import format_duration
from longshore.errors import (
    DeploymentInProgress,
    DeploymentLocked,
    DeploymentsFrozen,
    InternalError,
    LeaseLost,
    LongshoreError,
)
from longshore.model import Ask, Rollout, RolloutKind, RolloutStatus, Waiting, WaitingFor
from longshore.rollout.preparing import Prepared
from longshore.rollout.reserving import expect_staying, reserve
from longshore.rollout.runner import Runner
from longshore.rollout.terms import Terms
from longshore.rollout.world import World

log = logging.getLogger("longshore.queue")

#: more than these waiting for one deployment is a loop in somebody's pipeline
MOST = 10

Begin = Callable[[Waiting], Awaitable[None]]


class Queue:
    def __init__(self, world: World, runner: Runner, begin: Begin) -> None:
        """begin: prepares and opens the rollout of what waited; raises what a request would be answered."""
        self._world, self._runner, self._begin = world, runner, begin
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: what those wait for who were told "queued": None when it has begun, the cancelled request else
        self._left: dict[str, asyncio.Future[Waiting | None]] = {}
        self._closed = False
        world.look_at_queue = self.look

    def is_taken(self, name: str) -> bool:
        """Whether a rollout is in progress, or others wait for their turn."""
        return self._world.store.open_rollout_of(name) is not None or bool(self._line(name))

    def refuse_if_any(self, ask: Ask) -> None:
        """Raise DeploymentInProgress where others wait for their turn: between two rollouts nobody slips in."""
        if line := self._line(ask.deployment):
            raise DeploymentInProgress(
                f"{_requests(len(line))} for a turn at {ask.deployment} already, first the {called(line[0])} of "
                f"{line[0].requested_by}. Wait for that, ask with on_conflict queue or supersede, or roll back.",
                deployment=ask.deployment,
                operation=ask.kind.value,
                cause=f"{line[0].id} is next",
                rollout_id=line[0].id,
                started_by=line[0].requested_by,
            )

    def add(self, ask: Ask, prepared: Prepared, terms: Terms, reason: WaitingFor, timeout: float) -> Rollout:
        """Let it wait, at most `timeout` seconds; returns it as `queued`.

        What is to supersede makes way at once, or where it needs an approval, with that.
        Raises DeploymentInProgress if too many wait, PreconditionFailed, SpecInvalid
        """
        store, now, name = self._world.store, self._world.clock.now(), ask.deployment
        with store.transaction():
            deployment = store.deployment(name)
            terms.hold_for(name, deployment)
            expect_staying(name, deployment)
            if deployment is None:
                reserve(store, prepared.spec, runs=prepared.runs, now=now)
            waiting = Waiting(
                str(uuid7()), ask, prepared.spec, prepared.strategy, terms.caller, now, now + timeout, reason,
                supersedes=terms.on_conflict == "supersede", override=terms.override,
            )  # fmt: skip
            if waiting.supersedes and reason is WaitingFor.turn:
                self.make_way(name, f"{terms.caller} asked for a {called(waiting)} instead", supersede=True)
            if (number := len(store.waiting_of(name))) >= MOST:
                raise DeploymentInProgress(
                    f"{_requests(number)} for {name} already: abort some, or ask again when they are done.",
                    deployment=name,
                    operation=ask.kind.value,
                    cause="the queue is full",
                )
            message = f"Waits for {self._what_for(waiting)}, at most {format_duration(timeout)}."
            store.add_waiting(waiting, message)
            store.count_change(name, terms.caller)
            if terms.once is not None:
                store.remember_key(terms.once.caller, terms.once.key, "", waiting.id)
            added = self._told(waiting, f"{terms.caller} asked for a {called(waiting)}. {message}").as_rollout()
            self._world.tell(added, None)
        self.look(name)
        return added

    def cancel(self, waiting: Waiting, message: str, *, by: str | None = None) -> bool:
        """It will not begin. False: it has begun, or was cancelled before. by: who asked for that alone."""
        store, name = self._world.store, waiting.ask.deployment
        with store.transaction():
            if not store.cancel_waiting(waiting, message):
                return False
            if by is not None:
                store.count_change(name, by)
            ended = self._told(waiting, f"The {called(waiting)} of {waiting.requested_by} was cancelled: {message}")
            self._world.tell(ended.as_rollout(), RolloutStatus.queued)
            store.db.after_commit(lambda: self._leave(waiting.id, ended))
        return True

    def make_way(
        self, name: str, why: str, *, supersede: bool = False, before: Waiting | None = None
    ) -> Rollout | None:
        """Cancel what waits, and have what is in progress aborted. Returns that; past its commit it only ends.

        supersede   a rollback is not aborted: a pipeline that supersedes is not to undo what a person takes back
        before      cancel only what was asked for before this
        """
        store = self._world.store
        with store.transaction():
            for waiting in store.waiting_of(name):
                if before is not None and waiting.id == before.id:
                    break
                self.cancel(waiting, f"{why}.")
            opened = store.open_rollout_of(name)
            if opened is not None and not (supersede and opened.kind is RolloutKind.rollback):
                self._runner.ask_abort(opened, why)
        return opened

    def approve(self, waiting: Waiting, by: str, comment: str, timeout: float) -> None:
        """Now it waits for its turn only, at most `timeout` seconds."""
        store, name = self._world.store, waiting.ask.deployment
        with store.transaction():
            if waiting.supersedes:
                why = f"{by} approved the {called(waiting)} that {waiting.requested_by} asked for instead"
                self.make_way(name, why, supersede=True, before=waiting)
            message = f"Approved by {by}; waits for its turn, at most {format_duration(timeout)}."
            store.approve_waiting(waiting, by, expires_at=self._world.clock.now() + timeout, message=message)
            store.count_change(name, by)
            said = f": {comment}" if comment else "."
            self._told(waiting, f"{by} approved the {called(waiting)} of {waiting.requested_by}{said}")
        self.look(name)

    def look(self, name: str | None = None) -> None:
        """Begin what is first in line where nothing is in progress; cancel what waited too long. None: everywhere."""
        if self._closed:
            return
        for each in self._world.store.who_waits() if name is None else (name,):
            task = self._tasks.get(each)
            if task is None or task.done():
                self._tasks[each] = asyncio.create_task(self._go_on(each), name=f"queue of {each}")

    async def left(self, id: str) -> Waiting | None:
        """Wait until it waits no more: None once it has begun, and where nothing of that id ever waited; else what was
        cancelled. Cancelling the wait changes nothing."""
        waiting = self._world.store.waiting(id)
        if waiting is None or waiting.ended_at is not None:
            return waiting
        return await asyncio.shield(self._left.setdefault(id, asyncio.get_running_loop().create_future()))

    async def close(self) -> None:
        """What waits is kept for the next manager."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- private

    async def _go_on(self, name: str) -> None:
        try:
            self._expire(name)
            await self._begin_next(name)
        except LeaseLost:
            return  # another manager goes on with it
        except InternalError as error:
            # The store cannot be written, say: the monitor looks again, as long as it may wait.
            log.warning("what waits for %s could not begin: %s", name, error)
        except Exception:
            log.exception("what waits for %s could not begin", name)
        finally:
            if self._tasks.get(name) is asyncio.current_task():
                del self._tasks[name]

    async def _begin_next(self, name: str) -> None:
        while self._world.store.open_rollout_of(name) is None and (line := self._line(name)):
            first = line[0]
            try:
                await self._begin(first)
            except (DeploymentLocked, DeploymentsFrozen):
                return  # since it was asked for: it begins when that is over, if it may wait so long
            except DeploymentInProgress:
                continue  # something else changed it at this moment
            except (LeaseLost, InternalError):
                if self._waits(first):
                    raise
            except LongshoreError as error:
                self.cancel(first, f"It could not begin: {error.message}")
            except Exception:
                log.exception("the %s of %s could not begin", called(first), name)
                self.cancel(first, "It could not begin: an error inside the manager; its log says more.")
            else:
                self._leave(first.id, None)

    def _expire(self, name: str) -> None:
        for waiting in self._world.store.waiting_of(name):
            if self._world.clock.now() >= waiting.expires_at:
                self.cancel(waiting, f"It waited too long for {_WHAT[waiting.waiting_for]}.")

    def _line(self, name: str) -> list[Waiting]:
        """What waits for its turn, first come first."""
        return [w for w in self._world.store.waiting_of(name) if w.waiting_for is WaitingFor.turn]

    def _waits(self, waiting: Waiting) -> bool:
        now = self._world.store.waiting(waiting.id)
        return now is not None and now.ended_at is None

    def _leave(self, id: str, cancelled: Waiting | None) -> None:
        """Tell who waits for it what became of it."""
        future = self._left.pop(id, None)
        if future is not None and not future.done():
            future.set_result(cancelled)

    def _told(self, waiting: Waiting, message: str) -> Waiting:
        """Write a line of the history, and tell watchers; returns the request as it is stored now."""
        store = self._world.store
        now = store.waiting(waiting.id)
        assert now is not None
        self._world.event(waiting.ask.deployment, "info", message, source="queue", rollout_id=waiting.id)
        store.db.after_commit(lambda: self._world.bus.publish(now.progress()))
        return now

    def _what_for(self, waiting: Waiting) -> str:
        if waiting.waiting_for is WaitingFor.approval:
            return _WHAT[waiting.waiting_for]
        line, opened = self._line(waiting.ask.deployment), self._world.store.open_rollout_of(waiting.ask.deployment)
        before: Waiting | Rollout | None = line[-1] if line else opened
        if before is None:
            return "its turn"
        return f"its turn behind the {called(before)} of {before.requested_by}"


_WHAT = {WaitingFor.turn: "its turn", WaitingFor.approval: "the approval of somebody else"}


def called(what: Waiting | Rollout) -> str:
    """deploy of 1.4.2"""
    kind = what.ask.kind if isinstance(what, Waiting) else what.kind
    return f"{kind} of {what.spec.version}"


def _requests(number: int) -> str:
    return "1 request waits" if number == 1 else f"{number} requests wait"
