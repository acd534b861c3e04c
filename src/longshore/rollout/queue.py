"""What was asked for and cannot begin yet: it waits in the store, and begins when its turn has come.

    add()     the request waits: for its turn, or for another person's approval
    look()    begin what is first, where nothing is in progress: asked whenever a rollout ends, and at the start
    cancel()  it will not begin: aborted, superseded, too late, or no longer possible

A manager that is killed loses none of it: a row goes in the very transaction that opens its rollout, and what is left
begins with the next manager.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

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
from longshore.model import Ask, Rollout, Waiting, WaitingFor
from longshore.rollout.preparing import Prepared
from longshore.rollout.reserving import reserve
from longshore.rollout.terms import Terms
from longshore.rollout.world import World

log = logging.getLogger("longshore.queue")

#: more than these waiting for one deployment is a loop in somebody's pipeline
MOST = 10

Begin = Callable[[Waiting], Awaitable[Rollout]]


class Queue:
    def __init__(self, world: World, begin: Begin) -> None:
        """begin: prepares and opens the rollout of what waited; raises what a request would be answered."""
        self._world, self._begin = world, begin
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._left: dict[str, asyncio.Event] = {}
        world.look_at_queue = self.look

    def add(self, ask: Ask, prepared: Prepared, terms: Terms, reason: WaitingFor, timeout: float) -> Rollout:
        """Let it wait, at most `timeout` seconds; returns it `queued`. Raises DeploymentInProgress if too many do."""
        store, now, name = self._world.store, self._world.clock.now(), ask.deployment
        with store.transaction():
            terms.hold_for(name, store.deployment(name))
            if (number := len(store.waiting_of(name))) >= MOST:
                message = f"{number} requests wait for {name} already: abort some, or ask again when they are done."
                raise DeploymentInProgress(message, deployment=name, operation=ask.kind.value, cause="full")
            reserve(store, prepared.spec, runs=prepared.runs, now=now)
            waiting = Waiting(
                str(uuid7()), ask, prepared.spec, prepared.strategy, terms.caller, now, now + timeout, reason,
                override=terms.override, message=f"Waits for {_WHAT[reason]}, at most {format_duration(timeout)}.",
            )  # fmt: skip
            store.add_waiting(waiting)
            store.count_change(name, terms.caller)
            if terms.once is not None:
                store.remember_key(terms.once.caller, terms.once.key, "", waiting.id)
            self._world.tell(waiting.as_rollout())
            self._told(waiting, f"{terms.caller} asked for a {called(waiting)}. {waiting.message}")
        return waiting.as_rollout()

    def cancel(self, waiting: Waiting, message: str) -> bool:
        """It will not begin. False: it has begun, or was cancelled before."""
        with self._world.store.transaction():
            if not self._world.store.cancel_waiting(waiting, message):
                return False
            ended = self._world.store.waiting(waiting.id)
            assert ended is not None
            self._world.tell(ended.as_rollout())
            self._told(waiting, f"The {called(waiting)} of {waiting.requested_by} was cancelled: {message}")
        self._wake(waiting.id)
        return True

    def approve(self, waiting: Waiting, by: str, comment: str, timeout: float) -> None:
        """Now it waits for its turn only, at most `timeout` seconds."""
        with self._world.store.transaction():
            message = f"Approved by {by}; waits for its turn, at most {format_duration(timeout)}."
            until = self._world.clock.now() + timeout
            self._world.store.approve_waiting(waiting, by, expires_at=until, message=message)
            said = f": {comment}" if comment else ""
            self._told(waiting, f"{by} approved the {called(waiting)} of {waiting.requested_by}{said}")
        self.look(waiting.ask.deployment)

    def look(self, name: str | None = None) -> None:
        """Begin what is first in line where nothing is in progress; cancel what waited too long. None: everywhere."""
        for each in self._world.store.who_waits() if name is None else (name,):
            self._expire(each)
            if each not in self._tasks:
                task = asyncio.create_task(self._begin_next(each), name=f"queue of {each}")
                self._tasks[each] = task
                task.add_done_callback(partial(self._over, each))

    async def left(self, id: str) -> None:
        """Wait until it waits no more: it has begun, or was cancelled."""
        waiting = self._world.store.waiting(id)
        if waiting is not None and waiting.ended_at is None:
            await self._left.setdefault(id, asyncio.Event()).wait()

    async def close(self) -> None:
        """What waits is kept for the next manager."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- private

    async def _begin_next(self, name: str) -> None:
        store = self._world.store
        while store.open_rollout_of(name) is None:
            first = next((w for w in store.waiting_of(name) if w.waiting_for is WaitingFor.turn), None)
            if first is None:
                return
            try:
                await self._begin(first)
            except (LeaseLost, DeploymentInProgress, DeploymentLocked, DeploymentsFrozen):
                return
            except InternalError as error:
                # It was cancelled at this moment, or the store cannot be written: the next look finds out.
                log.warning("the %s of %s could not begin: %s", first.ask.kind, name, error)
                return
            except LongshoreError as error:
                self.cancel(first, f"It could not begin: {error.message}")
            else:
                self._wake(first.id)

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what waits for %s could not begin", name, exc_info=error)

    def _expire(self, name: str) -> None:
        for waiting in self._world.store.waiting_of(name):
            if self._world.clock.now() >= waiting.expires_at:
                waited = format_duration(round(waiting.expires_at - waiting.since))
                self.cancel(waiting, f"It waited {waited} for {_WHAT[waiting.waiting_for]}, and that did not come.")

    def _wake(self, id: str) -> None:
        if (event := self._left.pop(id, None)) is not None:
            event.set()

    def _told(self, waiting: Waiting, message: str) -> None:
        self._world.event(waiting.ask.deployment, "info", message, source="queue", rollout_id=waiting.id)


_WHAT = {WaitingFor.turn: "its turn", WaitingFor.approval: "the approval of somebody else"}


def called(waiting: Waiting) -> str:
    return f"{waiting.ask.kind} of {waiting.spec.version}"
