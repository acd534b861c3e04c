"""What must be healthy before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from longshore.errors import DependencyUnhealthy
from longshore.model import Health
from longshore.rollout.plan import Context, Step


@dataclass(frozen=True)
class CheckDependencies(Step):
    """Each named deployment is healthy now."""

    kind: ClassVar[str] = "check_dependencies"
    names: tuple[str, ...]

    def describe(self) -> str:
        return f"check that {', '.join(self.names)} is healthy" if self.names else "no dependencies to check"

    async def run(self, context: Context) -> str:
        for name in self.names:
            health = await context.world.ask_health(name)
            if health is not Health.healthy:
                found = context.world.store.deployment(name)
                how, remedy = (
                    ("stopped", "Start it") if found is not None and found.stopped else (str(health), "Mend it")
                )
                raise DependencyUnhealthy(
                    f"{context.name} depends on {name}, which is {how}. {remedy} first, or leave it out of "
                    "dependencies.",
                    cause=f"{name} is {how}",
                )
        return f"healthy: {', '.join(self.names)}" if self.names else "no dependencies"
