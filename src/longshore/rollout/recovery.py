"""What becomes of a rollout that no manager is at any more, by the one rule: before its commit undo, after it finish.

    running, unwinding ──► undone       paused ──► waits on       committed ──► finished

The stored plan is what is run or undone, never one planned anew. Where another version of Longshore has planned steps
that this one cannot read, what needs them is told and over, not tried again; what is committed serves in any case.
"""

from __future__ import annotations

from longshore import __version__
from longshore.errors import RolloutFailed
from longshore.model import Rollout, RolloutStatus, StepStatus
from longshore.rollout.committed import serve_committed
from longshore.rollout.control import Control
from longshore.rollout.engine import Engine, describe
from longshore.rollout.journal import Journal
from longshore.rollout.plan import Plan, decode_plan, unreadable_plan
from longshore.rollout.steps import STEPS
from longshore.rollout.world import World


class Recovery:
    def __init__(self, world: World, engine: Engine) -> None:
        self._world, self._engine = world, engine

    async def recover(self, rollout: Rollout, control: Control, why: str, cause: str) -> None:
        """Bring it to its end. why, cause: of its failure, where it has to be undone."""
        plan = self.plan_of(rollout)
        journal = Journal(self._world, rollout, plan)
        match rollout.status:
            case RolloutStatus.committed:
                assert plan is not None
                journal.event("info", "Interrupted after the commit: finishing.")
                if plan.unreadable:
                    # What it stops may still get requests, and the shift that ends this is not to be read.
                    await serve_committed(self._world, rollout)
                await self._engine.finish(rollout, plan)
            case RolloutStatus.paused if plan is not None and rollout.abort_requested is None:
                journal.event("info", "The manager was restarted: the rollout is still paused.")
                _warn_of_unreadable(journal, plan)
                begun = [r for r in self._world.store.journal(rollout.id) if not r.undo]
                # It waits between two steps, or in one that waits for a person.
                within = bool(begun) and begun[-1].status is StepStatus.running
                start = len(begun) - within
                waiting = within and plan.steps[start] not in plan.unreadable
                if not waiting:
                    control.pause()
                await self._engine.run(rollout, plan, control, start=start, waiting=waiting)
            case RolloutStatus.unwinding:
                await self._undo(rollout, plan)
            case _:
                interrupted = RolloutFailed(why, operation=_interrupted(self._world, rollout), cause=cause)
                failure = describe(rollout, interrupted)
                journal.move(RolloutStatus.unwinding, failure=failure, message=f"{failure.message} Undoing everything.")
                await self._undo(journal.rollout, plan)

    async def _undo(self, rollout: Rollout, plan: Plan | None) -> None:
        """As the engine does; stuck at a step that cannot be read, what is committed serves all the same."""
        ended = await self._engine.unwind(rollout, plan)
        if ended.status is RolloutStatus.stuck and plan is not None and plan.unreadable:
            version = await serve_committed(self._world, ended)
            Journal(self._world, ended, plan).event("warning", f"{version or 'nothing'} serves meanwhile.")

    def plan_of(self, rollout: Rollout) -> Plan | None:
        """The stored one, and never one planned anew. None: it was interrupted before it had one."""
        text = self._world.store.plan_of(rollout.id)
        if text is None:
            return None
        try:
            return decode_plan(text, STEPS)
        except ValueError as error:
            begun = [record for record in self._world.store.journal(rollout.id) if not record.undo]
            return unreadable_plan(begun, str(error), committed=rollout.status is RolloutStatus.committed)


def _warn_of_unreadable(journal: Journal, plan: Plan) -> None:
    """Whoever resumes it should know beforehand that this version cannot take it to its end."""
    if plan.unreadable:
        journal.event(
            "warning",
            f"Longshore {__version__} cannot read the step {plan.unreadable[0].name} of this rollout, which another "
            "version has planned: start that version again to resume it, or abort it. Resumed here it is undone.",
        )


def _interrupted(world: World, rollout: Rollout) -> str:
    """Name of the step that was under way."""
    records = [record for record in world.store.journal(rollout.id) if not record.undo]
    return records[-1].name if records else "plan"
