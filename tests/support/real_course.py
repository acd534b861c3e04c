"""The course of a history on real processes: how a step is told, what is promised meanwhile, what comes in between."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine

from longshore.client import ApiError
from longshore.client.results import Rollout
from longshore.rollout.strategies.rolling import bounds
from support.ground import GRACE_S, NAMES, Ground
from support.manager import bounded
from support.outside import INVARIANTS, hooks_into, problems

MOODY = Path(__file__).with_name("moody_app.py")
#: kind of a release → its application's configuration
RELEASES = {
    "good": {},
    "slow": {"START_S": "1.5"},
    "deaf": {"DEAF": "1"},
    "sick": {"SICK_S": "2"},
    "broken": {},
    "late": {"START_S": "30"},
}
#: they serve, and go on to
GOOD = ("good", "slow", "deaf")
#: seconds from a step to where everything must hold: drains, the end of warm sets, the monitor's back-off
SETTLE_S = 60.0
OVER_S = 90.0
WARM_S = 2
#: nothing is deployed; nothing to go back to
REFUSALS = ("DEPLOYMENT_NOT_FOUND", "BACKUP_NOT_FOUND")
HOLDS = "all holds"


class RealCourse(RuleBasedStateMachine):
    #: of all histories: they begin and end with nothing deployed
    ground: ClassVar[Ground]

    def __init__(self) -> None:
        super().__init__()
        self.story: list[str] = []
        #: the first that Hypothesis makes up is the dullest there is, each time
        self.is_dull, self.ground.dull = self.ground.dull, False

    def teardown(self) -> None:
        if self.story:
            print("\n  ".join(["", *self.story]))
            self.told("back to no deployment", self.ground.clear)
            self.told(HOLDS, self.all_holds)

    def told(self, what: str, work: Callable[[], Awaitable[object]]) -> None:
        """One step; of the first that fails the whole story is told."""
        ground = self.ground
        # Nothing more is as it was after a failure, so nothing more is begun.
        if ground.failure is not None:
            return
        self.story.append(what)
        began = time.monotonic()

        async def step() -> None:
            await work()

        try:
            ground.do(step())
        except BaseException as error:
            error.add_note("the history:\n  " + "\n  ".join(self.story))
            ground.failure = error
            raise
        self.story[-1] += f" [{time.monotonic() - began:.1f} s]"

    # ------------------------------------------------------------------------------------------- what must hold

    async def all_holds(self) -> None:
        ground, until = self.ground, time.monotonic() + SETTLE_S
        assert ground.site.manager.alive, f"the manager ended by itself\n{ground.site.manager.tail()}"
        for what in INVARIANTS:
            while wrong := await problems(ground, what):
                assert time.monotonic() < until, f"not so within {SETTLE_S:g} s: {what}:\n" + "\n".join(wrong)
                await asyncio.sleep(0.1)
        for window in ground.windows:
            window.until = window.until or time.monotonic() + GRACE_S
        for name in NAMES:
            ground.promised[name] = self.promised_at_rest(name)
            if self.replicas(name):
                await ground.under_load(name)
        for name in ground.loads:
            ground.judge(name)
        assert not ground.broken, "\n".join(ground.broken)

    def promise(self, name: str, kind: str, strategy: str, replicas: int, unavailable: int) -> int | None:
        """Instances that take requests at every moment of such a rollout; None: nothing is promised."""
        now = self.promised_at_rest(name)
        if not now or kind == "sick" or strategy == "recreate":
            return None
        return min(now, bounds(replicas, 1, unavailable).fewest if strategy == "rolling" else replicas)

    def promised_of_the_same(self, name: str) -> int | None:
        now = self.promised_at_rest(name)
        if not now:
            return None
        rows = self.ground.site.rows(
            "SELECT spec FROM releases WHERE (deployment, version) IN "
            f"(SELECT name, current_version FROM deployments WHERE name = '{name}')"
        )
        rolling = json.loads(rows[0]["spec"])["rolling"]
        return min(now, bounds(now, rolling["max_surge"], rolling["max_unavailable"]).fewest)

    def promised_of_a_rollback(self, name: str) -> int | None:
        """By the strategy of what serves, to the version from before, where there is one that was ever healthy."""
        rows = self.ground.site.rows(
            "SELECT now.spec AS now, before.spec AS before FROM deployments d "
            "JOIN releases now ON now.deployment = d.name AND now.version = d.current_version "
            "JOIN releases before ON before.deployment = d.name AND before.version = d.previous_version "
            f"WHERE d.name = '{name}' AND before.state = 'kept' AND before.healthy_at IS NOT NULL"
        )
        if not rows:
            return None
        now, to = json.loads(rows[0]["now"]), json.loads(rows[0]["before"])
        kind = str(to["version"]).partition("-")[0]
        return self.promise(name, kind, now["strategy"], to["replicas"], to["rolling"]["max_unavailable"])

    def promised_at_rest(self, name: str) -> int | None:
        return self.replicas(name) if self.kind_of(name) in GOOD else None

    # ------------------------------------------------------------------------------------------- how it happens

    @property
    def client(self) -> Any:
        return self.ground.site.client

    def step(self, what: str, disturbance: str, at: float, act: Callable[[], Awaitable[object]]) -> None:
        if time.monotonic() < self.ground.end and not self.is_dull:
            self.ground.steps += 1
            self.told(f"{what}; {disturbance} at {at}", act)

    async def rollout(
        self,
        name: str,
        begin: Callable[[], Awaitable[Rollout]],
        disturbance: str,
        at: float,
        promise: int | None,
        expected: str | None,
        *,
        refusable: bool = True,
    ) -> None:
        """Begin it, let that happen at its moment, and wait until it is over.

        promise    instances that take requests at every moment of it; None: nothing is promised
        expected   status that it ends with where nothing came in between; None: any
        refusable  it may be refused because nothing is deployed
        """
        ground = self.ground
        before, ground.promised[name] = ground.promised.get(name), promise
        try:
            began = await begin()
        except ApiError as error:
            nothing_serves = error.code == "INVALID_DEPLOYMENT_SPEC" and not self.replicas(name)
            if not refusable or not (nothing_serves or error.code in REFUSALS):
                raise
            ground.promised[name] = before
            self.story[-1] += f" → {error.code}"
            return
        if disturbance != "none":
            await asyncio.sleep(at)
            await self.disturb(name, disturbance, began)
        over = await self.until_over(name)
        assert over.id == began.id
        assert over.status in ("succeeded", "unwound"), over
        if expected and (disturbance == "none" or (disturbance != "aborted" and expected == "unwound")):
            assert over.status == expected, over

    async def roll_back_soon(self, name: str) -> Rollout:
        """As soon as it has begun: the client has no rollback that is not waited for."""
        before = (await self.client.rollouts(name, limit=1)).rollouts[0].id
        asked = asyncio.ensure_future(self.client.rollback(name))
        asked.add_done_callback(lambda _: asked.cancelled() or asked.exception())
        while True:
            last = (await self.client.rollouts(name, limit=1)).rollouts[0]
            if last.id != before:
                return last
            if asked.done():
                asked.result()
            await asyncio.sleep(0.01)

    async def disturb(self, name: str, what: str, rollout: Rollout) -> None:
        ground = self.ground
        match what:
            case "aborted":
                with suppress(ApiError):  # past its commit
                    await self.client.abort(name, rollout.id)
            case "instance killed":
                await ground.kill_instance(rollout.number, alone=False)
            case "Envoy killed":
                await ground.kill_envoy()
            case "manager stopped":
                await ground.site.manager.stop()
                await ground.restart_manager()
            case _:
                await ground.kill_manager()
                if what == "manager and Envoy killed":
                    await ground.kill_envoy()
                await ground.restart_manager()

    async def until_over(self, name: str) -> Rollout:
        async def over() -> Rollout:
            while True:
                last = (await self.client.rollouts(name, limit=1)).rollouts[0]
                if last.is_over:
                    return await self.client.rollout(name, last.id)
                await asyncio.sleep(0.05)

        return await bounded(over(), OVER_S, f"the last rollout of {name} is over")

    async def waits(self, name: str, id: str) -> bool:
        """Until the canary waits for somebody; False: it is over."""

        async def waits() -> bool:
            while True:
                rollout = await self.client.rollout(name, id)
                if rollout.is_over or any(step.name.startswith("watch_canary") for step in rollout.steps):
                    return not rollout.is_over
                await asyncio.sleep(0.05)

        return bool(await bounded(waits(), OVER_S, f"the canary of {name} waits for somebody"))

    def replicas(self, name: str) -> int:
        """Instances that are committed; 0: nothing serves."""
        rows = self.ground.site.rows(f"SELECT json_array_length(instances) AS n FROM deployments WHERE name = '{name}'")
        return int(rows[0]["n"]) if rows else 0

    def kind_of(self, name: str) -> str:
        """Of what is committed; "": nothing is."""
        rows = self.ground.site.rows(f"SELECT current_version AS v FROM deployments WHERE name = '{name}'")
        return str(rows[0]["v"] or "").partition("-")[0] if rows else ""

    def spec(self, name: str, kind: str, strategy: str, replicas: int, unavailable: int) -> dict[str, Any]:
        ground = self.ground
        hooks = hooks_into(ground.hooks_file, 0.1)
        judged_soon = {"interval": "300ms", "timeout": "500ms", "deadline": "1s", "healthy_threshold": 1}
        patient = {**judged_soon, "interval": "500ms", "timeout": "1s", "deadline": "15s"}
        spec = ground.site.spec(
            f"{kind}-{next(ground.versions)}",
            strategy,
            broken=kind == "broken",
            name=name,
            command=[sys.executable, "moody.py"],
            configuration=RELEASES[kind],
            health_check_url=f"http://127.0.0.1:{ground.ports[name]}/health",
            health_check=judged_soon if kind in ("broken", "late") else patient,
            replicas=replicas,
            rolling={"max_surge": 1, "max_unavailable": unavailable},
            canary={
                "steps": [{"weight": 30, "pause": "300ms"}, {"weight": 100, "pause": "200ms"}],
                "analysis": {"on_inconclusive": "continue"},
            },
            blue_green={"keep_old": f"{WARM_S}s"},
            pre_deploy_hooks=hooks,
            post_deploy_hooks=hooks,
            drain_timeout="8s",
            stop_timeout="1s",
        )
        shutil.copyfile(MOODY, Path(spec["artifact_path"]) / "moody.py")
        return spec
