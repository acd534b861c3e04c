"""Any history whatever: what users do, deaths, lies and clocks in any order, and what holds after each of them.

The service, engine, steps, monitor and SQLite are the real ones; driver, router, disk and time are simulated
(support/living.py), so a history runs the same each time. What must hold stands in support/at_rest.py and, of
availability, in support/watch.py and support/course.py.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from longshore.errors import LongshoreError, SpecInvalid
from longshore.model import CanaryStep, Rollout, RolloutStatus
from longshore.rollout.request import Request
from longshore.rollout.strategies import STRATEGIES
from longshore.rollout.terms import OnConflict, Terms
from support.at_rest import hook_problems, journal_problems, problems, stray_problems
from support.course import JUMPS, NAMES, Course
from support.living import FAILS
from support.queueing import approves_by_itself, needs_approval
from support.scripts import GOOD, SCRIPTS, STILLBORN

#: simulated seconds in which everything comes to rest: the longest back-off of the monitor and a warm set's time
REST_S = 400.0

MOMENTS = st.integers(1, 260)
NAME = st.sampled_from(["shop", "shop", "base"])
#: what comes in between. leave: nothing does, and nobody waits for the end either
DISTURBANCES = ("kill", "abort", "pause", "refuse", "lie", "crash", "sicken", "jump", "router", "leave")
#: what may wait for its turn, or for an approval
VERBS = ("deploy", "restart", "scale", "stop", "start", "change")
#: what a change asks for
CHANGES = st.one_of(
    st.builds(lambda number: {"configuration": {"N": str(number)}}, st.integers(1, 3)),
    st.builds(lambda number: {"replicas": number}, st.integers(1, 4)),
)
#: what does not keep a good release from succeeding
HARMLESS = ("none", "jump")
DISTURBANCE = st.sampled_from(["none", "none", *DISTURBANCES])
HOOKS = {
    "both": (("before", "before too"), ("after", "after too")),
    "none": ((), ()),
    "pre fails": (("before", FAILS, "before too"), ("after",)),
    "post fails": (("before",), (FAILS, "after")),
}


class History(Course):
    # ------------------------------------------------------------------------------------------- what users do

    @initialize(replicas=st.integers(1, 4), strategy=st.sampled_from(sorted(STRATEGIES)), also=st.booleans())
    def begin(self, replicas: int, strategy: str, also: bool = False) -> None:
        self.deploy("good-1", strategy, replicas, False, True, "none", 1)
        if also:
            self.deploy("good-1", strategy, 2, False, True, "none", 1, name="base")

    @rule(
        version=st.sampled_from([*GOOD, *GOOD, *SCRIPTS]),
        strategy=st.sampled_from(sorted(STRATEGIES)),
        replicas=st.integers(1, 4),
        manual=st.booleans(),
        rollback_on_failure=st.sampled_from([True, True, True, False]),
        disturbance=DISTURBANCE,
        at=MOMENTS,
        name=NAME,
        unavailable=st.sampled_from([0, 0, 1, "50%"]),
        depends=st.booleans(),
        hooks=st.sampled_from(["both", "both", *HOOKS]),
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
        name: str = "shop",
        unavailable: int | str = 0,
        depends: bool = False,
        hooks: str = "both",
    ) -> None:
        before, after = HOOKS[hooks]
        fields = {
            "name": name,
            "version": version,
            "artifact_path": str(self.artifacts[version]),
            "command": "./run",
            "health_check_url": f"http://localhost:{NAMES[name]}/health",
            "strategy": strategy,
            "replicas": replicas,
            "rollback_on_failure": rollback_on_failure,
            "progress_deadline": 120.0,
            "drain_timeout": 3.0,
            "health_check": {"deadline": 20.0},
            "rolling": {"max_unavailable": unavailable},
            "canary": {"steps": _weights(manual), "analysis": {"on_inconclusive": "continue"}},
            "blue_green": {"keep_old": 90.0},
            "dependencies": ("base",) if depends and name == "shop" else (),
            "pre_deploy_hooks": before,
            "post_deploy_hooks": after,
        }
        calm, promise = self.is_calm(name), self.promised(name, version, strategy, replicas, unavailable)
        depended = not fields["dependencies"] or self.is_well("base")
        rollout = self.disturbed_by(
            name, disturbance, at, lambda: self.lab.service.deploy(Request(fields), terms=Terms("test")), promise
        )
        if rollout is None or manual or not calm or disturbance not in HARMLESS:
            return
        if version in STILLBORN or hooks == "pre fails":
            assert rollout.status.is_failed, rollout
        elif version in GOOD and depended and name not in self.excused:
            assert rollout.status is RolloutStatus.succeeded, rollout.failure

    @rule(version=st.sampled_from([None, None, *SCRIPTS]), disturbance=DISTURBANCE, at=MOMENTS, name=NAME)
    def rollback(self, version: str | None, disturbance: str, at: int, name: str = "shop") -> None:
        promise = self.promised_of_a_rollback(name, version)
        self.disturbed_by(
            name, disturbance, at, lambda: self.lab.service.rollback(name, version, terms=Terms("test")), promise
        )

    @rule(disturbance=DISTURBANCE, at=MOMENTS, name=NAME)
    def restart(self, disturbance: str, at: int, name: str = "shop") -> None:
        spec = self.spec_of(name)
        promise = (
            self.promised(name, spec.version, "rolling", spec.replicas, spec.rolling.max_unavailable) if spec else None
        )
        self.disturbed_by(name, disturbance, at, lambda: self.lab.service.restart(name, terms=Terms("test")), promise)

    @rule(replicas=st.integers(1, 4), disturbance=DISTURBANCE, at=MOMENTS, name=NAME)
    def scale(self, replicas: int, disturbance: str, at: int, name: str = "shop") -> None:
        spec = self.spec_of(name)
        promise = self.promised(name, spec.version, "scale", replicas) if spec else None
        begin = lambda: self.lab.service.scale(name, replicas, terms=Terms("test"))  # noqa: E731
        self.disturbed_by(name, disturbance, at, begin, promise)

    @rule(disturbance=DISTURBANCE, at=MOMENTS, name=NAME)
    def stop(self, disturbance: str, at: int, name: str = "shop") -> None:
        promise = self.promised_of_a_stop(name)
        self.disturbed_by(name, disturbance, at, lambda: self.lab.service.stop(name, terms=Terms("test")), promise)

    @rule(disturbance=DISTURBANCE, at=MOMENTS, name=NAME)
    def start(self, disturbance: str, at: int, name: str = "shop") -> None:
        promise = self.promised_of_a_start(name)
        self.disturbed_by(name, disturbance, at, lambda: self.lab.service.start(name, terms=Terms("test")), promise)

    @rule(fields=CHANGES, disturbance=DISTURBANCE, at=MOMENTS, name=NAME)
    def configure(self, fields: dict[str, Any], disturbance: str, at: int, name: str = "shop") -> None:
        spec = self.spec_of(name)
        promise = None
        if spec is not None:
            wanted = fields.get("replicas", spec.replicas)
            promise = self.promised(name, spec.version, spec.strategy, wanted, spec.rolling.max_unavailable)
        begin = lambda: self.lab.service.change(name, Request(fields), terms=Terms("test"))  # noqa: E731
        self.disturbed_by(name, disturbance, at, begin, promise)

    @rule(
        verb=st.sampled_from(VERBS),
        on_conflict=st.sampled_from(["reject", "queue", "supersede"]),
        behind=st.booleans(),
        then=st.sampled_from(["approve", "approve", "abort", "leave"]),
        killed=st.sampled_from(["", "", "asked", "approved"]),
        at=st.integers(1, 60),
        name=NAME,
    )
    def one_needs_an_approval(
        self, verb: str, on_conflict: OnConflict, behind: bool, then: str, killed: str, at: int, name: str = "shop"
    ) -> None:
        """Perhaps while another is in progress; the manager may die before it is approved, or as it is."""
        self.excuse(name)
        if behind:
            self._ask("restart", name, Terms("test"))
        needs_approval(self.lab)
        if (asked := self._ask(verb, name, Terms("test", on_conflict=on_conflict))) is None:
            approves_by_itself(self.lab)
            return
        if killed == "asked":
            self.lab.die()
            self.revive_if_dead()
        if then != "leave":
            if killed == "approved":
                self.lab.in_moments(at, self.lab.die)
            work = self.lab.service.approve if then == "approve" else self.lab.service.abort
            try:
                self.do(self.lab.while_alive(work(name, asked.id, terms=Terms("another")), 400.0))
            except LongshoreError as error:
                # Superseded, or undone with what it was to come behind.
                if error.status >= 500 and not self.lab.dead:
                    raise
            self.lab.at.clear()
        self.let_be(0.25)
        self.revive_if_dead()
        approves_by_itself(self.lab)

    def _ask(self, verb: str, name: str, terms: Terms, replicas: int = 2) -> Rollout | None:
        change = Request({"configuration": {"N": str(replicas)}})
        more: tuple[Any, ...] = {"scale": (name, replicas), "change": (name, change)}.get(verb, (name,))
        if verb == "deploy":
            version = GOOD[replicas % len(GOOD)]
            url = f"http://localhost:{NAMES[name]}/health"
            fields = {"name": name, "version": version, "artifact_path": str(self.artifacts[version]),
                      "command": "./run", "health_check_url": url, "replicas": replicas}  # fmt: skip
            more = (Request(fields),)
        try:
            asked = self.do(self.lab.while_alive(getattr(self.lab.service, verb)(*more, terms=terms)))
        except LongshoreError as error:
            if error.status >= 500 and not self.lab.dead:
                raise
            return None
        if asked is not None:
            self.asked[asked.id] = name
        rollout: Rollout | None = asked
        return rollout

    @rule(
        verbs=st.lists(st.sampled_from(VERBS), min_size=1, max_size=4),
        on_conflict=st.sampled_from(["queue", "queue", "supersede"]),
        replicas=st.integers(1, 4),
        killed=st.booleans(),
        at=MOMENTS,
        name=NAME,
    )
    def several_at_once(
        self, verbs: list[str], on_conflict: OnConflict, replicas: int, killed: bool, at: int, name: str = "shop"
    ) -> None:
        """They wait for their turns, or end each other."""
        self.excuse(name)
        if killed:
            self.lab.in_moments(at, self.lab.die)
        for verb in verbs:
            if self.lab.dead:
                break
            self._ask(verb, name, Terms("test", on_conflict=on_conflict), replicas)
        self.let_be(0.25)
        self.hurried = not self.lab.dead and not killed
        self.lab.at.clear()
        self.revive_if_dead()

    @rule(killed=st.booleans(), at=st.integers(1, 60), name=NAME)
    def delete(self, killed: bool, at: int, name: str = "shop") -> None:
        if killed:
            self.lab.in_moments(at, self.lab.die)
        promised = self.watch.promised.pop(name, None)
        try:
            self.do(self.lab.while_alive(self.lab.service.delete(name, keep_files=False, terms=Terms("test"))))
        except LongshoreError as error:
            if error.status >= 500:
                raise
            self.watch.promise(name, promised)
        finally:
            self.lab.at.clear()
        self.revive_if_dead()

    @rule(verb=st.sampled_from(["pause", "resume", "promote", "abort"]), name=NAME)
    def steer(self, verb: str, name: str = "shop") -> None:
        if (rollout := self.open(name)) is None:
            return
        try:
            work = getattr(self.lab.service, verb)(name, rollout.id, terms=Terms("test"))
            self.do(self.lab.while_alive(work, 400.0))
        except SpecInvalid:
            return
        self.let_be(300.0)

    # ------------------------------------------------------------------------------------------- what happens

    @rule(slot=st.integers(0, 7), also=st.booleans())
    def instances_end(self, slot: int, also: bool) -> None:
        """One, or one and its neighbour, at the same moment."""
        self.crash(slot)
        if also:
            self.crash(slot + 1)
        self.let_be(1.0)

    @rule(slot=st.integers(0, 7), seconds=st.sampled_from([3.0, 20.0, 90.0]))
    def one_falls_sick(self, slot: int, seconds: float) -> None:
        self.sicken(slot, seconds)
        self.let_be(1.0)

    @rule(manager_too=st.booleans())
    def the_router_dies(self, manager_too: bool) -> None:
        self.kill_the_router()
        if manager_too:
            self.lab.die()
        self.let_be(1.0)

    @rule(
        first=st.integers(1, 80), again=st.one_of(st.none(), st.integers(1, 120)), slot=st.none() | st.integers(0, 12)
    )
    def manager_dies(self, first: int, again: int | None, slot: int | None) -> None:
        """By itself or while it recovers, and perhaps an instance meanwhile."""
        self.lab.in_moments(first, self.lab.die)
        self.let_be(60.0)
        self.lab.at.clear()
        self.lab.die()
        if slot is not None:
            self.crash(slot)
        self.revive_if_dead(again)

    @rule()
    def manager_is_replaced(self) -> None:
        self.do(self.lab.stop())
        self.revive()

    @rule(seconds=st.sampled_from(JUMPS))
    def the_clock_is_set(self, seconds: float) -> None:
        self.jump(seconds)
        self.let_be(1.0)

    @rule(seconds=st.sampled_from([1.0, 30.0, 100.0, 600.0]))
    def time_passes(self, seconds: float) -> None:
        self.let_be(seconds)

    # ------------------------------------------------------------------------------------------- what must hold

    @invariant()
    def all_is_as_it_must(self) -> None:
        if not self.hurried:
            self.it_comes_to_rest_with_nothing_left_over()
        self.hurried = False
        assert not self.watch.broken, "\n".join(self.watch.broken)
        self.each_has_at_most_one_open_rollout()
        self.what_was_asked_for_waits_or_has_begun_or_was_cancelled()
        self.journals_are_closed_and_hooks_ran_once()
        assert not self.complaints.found, "\n".join(self.complaints.found)

    def each_has_at_most_one_open_rollout(self) -> None:
        count = Counter(rollout.deployment for rollout in self.lab.store.open_rollouts())
        assert max(count.values(), default=0) <= 1

    def what_was_asked_for_waits_or_has_begun_or_was_cancelled(self) -> None:
        store = self.lab.store
        self.asked = {id: name for id, name in self.asked.items() if store.deployment(name) is not None}
        both = {id for id in self.asked if (store.rollout(id) is None) == (store.waiting(id) is None)}
        assert not both, f"each is either a rollout or waits, or did: {both}"

    def journals_are_closed_and_hooks_ran_once(self) -> None:
        ran = Counter(self.hooks_run)
        assert max(ran.values(), default=0) <= 1, f"a hook ran again: {ran}"
        wrong = []
        for name in NAMES:
            for rollout in self.lab.store.rollouts(name, limit=1000, offset=0)[0]:
                if (rollout.id, rollout.status) in self.judged:
                    continue
                wrong += journal_problems(self.lab, rollout)
                wrong += hook_problems(rollout, self.lab.store.journal(rollout.id), ran)
                if not rollout.status.is_open:
                    self.judged.add((rollout.id, rollout.status))
        assert not wrong, "\n".join(wrong)

    def it_comes_to_rest_with_nothing_left_over(self) -> None:
        """Within a bound: only a rollout that waits for a person may keep it from that."""

        async def rest() -> list[str]:
            ends = None
            while True:
                for rollout in self.lab.store.open_rollouts():
                    await self.until_parked(rollout.id)
                wrong, now = self.problems(), self.machine.clock.monotonic()
                ends = ends or now + REST_S
                moves = not all(self.is_parked(each) for each in self.lab.store.open_rollouts())
                if not moves and (not wrong or now >= ends):
                    return wrong
                await self.machine.clock.sleep(0.5)

        wrong = self.do(rest())
        assert not wrong, "\n".join(wrong)
        for name in NAMES:
            if self.open(name) is None:
                self.excused.discard(name)
                self.watch.promise(name, self.promised_at_rest(name))

    def problems(self) -> list[str]:
        closed = [name for name in NAMES if self.open(name) is None]
        wrong = [each for name in closed for each in problems(self.lab, name)]
        return wrong if len(closed) < len(NAMES) else [*wrong, *stray_problems(self.lab)]


def _weights(manual: bool) -> tuple[Any, ...]:
    return (CanaryStep(20, "manual" if manual else 3.0), CanaryStep(60, 3.0), CanaryStep(100, 2.0))
