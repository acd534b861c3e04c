"""The course of a simulated history: what it is made of, what is promised meanwhile, and how things come in between."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from longshore.errors import LongshoreError, SpecInvalid
from longshore.model import Rollout, RolloutStatus, Spec
from longshore.rollout.strategies.rolling import bounds
from longshore.rollout.targets import version_before
from longshore.rollout.terms import Terms
from support.engine import PORT
from support.living import Complaints, Living, machine
from support.scripts import SCRIPTS, STILLBORN, is_good
from support.simulated_time import simulation
from support.watch import Watch

#: deployment → its public port; `shop` may depend on `base`
NAMES = {"shop": PORT, "base": PORT + 1}
#: what may keep a rollout from being undone: a router that says no to everything until the step is over
STICKING = ("refuse", "lie")
#: moments after this one are so many times TICK_S later instead
LAST_MOMENT = 200
TICK_S = 0.25
#: seconds that the wall clock is set by
JUMPS = (-3600.0, -5.0, 5.0, 100.0, 86400.0)


class Course(RuleBasedStateMachine):
    def __init__(self, place: Path | None = None) -> None:
        """place: where the database is; None: with everything else."""
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="history-")
        root = Path(self.directory.name)
        self.artifacts = {version: root / version for version in SCRIPTS}
        for version, artifact in self.artifacts.items():
            artifact.mkdir()
            (artifact / "run").write_text(version)
            (artifact / "run").chmod(0o755)
        self.machine = machine((place or root) / "longshore.db")
        self.machine.shared = True
        self.machine.world.scripts.update(SCRIPTS)
        self.watch = Watch(self.machine.world, self.machine.router)  # type: ignore[arg-type]
        self.machine.clock.passed = self.watch.look  # type: ignore[attr-defined]
        self.loop = simulation(self.machine.clock)  # type: ignore[arg-type]
        self.hooks_run: list[tuple[str, str, str]] = []
        self.complaints = Complaints()
        logging.getLogger("longshore").addHandler(self.complaints)
        #: deployments of which something died or lied since all was at rest
        self.excused: set[str] = set()
        self._arranged: asyncio.Task[None] | None = None
        #: what may wait for its turn and was accepted: its id → its deployment
        self.asked: dict[str, str] = {}
        #: the next thing happens before all has come to rest
        self.hurried = False
        #: rollouts that are over, and were found to be in order
        self.judged: set[tuple[str, RolloutStatus]] = set()
        self.lab = Living(self.machine, self.hooks_run, self.watch)
        self.do(self.lab.start())

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.do(self.lab.bury())
        self.loop.close()
        self.directory.cleanup()
        logging.getLogger("longshore").removeHandler(self.complaints)

    # ------------------------------------------------------------------------------------------- what is promised

    def promised(self, name: str, version: str, strategy: str, replicas: int, unavailable: int | str = 0) -> int | None:
        """Instances that serve at every moment of such a rollout from here; None: nothing is promised."""
        if not self.is_calm(name) or not (is_good(version) or version in STILLBORN):
            return None
        now = self.promised_at_rest(name)
        if now is None or not now or strategy == "recreate":
            return now and 0
        if strategy == "rolling":
            return min(now, bounds(replicas, "25%", unavailable).fewest)
        return min(now, replicas)

    def promised_of_a_rollback(self, name: str, version: str | None) -> int | None:
        spec, deployment = self.spec_of(name), self.lab.store.deployment(name)
        if spec is None or deployment is None or not self.is_calm(name):
            return None
        try:
            target = self.lab.store.release(name, version or version_before(self.lab.world, deployment))
        except LongshoreError:
            return self.promised_at_rest(name)
        if target is None or target.version == spec.version:
            return self.promised_at_rest(name)
        to = target.spec
        return self.promised(name, to.version, spec.strategy, to.replicas, to.rolling.max_unavailable)

    def promised_at_rest(self, name: str) -> int | None:
        if self.waits_for_a_person(name):
            return None
        spec, deployment = self.spec_of(name), self.lab.store.deployment(name)
        if spec is None or deployment is None or deployment.stopped:
            return 0
        return spec.replicas if is_good(spec.version) else None

    def promised_of_a_stop(self, name: str) -> int | None:
        """Only that no request is sent to what does not answer, and not even that where it may end by itself."""
        spec = self.spec_of(name)
        return 0 if self.is_calm(name) and (spec is None or is_good(spec.version)) else None

    def promised_of_a_start(self, name: str) -> int | None:
        return None if self.promised_of_a_stop(name) is None else self.promised_at_rest(name)

    def is_calm(self, name: str) -> bool:
        rested = self.watch.promised.get(name, 0) == self.promised_at_rest(name)
        return rested and name not in self.excused and self.open(name) is None and not self.waits_for_a_person(name)

    def is_well(self, name: str) -> bool:
        """It serves, and goes on doing so."""
        return bool(self.promised_at_rest(name)) and self.is_calm(name)

    def waits_for_a_person(self, name: str) -> bool:
        return bool(self.lab.store.left_behind(name))

    @property
    def disturbed(self) -> bool:
        return bool(self.excused)

    @disturbed.setter
    def disturbed(self, now: bool) -> None:
        assert now
        self.excuse(*NAMES)
        self.watch.broken.clear()

    def excuse(self, *names: str) -> None:
        self.excused.update(names)
        self.watch.excuse(*names)

    # ------------------------------------------------------------------------------------------- how it happens

    def disturbed_by(self, name: str, disturbance: str, at: int, begin: Any, promise: int | None) -> Rollout | None:
        """Begin a rollout, let that happen at its moment; the rollout as it is in the end, None: there is none."""
        calm = self.is_calm(name)
        if calm:
            self.watch.promise(name, promise)
        else:
            self.watch.lower(name, promise)
        if (happens := self.disturbance(name, disturbance, at)) is not None:
            self.arrange(at, happens)
        rollout: Rollout | None = None
        before = self.waits_for_a_person(name)
        try:
            rollout = self.do(self.lab.while_alive(begin()))
            if disturbance == "leave":
                self.hurried = True
                self.do(self.lab.while_alive(self.machine.clock.sleep(at * 0.05)))
            elif rollout is not None:
                self.do(self.lab.while_alive(self.until_parked(rollout.id), 3000.0))
        except LongshoreError as error:
            if error.status >= 500 and not self.lab.dead:
                raise
            if rollout is None and calm and self.open(name) is None and name not in self.excused:
                self.watch.promise(name, self.promised_at_rest(name))
        finally:
            self.lab.at.clear()
            if self._arranged is not None:
                self._arranged.cancel()
            self.machine.router.refuse.clear()
            self.machine.router.lie.clear()
        self.revive_if_dead()
        ended = self.lab.store.rollout(rollout.id) if rollout is not None else None
        if ended is not None and ended.status is RolloutStatus.stuck:
            assert disturbance in STICKING or before, f"{ended.message} And nothing kept it from being undone."
        return ended

    def arrange(self, at: int, happens: Callable[[], None]) -> None:
        """At that moment; of the last ones some seconds from now: what only waits has no moments."""
        if at <= LAST_MOMENT:
            self.lab.in_moments(at, happens)
            return
        lab = self.lab

        async def later() -> None:
            await self.machine.clock.sleep((at - LAST_MOMENT) * TICK_S)
            if self.lab is lab and not lab.dead:
                happens()

        self._arranged = self.loop.create_task(later())

    def disturbance(self, name: str, what: str, number: int) -> Any:
        lab, router = self.lab, self.machine.router
        return {
            "kill": lab.die,
            "abort": lambda: self.steer_soon(name, "abort"),
            "pause": lambda: self.steer_soon(name, "pause"),
            "refuse": lambda: router.refuse.update({name: "it is broken"}),
            "lie": lambda: router.lie.update({name: False}),
            "crash": lambda: self.crash(number),
            "sicken": lambda: self.sicken(number, 20.0),
            "jump": lambda: self.jump(JUMPS[number % len(JUMPS)]),
            "router": self.kill_the_router,
        }.get(what)

    async def until_parked(self, id: str) -> None:
        """Until the rollout is over, or waits for a person."""
        clock, store = self.machine.clock, self.lab.store
        until = clock.monotonic() + 2000.0
        while (rollout := store.rollout(id)) is not None and rollout.status.is_open:
            if self.is_parked(rollout):
                return
            assert clock.monotonic() < until, f"it goes on and on: {rollout.status}, {store.journal(id)[-1]}"
            await clock.sleep(0.25)

    def is_parked(self, rollout: Rollout) -> bool:
        return rollout.status is RolloutStatus.paused or self.watches_by_hand(rollout)

    def watches_by_hand(self, rollout: Rollout) -> bool:
        records = self.lab.store.journal(rollout.id)
        manual = any(stage.pause == "manual" for stage in rollout.spec.canary.steps)
        return manual and bool(records) and records[-1].name.startswith("watch_canary")

    def steer_soon(self, name: str, verb: str) -> None:
        async def steer() -> None:
            rollout = self.open(name)
            if rollout is not None and not self.lab.dead:
                try:
                    await getattr(self.lab.service, verb)(name, rollout.id, terms=Terms("test"))
                except SpecInvalid:
                    return

        self._steering = self.loop.create_task(steer())

    def crash(self, number: int) -> None:
        """One of what runs ends by itself."""
        if running := sorted(self.machine.world._running(), key=lambda found: found.launch.instance):
            found = running[number % len(running)]
            self.excuse(found.launch.deployment)
            self.machine.world.kill(found.launch.launch_id)

    def sicken(self, number: int, seconds: float) -> None:
        """One of what runs answers nothing for a while."""
        if running := sorted(self.machine.world._running(), key=lambda found: found.launch.instance):
            found = running[number % len(running)]
            self.excuse(found.launch.deployment)
            well_again = self.machine.clock.monotonic() - found.started_at + seconds
            found.script = replace(found.script, ready_after=max(found.script.ready_after, well_again))

    def kill_the_router(self) -> None:
        self.excuse(*NAMES)
        self.machine.router.die()  # type: ignore[attr-defined]

    def jump(self, seconds: float) -> None:
        self.machine.clock.ahead += seconds  # type: ignore[attr-defined]

    def let_be(self, seconds: float) -> None:
        self.do(self.lab.while_alive(self.machine.clock.sleep(seconds)))
        self.revive_if_dead()

    def revive_if_dead(self, again: int | None = None) -> None:
        """A new manager, which perhaps dies at a moment of its recovery, and then one that does not."""
        if not self.lab.dead:
            return
        self.do(self.lab.bury())
        self.revive(again)
        if self.lab.dead:
            self.do(self.lab.bury())
            self.revive()

    def revive(self, dies_at: int | None = None) -> None:
        self.lab = Living(self.machine, self.hooks_run, self.watch)
        if dies_at is not None:
            self.lab.in_moments(dies_at, self.lab.die)
        self.do(self.lab.while_alive(self.lab.start()))
        for rollout in [] if self.lab.dead else self.lab.store.open_rollouts():
            self.do(self.lab.while_alive(self.until_parked(rollout.id), 3000.0))
        self.lab.at.clear()

    def open(self, name: str = "shop") -> Rollout | None:
        return self.lab.store.open_rollout_of(name)

    def spec_of(self, name: str) -> Spec | None:
        """Of what is committed."""
        deployment = self.lab.store.deployment(name)
        if deployment is None or deployment.current_version is None:
            return None
        release = self.lab.store.release(name, deployment.current_version)
        assert release is not None
        return release.spec
