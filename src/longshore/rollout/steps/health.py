"""Waiting for readiness, and the check under traffic that precedes the commit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from longshore.errors import HealthCheckFailed
from longshore.health.readiness import NotReady
from longshore.model import Spec
from longshore.rollout.plan import Context, Step
from longshore.rollout.steps.instances import any_lost, await_ready, is_absent


@dataclass(frozen=True)
class AwaitReady(Step):
    """Every one of these instances has passed its health check often enough in a row, and for `min_ready`."""

    kind: ClassVar[str] = "await_ready"
    instances: tuple[str, ...]
    #: probes in a row that are enough; None: the spec's healthy_threshold
    successes: int | None = None

    def describe(self) -> str:
        return f"wait until {len(self.instances)} instance{'s are' if len(self.instances) != 1 else ' is'} ready"

    def bound(self, spec: Spec) -> float | None:
        return spec.progress_deadline + spec.health_check.min_ready

    async def run(self, context: Context) -> str:
        readiness, ready = context.world.readiness, 0

        async def one(id: str) -> None:
            nonlocal ready
            await await_ready(context, id, context.spec, successes=self.successes)
            if is_absent(context, id):
                return
            if context.spec.health_check.min_ready > 0:
                await readiness.await_steady(id, context.spec)
            ready += 1
            context.advance()
            if len(self.instances) > 1:
                context.say(f"{ready} of {len(self.instances)} instances are ready")

        try:
            async with asyncio.TaskGroup() as group:
                for id in self.instances:
                    group.create_task(one(id))
        except ExceptionGroup as failures:
            first = failures.exceptions[0]
            if not isinstance(first, NotReady):
                raise first from first.__cause__  # what is wrong with the store is told as that, not as a group
            raise HealthCheckFailed(str(first), cause=first.cause) from first
        return f"{ready} of {len(self.instances)} instances are ready"


@dataclass(frozen=True)
class HealthCheck(Step):
    """The whole answers as its users meet it: each instance, the public port, and a health URL elsewhere."""

    kind: ClassVar[str] = "health_check"
    instances: tuple[str, ...]

    def describe(self) -> str:
        return "check each instance and the public address under traffic"

    async def run(self, context: Context) -> str:
        readiness = context.world.readiness
        present = tuple(id for id in self.instances if not is_absent(context, id))
        checks = readiness.whole_checks(context.spec, present)
        results = await asyncio.gather(*(readiness.await_check(check, context.spec) for check in checks))
        problems = [await readiness.ended(id) for id in present]
        problems += [None if result.ok else result.message for result in results]
        if problem := next((problem for problem in problems if problem is not None), None):
            if await any_lost(context, present):
                return await self.run(context)  # of those that are left
            raise HealthCheckFailed(f"The check under traffic failed: {problem}", cause=problem)
        return f"{len(results)} check{'s' if len(results) != 1 else ''} passed" if results else "nothing to check"
