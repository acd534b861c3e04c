"""Any history whatever, on real processes: a manager, Envoy and applications, killed for real while clients ask.

What must hold after each step stands in support/outside.py; what may be lost, and how many instances take requests at
every moment, in support/ground.py. Clocks cannot be set here without setting everybody's: support/history.py does that.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from longshore.client import ApiError, ClientError, DeploymentNotFound
from longshore.rollout.strategies import STRATEGIES
from support.real_course import GOOD, HOLDS, RELEASES, RealCourse

#: what comes in between, `at` seconds after a rollout has begun
DISTURBANCES = (
    "manager killed", "manager stopped", "instance killed", "Envoy killed", "manager and Envoy killed", "aborted",
)  # fmt: skip

NAME = st.sampled_from(["shop", "shop", "base"])
DISTURBANCE = st.sampled_from(["none", "none", "none", *DISTURBANCES])
AT = st.floats(0.0, 2.5).map(lambda seconds: round(seconds, 2))


class RealHistory(RealCourse):
    # ------------------------------------------------------------------------------------------- what users do

    @initialize(replicas=st.integers(1, 3), strategy=st.sampled_from(sorted(STRATEGIES)))
    def begin(self, replicas: int, strategy: str) -> None:
        self.deploy("shop", "good", strategy, replicas, 0, "none", 0.0)

    @rule(
        name=NAME,
        kind=st.sampled_from([*GOOD, "good", "good", *RELEASES]),
        strategy=st.sampled_from(sorted(STRATEGIES)),
        replicas=st.integers(1, 3),
        unavailable=st.sampled_from([0, 0, 1]),
        disturbance=DISTURBANCE,
        at=AT,
    )
    def deploy(
        self, name: str, kind: str, strategy: str, replicas: int, unavailable: int, disturbance: str, at: float
    ) -> None:
        spec = self.spec(name, kind, strategy, replicas, unavailable)
        expected = {**dict.fromkeys(GOOD, "succeeded"), "broken": "unwound", "late": "unwound"}.get(kind)

        async def act() -> None:
            promise = self.promise(name, kind, strategy, replicas, unavailable)
            await self.rollout(
                name,
                lambda: self.client.deploy(spec, wait=False),
                disturbance,
                at,
                promise,
                expected,
                refusable=False,
            )

        self.step(
            f"deploy {name} {spec['version']} by {strategy}, {replicas} instances, {unavailable}", disturbance, at, act
        )

    @rule(name=NAME, disturbance=DISTURBANCE, at=AT)
    def roll_back(self, name: str, disturbance: str, at: float) -> None:
        async def act() -> None:
            promise = self.promised_of_a_rollback(name)
            await self.rollout(name, lambda: self.roll_back_soon(name), disturbance, at, promise, None)

        self.step(f"roll {name} back", disturbance, at, act)

    @rule(name=NAME, disturbance=DISTURBANCE, at=AT)
    def restart(self, name: str, disturbance: str, at: float) -> None:
        async def act() -> None:
            promise = self.promised_of_the_same(name)
            expected = "succeeded" if self.kind_of(name) in GOOD else None
            await self.rollout(name, lambda: self.client.restart(name, wait=False), disturbance, at, promise, expected)

        self.step(f"restart {name}", disturbance, at, act)

    @rule(name=NAME, replicas=st.integers(1, 3), disturbance=DISTURBANCE, at=AT)
    def scale(self, name: str, replicas: int, disturbance: str, at: float) -> None:
        async def act() -> None:
            if replicas == self.replicas(name):
                return
            now = self.promised_at_rest(name)
            promise = min(now, replicas) if now is not None else None
            expected = "succeeded" if self.kind_of(name) in GOOD else None
            await self.rollout(
                name, lambda: self.client.scale(name, replicas, wait=False), disturbance, at, promise, expected
            )

        self.step(f"scale {name} to {replicas}", disturbance, at, act)

    @rule(name=NAME, killed=st.booleans(), then=st.sampled_from(["resume", "promote", "abort"]), pause=st.booleans())
    def canary_by_hand(self, name: str, killed: bool, then: str, pause: bool) -> None:
        """A canary that waits for somebody: the manager may die meanwhile, and undoes it then unless it was paused."""
        spec = self.spec(name, "good", "canary", 2, 0)
        spec["canary"] = {"steps": [{"weight": 50, "pause": "manual"}, {"weight": 100, "pause": "200ms"}]}

        async def act() -> None:
            self.ground.promised[name] = self.promise(name, "good", "canary", 2, 0)
            rollout = await self.client.deploy(spec, wait=False)
            if not await self.waits(name, rollout.id):
                return  # a first deploy has nothing to be watched beside
            if pause:
                await self.client.pause(name, rollout.id)
            if killed:
                await self.ground.kill_manager()
                await self.ground.restart_manager()
            with suppress(ApiError):  # undone already, or past its commit
                await getattr(self.client, then)(name, rollout.id)
                if pause and then == "resume" and not killed:
                    await self.client.promote(name, rollout.id)
            over = await self.until_over(name)
            if not killed:
                wanted = "unwound" if then == "abort" else "succeeded"
                assert over.status == wanted, over

        self.step(f"a canary of {name}, {then} by hand", f"pause: {pause}, killed: {killed}", 0.0, act)

    @rule(name=NAME, killed=st.booleans(), at=AT)
    def delete(self, name: str, killed: bool, at: float) -> None:
        async def act() -> None:
            await self.ground.no_load(name)
            self.ground.promised.pop(name, None)
            work = asyncio.ensure_future(self.client.delete(name))
            if killed:
                await asyncio.sleep(at / 10)
                await self.ground.kill_manager()
            with suppress(DeploymentNotFound, *((ClientError,) if killed else ())):
                await work
            if killed:
                await self.ground.restart_manager()
                with suppress(DeploymentNotFound):  # what was not begun is asked for again
                    await self.client.delete(name)

        self.step(f"delete {name}", "killed" if killed else "none", at / 10, act)

    # ------------------------------------------------------------------------------------------- what happens

    @rule(slot=st.integers(0, 5), also=st.sampled_from(["nothing", "nothing", "another", "manager"]))
    def instances_die(self, slot: int, also: str) -> None:
        async def act() -> None:
            if also == "manager":
                await self.ground.kill_manager()
            await self.ground.kill_instance(slot, alone=also == "nothing")
            if also == "another":
                await self.ground.kill_instance(slot + 1, alone=False)
            if also == "manager":
                await self.ground.restart_manager()

        self.step("an instance is killed", f"and {also}", 0.0, act)

    @rule(manager=st.sampled_from(["lives", "dies before", "dies after"]))
    def envoy_dies(self, manager: str) -> None:
        async def act() -> None:
            if manager == "dies before":
                await self.ground.kill_manager()
            await self.ground.kill_envoy()
            if manager == "dies after":
                await self.ground.kill_manager()
            if manager != "lives":
                await self.ground.restart_manager()

        self.step("Envoy is killed", f"the manager {manager}", 0.0, act)

    @rule(how=st.sampled_from(["killed", "stopped"]))
    def manager_goes(self, how: str) -> None:
        async def act() -> None:
            await (self.ground.kill_manager() if how == "killed" else self.ground.site.manager.stop())
            await self.ground.restart_manager()

        self.step("another manager", how, 0.0, act)

    # ------------------------------------------------------------------------------------------- what must hold

    @invariant()
    def holds(self) -> None:
        if self.story and not self.story[-1].startswith(HOLDS):
            self.told(HOLDS, self.all_holds)
