"""Which deployments there are: a mixture, so that what only some of them have is in the soak as well."""

from __future__ import annotations

import math
import random
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from longshore.demo.stage import Stage
from longshore.rollout.strategies import STRATEGIES

#: each slow request, stream and WebSocket; well below the drain_timeout, so none may be cut by a rollout
HELD_S = 3.0
#: How long a recreate may hold requests back: as long as the drain and the start of the new instances may take, which
#: on a machine at its limit comes to more than the half minute that is the default. p99 and the longest are told.
HELD_BACK_S = 90.0
#: how long an old set is kept warm after a blue-green switch
KEPT_WARM_S = 5.0
#: operations that are remembered of each deployment: more than there are between two looks
TURNS = 50
#: A machine at its limit answers health checks late: that is load, not illness.
CHECKS = {"interval": "2s", "timeout": "2s", "deadline": "30s", "healthy_threshold": 1}
QUICK_TO_JUDGE = {**CHECKS, "interval": "300ms", "timeout": "500ms", "deadline": "800ms"}
SHORT_CANARY = [{"weight": 20, "pause": "500ms"}, {"weight": 50, "pause": "500ms"}, {"weight": 100}]


@dataclass(frozen=True, slots=True)
class Role:
    """What is particular about a deployment.

    replicas      those it may have; where 1 is among them its instances are not killed: nobody else could answer
    needs         names of deployments that it depends on
    start_s       what its application does before it listens
    files_only    nothing runs
    """

    name: str
    loaded: bool = True
    strategies: tuple[str, ...] = tuple(STRATEGIES)
    replicas: tuple[int, ...] = (2, 3)
    needs: tuple[str, ...] = ()
    start_s: float = 0.0
    files_only: bool = False

    @property
    def killable(self) -> bool:
        return not self.files_only and min(self.replicas) > 1


#: the first ones of a soak; the others are ordinary: app-N with two or three instances, small-N with one or two
SPECIAL = (
    Role("files", loaded=False, files_only=True),
    Role("base", strategies=("rolling", "canary")),
    Role("upper", needs=("base",)),
    Role("slow", start_s=2.0),
    Role("warm", strategies=("blue-green",)),
    Role("passing", loaded=False),
)


def roles(deployments: int) -> Iterator[Role]:
    yield from SPECIAL
    for number in range(deployments - len(SPECIAL)):
        yield Role(f"small-{number}", replicas=(1, 2)) if number % 4 == 3 else Role(f"app-{number}")


@dataclass
class Turn:
    """One operation on a deployment, between two moments of time.monotonic(); ended None: it is under way."""

    name: str
    began: float
    ended: float | None = None


@dataclass
class App:
    """One deployment. kills: when (time.monotonic()) one of its instances was killed; turns: the last operations."""

    role: Role
    port: int
    chance: random.Random
    versions: Iterator[int] = field(default_factory=lambda: count(1))
    kills: list[float] = field(default_factory=list)
    turns: deque[Turn] = field(default_factory=lambda: deque(maxlen=TURNS))

    @property
    def name(self) -> str:
        return self.role.name

    def worked_on(self, since: float, until: float = math.inf) -> list[Turn]:
        """What was done with it between these moments of time.monotonic()."""
        return [turn for turn in self.turns if turn.began <= until and (turn.ended is None or turn.ended >= since)]


def spec(stage: Stage, app: App, *, broken: bool = False, **fields: Any) -> dict[str, Any]:
    """A deploy of the next version by a random strategy; `fields` override."""
    version, role = f"{app.name}.{next(app.versions)}", app.role
    if role.files_only:
        return {**files(stage, app.name, version, app.chance.choice(role.strategies)), **fields}
    run = [sys.executable, "app.py"]
    plain = stage.spec(version, app.chance.choice(role.strategies), broken=broken, name=app.name)
    return {
        **plain,
        "command": ["/bin/sh", "-c", f"sleep {role.start_s:g}; exec {' '.join(run)}"] if role.start_s else run,
        "health_check_url": f"http://127.0.0.1:{app.port}/health",
        "replicas": app.chance.choice(role.replicas),
        "health_check": {**QUICK_TO_JUDGE, "deadline": f"{role.start_s + 0.8:g}s"} if broken else CHECKS,
        "pre_deploy_hooks": ["sleep 0.1"],
        "post_deploy_hooks": ["true"],
        "dependencies": list(role.needs),
        "canary": {"steps": SHORT_CANARY, "analysis": {"on_inconclusive": "continue"}},
        "recreate": {"hold": f"{HELD_BACK_S:g}s"},
        "blue_green": {"keep_old": f"{KEPT_WARM_S:g}s"},
        "drain_timeout": f"{2 * HELD_S + 2:g}s",
        **fields,
    }


def files(stage: Stage, name: str, version: str, strategy: str) -> dict[str, Any]:
    """A deploy of files that nobody runs."""
    directory = stage.directory / "artifacts" / version
    directory.mkdir(parents=True)
    (directory / "index.html").write_text(f"{version}\n")
    return {"name": name, "version": version, "strategy": strategy, "artifact_path": str(directory)}
