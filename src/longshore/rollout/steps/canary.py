"""Watch a candidate at one weight."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar, Literal

from longshore.durations import format_duration
from longshore.errors import HealthCheckFailed
from longshore.model import Spec
from longshore.rollout.analysis import Verdict, judge, window
from longshore.rollout.plan import Context, Step
from longshore.routers.base import Figures

#: seconds between two looks at the figures: a bad candidate is found within about that, and reading costs 20-30 ms
LOOK_EVERY_S = 1.0
#: seconds between two lines of progress with new figures: a candidate may be watched for days
SAY_EVERY_S = 15.0


@dataclass(frozen=True)
class WatchCanary(Step):
    """The candidate has been watched for `pause` seconds and was no worse than allowed.

    pause   "manual": until promote or resume
    """

    kind: ClassVar[str] = "watch_canary"
    weight: int
    pause: float | Literal["manual"]
    #: ids of the pools that are compared; None: nothing is routed, health alone decides
    stable: str | None
    candidate: str | None
    instances: tuple[str, ...]

    def describe(self) -> str:
        span = "until promoted or resumed" if self.pause == "manual" else f"for {format_duration(self.pause)}"
        return f"watch the candidate at {self.weight} % {span}"

    def bound(self, spec: Spec) -> float | None:
        return None if self.pause == "manual" else self.pause + spec.progress_deadline

    async def run(self, context: Context) -> str:
        world, limits = context.world, context.spec.canary.analysis
        before = await self._read(context)
        promoted = asyncio.ensure_future(context.promoted())
        ends = None if self.pause == "manual" else world.clock.monotonic() + self.pause
        say_again = 0.0
        try:
            while True:
                left = LOOK_EVERY_S if ends is None else ends - world.clock.monotonic()
                nap = asyncio.ensure_future(world.clock.sleep(max(0.0, min(LOOK_EVERY_S, left))))
                try:
                    await asyncio.wait({nap, promoted}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    nap.cancel()
                for id in self.instances:
                    if problem := world.readiness.problem(id):
                        raise HealthCheckFailed(f"The candidate failed at {self.weight} %: {problem}", cause=problem)
                after = await self._read(context)
                judgement = judge(window(before[0], after[0]), window(before[1], after[1]), limits)
                if judgement.verdict is Verdict.failed:
                    raise HealthCheckFailed(
                        f"The candidate was judged worse at {self.weight} %: {judgement.reason}",
                        cause=judgement.reason,
                    )
                if judgement.verdict is not Verdict.inconclusive and world.clock.monotonic() >= say_again:
                    say_again = world.clock.monotonic() + SAY_EVERY_S
                    context.say(judgement.reason)
                if promoted.done():
                    return f"promoted by hand: {judgement.reason}"
                if ends is not None and world.clock.monotonic() >= ends:
                    break
        finally:
            promoted.cancel()
        if self.candidate is None:
            return "healthy; nothing is routed, so there are no figures"
        if self.weight == 100:
            return "healthy; with all the traffic on the candidate there is nothing to compare it with"
        if judgement.verdict is Verdict.inconclusive:
            return f"warning: judged on health alone: {judgement.reason}"
        return judgement.reason

    async def _read(self, context: Context) -> tuple[Figures | None, Figures | None]:
        if self.stable is None or self.candidate is None:
            return None, None
        router = context.world.router
        return (
            await router.figures(context.name, self.stable),
            await router.figures(context.name, self.candidate),
        )
