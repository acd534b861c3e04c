"""Any history whatever: deploys, rollbacks, deaths and lies in any order, and what holds after each of them.

The service, engine, steps, monitor and SQLite are the real ones; driver, router, disk and time are simulated
(support/living.py), so a history runs the same each time.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from longshore.drivers.mock import Script
from longshore.errors import BackupNotFound, DeploymentInProgress, DeploymentNotFound, SpecInvalid
from longshore.model import CanaryStep, InstanceState, Rollout, RolloutStatus, State
from longshore.rollout.request import Request
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.strategies.rolling import bounds
from longshore.rollout.terms import Terms
from support.engine import PORT
from support.living import Complaints, Living, machine, simulation

TERMS = Terms("test")
#: what instances of each version do
SCRIPTS = {
    "good-1": Script(),
    "good-2": Script(),
    "good-3": Script(ignores_term=True),
    "never-ready": Script(never_ready=True),
    "not-startable": Script(start_error="no such program"),
    "ends-at-once": Script(exit_after=0.0),
    "ends-soon": Script(exit_after=8.0),
    "ends-later": Script(exit_after=200.0),
    "lies": Script(lies="always"),
}
GOOD = tuple(version for version in SCRIPTS if version.startswith("good"))
#: simulated seconds in which everything comes to rest: the longest back-off of the monitor and a warm set's time
REST_S = 400.0

LEFT_BEHIND = (RolloutStatus.held, RolloutStatus.stuck)
PLACE = Path("/data/apps/shop")
MOMENTS = st.integers(1, 260)


class History(RuleBasedStateMachine):
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
        self.machine.world.scripts.update(SCRIPTS)
        self.loop = simulation(self.machine.clock)  # type: ignore[arg-type]
        self.hooks_run: list[tuple[str, str, str]] = []
        self.complaints = Complaints()
        logging.getLogger("longshore").addHandler(self.complaints)
        #: something died, or the router failed: what is promised of availability does not hold
        self.disturbed = False
        self.lab = Living(self.machine, self.hooks_run)
        self.do(self.lab.start())

    def do(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.do(self.lab.bury())
        self.loop.close()
        self.directory.cleanup()
        logging.getLogger("longshore").removeHandler(self.complaints)

    # ------------------------------------------------------------------------------------------- what happens

    @initialize(replicas=st.integers(1, 4), strategy=st.sampled_from(sorted(STRATEGIES)))
    def begin(self, replicas: int, strategy: str) -> None:
        self.deploy("good-1", strategy, replicas, False, True, "none", 1)

    @rule(
        version=st.sampled_from([*GOOD, *GOOD, *GOOD, *SCRIPTS]),
        strategy=st.sampled_from(sorted(STRATEGIES)),
        replicas=st.integers(1, 4),
        manual=st.booleans(),
        rollback_on_failure=st.sampled_from([True, True, True, False]),
        disturbance=st.sampled_from(["none", "none", "kill", "abort", "pause", "refuse", "lie", "crash"]),
        at=MOMENTS,
    )
    def deploy(
        self,
        version: str,
        strategy: str,
        replicas: int,
        manual: bool,
        rollback_on_failure: bool,
        disturbance: str,
        at: int,
    ) -> None:
        fields = {
            "name": "shop",
            "version": version,
            "artifact_path": str(self.artifacts[version]),
            "command": "./run",
            "health_check_url": f"http://localhost:{PORT}/health",
            "strategy": strategy,
            "replicas": replicas,
            "rollback_on_failure": rollback_on_failure,
            "progress_deadline": 120.0,
            "drain_timeout": 3.0,
            "health_check": {"deadline": 20.0},
            "canary": {"steps": _weights(manual)},
            "blue_green": {"keep_old": 90.0},
            "pre_deploy_hooks": ("before",),
            "post_deploy_hooks": ("after",),
        }
        promise = self.promised(strategy, replicas, version)
        outcome = self.disturbed_by(
            disturbance, at, lambda: self.lab.service.deploy(Request(fields), terms=TERMS), promise
        )
        undisturbed = disturbance == "none" and not manual and isinstance(outcome, Rollout)
        if undisturbed and version in GOOD and self.is_calm():
            assert outcome.status is RolloutStatus.succeeded, outcome.failure
        if undisturbed and SCRIPTS[version].never_ready:
            assert outcome.is_failed if hasattr(outcome, "is_failed") else outcome.status.is_failed

    @rule(
        version=st.sampled_from([None, None, *SCRIPTS]),
        disturbance=st.sampled_from(["none", "none", "kill", "abort", "pause", "refuse", "lie", "crash"]),
        at=MOMENTS,
    )
    def rollback(self, version: str | None, disturbance: str, at: int) -> None:
        self.disturbed_by(disturbance, at, lambda: self.lab.service.rollback("shop", version, terms=TERMS), 0)

    @rule(disturbance=st.sampled_from(["none", "kill", "abort", "pause", "crash"]), at=MOMENTS)
    def restart(self, disturbance: str, at: int) -> None:
        promise = self.promised("restart", 0, self.serves() or "")
        self.disturbed_by(disturbance, at, lambda: self.lab.service.restart("shop", terms=TERMS), promise)

    @rule(replicas=st.integers(1, 4), disturbance=st.sampled_from(["none", "kill", "abort", "refuse"]), at=MOMENTS)
    def scale(self, replicas: int, disturbance: str, at: int) -> None:
        promise = self.promised("scale", replicas, self.serves() or "")
        self.disturbed_by(disturbance, at, lambda: self.lab.service.scale("shop", replicas, terms=TERMS), promise)

    @rule(killed=st.booleans(), at=st.integers(1, 60))
    def delete(self, killed: bool, at: int) -> None:
        if killed:
            self.lab.in_moments(at, self.lab.die)
        try:
            self.do(self.lab.while_alive(self.lab.service.delete("shop", keep_files=False, terms=TERMS)))
        except (DeploymentInProgress, DeploymentNotFound):
            return
        finally:
            self.lab.at.clear()
        self.revive_if_dead()

    @rule(verb=st.sampled_from(["pause", "resume", "promote", "abort"]))
    def steer(self, verb: str) -> None:
        if (rollout := self.open()) is None:
            return
        try:
            self.do(self.lab.while_alive(getattr(self.lab.service, verb)("shop", rollout.id, terms=TERMS), 400.0))
        except SpecInvalid:
            return
        self.let_be(300.0)

    @rule(slot=st.integers(0, 7), also=st.booleans())
    def instances_end(self, slot: int, also: bool) -> None:
        """One, or one and its neighbour, at the same moment."""
        self.crash(slot)
        if also:
            self.crash(slot + 1)
        self.let_be(1.0)

    @rule(first=st.integers(1, 80), again=st.one_of(st.none(), st.integers(1, 120)), slot=st.integers(0, 12))
    def manager_dies(self, first: int, again: int | None, slot: int) -> None:
        """By itself or while it recovers, and perhaps an instance meanwhile."""
        self.lab.in_moments(first, self.lab.die)
        self.let_be(60.0)
        self.lab.at.clear()
        self.lab.die()
        self.crash(slot)
        self.revive_if_dead(again)

    @rule()
    def manager_is_replaced(self) -> None:
        self.do(self.lab.stop())
        self.revive()

    @rule(seconds=st.sampled_from([-3600.0, 5.0, 100.0, 86400.0]))
    def the_clock_is_set(self, seconds: float) -> None:
        self.machine.clock.ahead += seconds  # type: ignore[attr-defined]
        self.let_be(1.0)

    @rule(seconds=st.sampled_from([1.0, 30.0, 100.0, 600.0]))
    def time_passes(self, seconds: float) -> None:
        self.let_be(seconds)

    # ------------------------------------------------------------------------------------------- what must hold

    @invariant()
    def all_is_as_it_must(self) -> None:
        self.at_most_one_rollout_is_open()
        self.it_comes_to_rest_with_nothing_left_over()
        self.the_journal_is_closed_and_progress_only_grows()
        self.no_hook_ran_twice_in_a_rollout()
        self.nothing_unforeseen_was_met()

    def at_most_one_rollout_is_open(self) -> None:
        assert len(self.lab.store.open_rollouts()) <= 1

    def the_journal_is_closed_and_progress_only_grows(self) -> None:
        for rollout in self.rollouts():
            told = self.lab.store.progress(rollout.id)
            percent = [message.progress_pct for message in told]
            assert percent == sorted(percent)
            if rollout.status.is_open:
                assert not any(message.last for message in told)
                continue
            unclosed = [r for r in self.lab.store.journal(rollout.id) if r.status == "running"]
            assert not unclosed, f"rollout {rollout.number} ({rollout.status}) left open: {unclosed}"
            assert percent[-1] == 100
            # What is held or stuck is gone on with by the rollout that cleans up, which may be interrupted in that.
            assert told[-1].last or (rollout.status in LEFT_BEHIND and any(message.last for message in told))

    def no_hook_ran_twice_in_a_rollout(self) -> None:
        twice = [hook for hook, times in Counter(self.hooks_run).items() if times > 1]
        assert not twice

    def nothing_unforeseen_was_met(self) -> None:
        assert not self.complaints.found, "\n".join(self.complaints.found)

    def it_comes_to_rest_with_nothing_left_over(self) -> None:
        """Within a bound: only a rollout that is open, or waits for a person, may keep it from that."""
        if self.open() is not None:
            return

        async def rest() -> list[str]:
            until = self.machine.clock.monotonic() + REST_S
            while (problems := self.problems()) and self.machine.clock.monotonic() < until:
                await self.machine.clock.sleep(0.5)
            return problems

        problems = self.do(rest())
        assert not problems, "\n".join(problems)
        self.disturbed = False

    # ------------------------------------------------------------------------------------------------- private

    def problems(self) -> list[str]:
        """What is not as it is when all is at rest."""
        lab, store = self.lab, self.lab.store
        deployment, last = store.deployment("shop"), store.last_rollout_of("shop")
        running = {found.launch.launch_id: found.launch.instance for found in self.machine.world._running()}
        disk, applied = self.machine.disk, self.machine.router.applied.get("shop")
        if deployment is None or (deployment.current_version is None and not self.waits_for_a_person()):
            left = {
                "processes": running,
                "instances": store.instances("shop"),
                "traffic": applied,
                "releases": disk.releases.get(PLACE),
                "current": disk.links.get(PLACE),
                "claim": disk.claims.get(PLACE),
            }
            return [f"left over, of nothing that serves: {what}: {it}" for what, it in left.items() if it]
        if self.waits_for_a_person() or deployment.current_version is None:
            return []
        assert last is not None
        version, found = deployment.current_version, list[str]()
        rows = store.instances("shop")
        release = store.release("shop", version)
        assert release is not None
        committed = [i for i in rows if i.id in deployment.instances]
        warm = [i for i in rows if i.retire_at is not None and i.retire_at > self.machine.clock.now()]
        if {i.id for i in rows} != {i.id for i in (*committed, *warm)}:
            found.append(f"instances that are neither committed nor warm: {[i.id for i in rows]}")
        if len(committed) != release.spec.replicas:
            found.append(f"{len(committed)} instances are committed, not {release.spec.replicas}")
        if strays := running.keys() - {i.launch_id for i in rows}:
            found.append(f"processes that no instance owns: {[running[launch] for launch in strays]}")
        if deployment.routing is None or applied != lab.world.fleet.traffic(deployment.routing):
            found.append(f"the router serves {applied}, and {deployment.routing} is wanted")
        ports = {i.port for i in committed}
        served = self.machine.router.served("shop")
        if {target.port for target in served[-1]} != ports:
            found.append(f"{served[-1]} get traffic, and {ports} are committed")
        if any(i.version != version for i in committed):
            found.append(f"instances of other versions are committed with {version}")
        if disk.links.get(PLACE) != version:
            found.append(f"current names {disk.links.get(PLACE)}, not {version}")
        if disk.claims.get(PLACE) != lab.world.claim_of("shop"):
            found.append(f"the claim on the directory is {disk.claims.get(PLACE)}")
        kept = {r.version for r in store.releases("shop") if r.state == "kept"}
        if (releases := set(disk.releases.get(PLACE, ()))) != kept:
            found.append(f"{releases} are on disk, and {kept} are known")
        if version in GOOD:
            found += self.problems_of_a_good_one(version, rows)
        return found

    def problems_of_a_good_one(self, version: str, rows: list[Any]) -> list[str]:
        status = self.lab.service.status("shop")
        running = {found.launch.launch_id for found in self.machine.world._running()}
        found = []
        if dead := [i.id for i in rows if i.launch_id not in running and i.retire_at is None]:
            found.append(f"instances that do not run: {dead}")
        if any(i.state is not InstanceState.running for i in rows):
            found.append("an instance is not said to run")
        if status.version != version or status.state is not State.healthy:
            found.append(f"status says {status.version} is {status.state}, and {version} serves")
        if status.replicas.ready != status.replicas.desired or self.lab.serving() != status.replicas.desired:
            found.append(f"{self.lab.serving()} instances serve, and status says {status.replicas}")
        return found

    def disturbed_by(self, disturbance: str, at: int, begin: Any, promise: int) -> Rollout | None:
        """Begin a rollout, let that happen at its moment, and look at what served meanwhile."""
        lab, router = self.lab, self.machine.router
        if self.open() is not None:
            self.disturbed = True
        match disturbance:
            case "kill":
                lab.in_moments(at, lab.die)
            case "abort" | "pause":
                lab.in_moments(at, lambda: self.steer_soon(disturbance))
            case "refuse":
                lab.in_moments(at, lambda: router.refuse.update(shop="it is broken"))
            case "lie":
                lab.in_moments(at, lambda: router.lie.update(shop=False))
            case "crash":
                lab.in_moments(at, lambda: self.crash(at))
        lab.served = []
        disturbed = self.disturbed
        rollout: Rollout | None = None
        try:
            rollout = self.do(lab.while_alive(begin()))
            if rollout is not None:
                self.do(lab.while_alive(self.until_parked(rollout.id), 3000.0))
        except (DeploymentInProgress, DeploymentNotFound, BackupNotFound, SpecInvalid):
            pass
        finally:
            lab.at.clear()
            router.refuse.clear()
            router.lie.clear()
        served = lab.served
        if self.lab.dead:
            self.revive_if_dead()
            served = [*served, *self.lab.served]
        if not disturbed and disturbance != "crash" and not self.disturbed:
            assert min(served, default=promise) >= promise, f"{min(served)} served, {promise} are promised"
        return self.lab.store.rollout(rollout.id) if rollout is not None else None

    async def until_parked(self, id: str) -> None:
        """Until the rollout is over, or waits for a person."""
        clock, store = self.machine.clock, self.lab.store
        until = clock.monotonic() + 2000.0
        while (rollout := store.rollout(id)) is not None and rollout.status.is_open:
            if rollout.status is RolloutStatus.paused or self.watches_by_hand(rollout):
                return
            assert clock.monotonic() < until, f"it goes on and on: {rollout.status}, {store.journal(id)[-1]}"
            await clock.sleep(0.25)

    def watches_by_hand(self, rollout: Rollout) -> bool:
        records = self.lab.store.journal(rollout.id)
        manual = any(stage.pause == "manual" for stage in rollout.spec.canary.steps)
        return manual and bool(records) and records[-1].name.startswith("watch_canary")

    def steer_soon(self, verb: str) -> None:
        async def steer() -> None:
            rollout = self.open()
            if rollout is not None and not self.lab.dead:
                try:
                    await getattr(self.lab.service, verb)("shop", rollout.id, terms=TERMS)
                except SpecInvalid:
                    return

        self._steering = self.loop.create_task(steer())

    def promised(self, strategy: str, replicas: int, version: str) -> int:
        """Instances that serve at every moment of such a rollout from here."""
        if not self.is_calm() or version not in GOOD:
            return 0
        deployment = self.lab.store.deployment("shop")
        if deployment is None or deployment.current_version not in GOOD:
            return 0
        release = self.lab.store.release("shop", deployment.current_version)
        assert release is not None
        now = release.spec.replicas
        match strategy:
            case "recreate":
                return 0
            case "restart":
                rolling = release.spec.rolling
                return min(now, bounds(now, rolling.max_surge, rolling.max_unavailable).fewest)
            case _:
                return min(now, replicas)

    def is_calm(self) -> bool:
        return not self.disturbed and self.open() is None and not self.waits_for_a_person()

    def waits_for_a_person(self) -> bool:
        return bool(self.lab.store.left_behind("shop"))

    def crash(self, number: int) -> None:
        """One of what runs ends by itself."""
        self.disturbed = True
        running = sorted(self.machine.world.running_ids())
        if running:
            self.machine.world.kill(running[number % len(running)])

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
        self.lab = Living(self.machine, self.hooks_run)
        if dies_at is not None:
            self.lab.in_moments(dies_at, self.lab.die)
        self.do(self.lab.while_alive(self.lab.start()))
        if not self.lab.dead and (rollout := self.open()) is not None:
            self.do(self.lab.while_alive(self.until_parked(rollout.id), 3000.0))
        self.lab.at.clear()

    def rollouts(self) -> list[Rollout]:
        return self.lab.store.rollouts("shop", limit=1000, offset=0)[0]

    def open(self) -> Rollout | None:
        return self.lab.store.open_rollout_of("shop")

    def serves(self) -> str | None:
        deployment = self.lab.store.deployment("shop")
        return deployment.current_version if deployment is not None else None


def _weights(manual: bool) -> tuple[Any, ...]:
    return (CanaryStep(20, "manual" if manual else 3.0), CanaryStep(60, 3.0), CanaryStep(100, 2.0))
