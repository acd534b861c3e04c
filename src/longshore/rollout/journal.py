"""The journal of one rollout: what happened to each step, written before and after.

The write is the event: the row that makes a step durable, the progress message and the line in the history are one
transaction, and only when that is on disk do watchers hear of it. So the API, the WebSocket, the events and the log
never disagree.
"""

from __future__ import annotations

from dataclasses import replace

from longshore.masking import mask_text
from longshore.model import Failure, Rollout, RolloutStatus, StepRecord, StepStatus, VerdictReport
from longshore.rollout.absence import Absence
from longshore.rollout.plan import Plan, Step
from longshore.rollout.world import World


class Journal:
    def __init__(self, world: World, rollout: Rollout, plan: Plan | None, absence: Absence | None = None) -> None:
        self._world = world
        #: hosts that it goes on without
        self.absence = absence or Absence()
        self._steps = len(plan.steps) if plan is not None else 1
        self.rollout = rollout
        #: of the step that runs, as of now: goes with whatever is told of it
        self._verdict: VerdictReport | None = None

    def begin(self, position: int, step: Step, *, undo: bool = False) -> StepRecord:
        self._verdict = None
        record = StepRecord(self.rollout.id, position, step.name, undo, StepStatus.running, self._world.clock.now())
        with self._world.store.transaction():
            self._world.store.write_step(self.rollout.deployment, record)
            self._progress(record, "running", step.describe() if not undo else f"undo: {step.describe()}")
        return record

    def complete(self, record: StepRecord, message: str) -> None:
        message = self._shown(message)
        with self._world.store.transaction():
            done = replace(self._judged(record, message=message), status=StepStatus.completed)
            self._world.store.write_step(self.rollout.deployment, done)
            # A step that has to warn of something, though it is done, says so in the first word.
            if message.startswith("warning: "):
                self._progress(done, "warning", message.removeprefix("warning: "))
                self.event("warning", f"{record.name}: {message.removeprefix('warning: ')}")
            else:
                self._progress(done, "success", message)

    def fail(self, record: StepRecord, error: str, *, tolerated: bool = False) -> None:
        """tolerated: the rollout goes on, so watchers are only warned."""
        error = self._shown(error)
        with self._world.store.transaction():
            failed = replace(self._judged(record, error=error), status=StepStatus.failed)
            self._world.store.write_step(self.rollout.deployment, failed)
            self._progress(failed, "warning" if tolerated else "failed", error)
            # The history is read line by line; the output that may follow stands in the step.
            said = error.partition("\n")[0]
            self.event("warning" if tolerated else "error", f"{_called(record)} failed: {said}")

    def judge(self, verdict: VerdictReport) -> None:
        """What a candidate is judged by now: of the step that runs, and of all that is told until it has ended."""
        self._verdict = replace(verdict, reason=self._shown(verdict.reason))

    def say(self, record: StepRecord, message: str) -> None:
        """A line while a step runs."""
        message = self._shown(message)
        if message.startswith("warning: "):
            self._progress(record, "warning", message.removeprefix("warning: "))
        else:
            self._progress(record, "running", message)

    def note(self, record: StepRecord, message: str) -> None:
        """A line of the history from a step that runs."""
        self.event("info", f"{record.name}: {self._shown(message)}")

    def move(self, status: RolloutStatus, *, message: str = "", failure: Failure | None = None) -> None:
        """The rollout as a whole goes on, or ends."""
        message = self._shown(message)
        if failure is not None:
            failure = replace(failure, message=self._shown(failure.message), cause=self._shown(failure.cause))
        with self._world.store.transaction():
            before, store = self.rollout.status, self._world.store
            self.rollout = store.set_status(self.rollout, status, message=message, failure=failure)
            self._world.tell(self.rollout, before)
            over = not status.is_open
            if over or status is RolloutStatus.committed:
                self._world.store.count_change(self.rollout.deployment, self.rollout.requested_by)
            if over:
                outcome = "success" if status is RolloutStatus.succeeded else "failed"
                self._send("rollout", outcome, message or self.rollout.message, 100, last=True)
                self.event("info" if outcome == "success" else "error", message)
            elif message:
                self._send("rollout", "running" if status is not RolloutStatus.unwinding else "warning", message, 0)
                self.event("warning" if status is RolloutStatus.unwinding else "info", message)

    def event(self, type: str, message: str) -> None:
        if message:
            self._world.event(
                self.rollout.deployment,
                type,
                message,
                source=self.rollout.kind.value,
                rollout_id=self.rollout.id,
                verdict=self._verdict,
            )

    def _judged(self, record: StepRecord, *, message: str = "", error: str = "") -> StepRecord:
        ended = self._world.clock.now()
        return replace(record, ended_at=ended, message=message, error=error, verdict=self._verdict)

    def _shown(self, text: str) -> str:
        """What programs print ends up here, and from here in answers, histories and logs."""
        return mask_text(text, self.rollout.spec.configuration)

    def _progress(self, record: StepRecord, status: str, message: str) -> None:
        done = record.position + (record.status is not StepStatus.running)
        self._send(_called(record), status, message, 0 if record.undo else min(99, 100 * done // self._steps))

    def _send(self, step: str, status: str, message: str, pct: int, *, last: bool = False) -> None:
        store, bus = self._world.store, self._world.bus
        with store.transaction():
            progress = store.add_progress(
                self.rollout,
                step=step,
                status=status,
                message=message,
                progress_pct=pct,
                last=last,
                verdict=self._verdict,
            )
            store.db.after_commit(lambda: bus.publish(progress))


def _called(record: StepRecord) -> str:
    return f"undo {record.name}" if record.undo else record.name
