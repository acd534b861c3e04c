"""Watch a candidate at one weight."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from longshore.concurrency import beside
from longshore.durations import format_duration
from longshore.errors import HealthCheckFailed
from longshore.model import RolloutStatus, Spec, Verdict
from longshore.rollout.plan import Context, Step
from longshore.rollout.steps.hooks import end_commands, run_command
from longshore.rollout.steps.variables import variables_of
from longshore.rollout.tending import keep_serving

if TYPE_CHECKING:
    from longshore.rollout.analysis.judge import Judgement

#: seconds between two looks at the figures: a bad candidate is found within about that, and reading costs 20-30 ms
LOOK_EVERY_S = 1.0
#: seconds between two lines of progress with new figures, at first and, doubling, at last: each is stored, and a
#: candidate may be watched for days
SAY_AFTER_S, SAY_EVERY_S = 15.0, 900.0


@dataclass(frozen=True)
class WatchCanary(Step):
    """The candidate has been watched for `pause` seconds and was no worse than allowed, or a person has let it go on.

    pause   "manual": until promote or resume
    """

    kind: ClassVar[str] = "watch_canary"
    weight: int
    pause: float | Literal["manual"]
    #: ids of the pools that are compared; None: nothing is routed, health alone decides
    stable: str | None
    candidate: str | None
    instances: tuple[str, ...]
    #: how many watches of the canary share its false-alarm rate
    watches: int = 1
    #: some of the checks run commands
    commands: bool = False

    @property
    def undoable(self) -> bool:
        return self.commands

    @property
    def without_figures(self) -> str | None:
        """Why the figures are no matter."""
        if self.candidate is None:
            return "nothing is routed, so there are no figures"
        return "not watched, as its pause is 0s" if self.pause == 0 else None

    def describe(self) -> str:
        span = "until promoted or resumed" if self.pause == "manual" else f"for {format_duration(self.pause)}"
        return f"watch the candidate at {self.weight} % {span}"

    def bound(self, spec: Spec) -> float | None:
        if self.pause == "manual":
            return None
        # Checks are asked once more at the end, each within a bound of its own.
        return self.pause + spec.progress_deadline + max((c.timeout for c in spec.canary.analysis.checks), default=0.0)

    async def run(self, context: Context) -> str:
        async with beside(keep_serving(context.world, context.name)):
            return await self._watch(context)

    async def undo(self, context: Context) -> str:
        return await end_commands(context) if self.commands else ""

    async def _watch(self, context: Context) -> str:
        again = context.rollout.status is RolloutStatus.paused
        if again and self.commands:
            await end_commands(context)
        promoted = asyncio.ensure_future(context.promoted())
        watch = _Watch(self, context, promoted)
        try:
            await watch.begin()
            if again:
                context.say(f"watching the candidate at {self.weight} % again, until promoted or resumed")
            elif self.pause == "manual":
                await watch.wait(f"Waiting at {self.weight} %: promote or resume it, or abort it.")
            else:
                await watch.until(context.world.clock.monotonic() + self.pause)
            if again:
                await watch.until(None)
            elif self.pause != "manual" and not promoted.done():
                await watch.ask_all()
                if watch.judgement().verdict is Verdict.inconclusive:
                    return await self._inconclusive(context, watch)
            return self._ending(context, watch)
        finally:
            promoted.cancel()
            await watch.close()

    async def _inconclusive(self, context: Context, watch: _Watch) -> str:
        reason = watch.judgement().reason
        watch.tell()
        match context.spec.canary.on_inconclusive:
            case "continue":
                return f"warning: judged on health alone: inconclusive: {reason}"
            case "abort":
                raise HealthCheckFailed(f"The candidate could not be judged at {self.weight} %: {reason}", cause=reason)
            case "pause":
                await watch.wait(f"Inconclusive at {self.weight} %: {reason}. Promote or resume it, or abort it.")
                return self._ending(context, watch)

    def _ending(self, context: Context, watch: _Watch) -> str:
        judgement = watch.judgement()
        watch.tell()
        said = f"{judgement.verdict}: {judgement.reason}"
        if watch.promoted.done():
            said = f"promoted by hand: {said}"
        context.note(said)
        return said


class _Watch:
    """One watch while it goes on: looks each second, and raises as soon as the candidate is judged worse."""

    def __init__(self, step: WatchCanary, context: Context, promoted: asyncio.Future[None]) -> None:
        from longshore.rollout.analysis.panel import Panel  # here, since only canaries need it: a hundredth of a start

        self._step, self._context, self.promoted = step, context, promoted
        self._clock, self._say_at, self._say_after = context.world.clock, 0.0, SAY_AFTER_S
        self._without = step.without_figures
        if "figures" not in context.world.router_of(context.spec.environment).capabilities():
            self._without = self._without or "whoever sends the requests here tells no figures"
        variables = {**variables_of(context), "CANARY_WEIGHT": str(step.weight)}
        self._panel = Panel(
            context.spec.canary.analysis,
            self._clock,
            variables,
            lambda command, timeout_s, more: run_command(
                context, command, purpose="canary_check", timeout_s=timeout_s, variables={**variables, **more}
            ),
            watches=step.watches,
            alone=step.weight == 100,
            without=self._without,
        )

    async def begin(self) -> None:
        await self._read()
        self._panel.begin()

    async def wait(self, message: str) -> None:
        """For a person, and watch on meanwhile."""
        if not self.promoted.done():
            self._context.pause(message)
        await self.until(None)

    async def until(self, ends: float | None) -> None:
        """Watch until then (on the monotonic clock), or until promoted. Raises HealthCheckFailed."""
        while not self.promoted.done() and (ends is None or self._clock.monotonic() < ends):
            left = LOOK_EVERY_S if ends is None else ends - self._clock.monotonic()
            nap = asyncio.ensure_future(self._clock.sleep(max(0.0, min(LOOK_EVERY_S, left))))
            try:
                await asyncio.wait({nap, self.promoted, *self._panel.tasks}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                nap.cancel()
            await self._look()

    async def ask_all(self) -> None:
        await self._panel.ask_all()
        await self._look()

    def judgement(self) -> Judgement:
        return self._panel.judgement()

    def tell(self) -> None:
        """In numbers, with the step and whatever is said of it from here on."""
        self._context.judged(self._panel.report(self._step.weight))

    async def close(self) -> None:
        await self._panel.close()

    # --- private

    async def _look(self) -> None:
        step, context = self._step, self._context
        for id in step.instances:
            if problem := context.world.readiness.problem(id):
                raise HealthCheckFailed(f"The candidate failed at {step.weight} %: {problem}", cause=problem)
        await self._read()
        judgement = self._panel.judgement()
        self.tell()
        if judgement.verdict is Verdict.failed:
            raise HealthCheckFailed(
                f"The candidate was judged worse at {step.weight} %: {judgement.reason}", cause=judgement.reason
            )
        if self._clock.monotonic() >= self._say_at:
            self._say_at = self._clock.monotonic() + self._say_after
            self._say_after = min(2 * self._say_after, SAY_EVERY_S)
            context.say(f"so far {judgement.verdict}: {judgement.reason}")

    async def _read(self) -> None:
        step, router = self._step, self._context.world.router
        if step.stable is not None and step.candidate is not None and not self._without:
            stable = await router.figures(self._context.name, step.stable)
            self._panel.look(stable, await router.figures(self._context.name, step.candidate))
