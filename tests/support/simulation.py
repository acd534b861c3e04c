"""Plans, carried out on paper: what runs, is ready and gets traffic after each step, and what no plan may ever do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from longshore.model import Routing
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.health import AwaitReady
from longshore.rollout.steps.instances import KeepWarm, RetireInstances, StartInstances, StopInstances
from longshore.rollout.steps.release import Commit
from longshore.rollout.steps.traffic import DrainInstances, ShiftTraffic, VerifyTraffic


@dataclass
class Paper:
    """The deployment, on paper. `seen`: after each step, (instances that exist, instances that serve, held)."""

    routing: Routing | None
    #: the deployment has, or is to have, a public port: only what is routed serves
    public: bool
    running: set[str]
    ready: set[str]
    committed: tuple[str, ...] | None = None
    warm: set[str] = field(default_factory=set)
    verified: bool = True
    seen: list[tuple[int, int, bool]] = field(default_factory=list)

    def getting_traffic(self) -> set[str]:
        if self.routing is None or self.routing.hold is not None:
            return set()
        stable = self.routing.stable.instances if self.routing.stable and self.routing.weight < 100 else ()
        candidate = self.routing.candidate.instances if self.routing.candidate and self.routing.weight > 0 else ()
        return {*stable, *candidate}

    def look(self) -> None:
        serving = self.getting_traffic() if self.public else self.ready
        held = self.routing is not None and self.routing.hold is not None
        self.seen.append((len(self.running), len(serving & self.ready), held))


def carry_out(steps: Iterable[Step], view: View) -> Paper:
    """Every step in order; an assertion fails where a plan does what none may do."""
    existing = {i.id for i in (*view.serving, *view.warm, *view.leftover)}
    paper = Paper(view.routing, view.routed and view.routing is not None, set(existing), set(existing))
    paper.look()
    for step in steps:
        _do(step, paper)
        paper.look()
    assert paper.committed is not None
    assert paper.running - paper.warm - {i.id for i in view.leftover} == set(paper.committed)
    return paper


def _do(step: Step, paper: Paper) -> None:
    match step:
        case StartInstances():
            ids = {id for id, _ in step.instances}
            assert ids, "a step that starts nothing"
            assert not ids & paper.running, "what runs is started again"
            assert paper.committed is None
            paper.running |= ids
        case AwaitReady():
            assert set(step.instances) <= paper.running
            paper.ready |= set(step.instances)
        case ShiftTraffic():
            assert step.before == paper.routing, "a shift begins where the last one ended"
            assert step.before != step.after, "a shift that shifts nothing"
            paper.routing, paper.verified = step.after, step.after is None
            _check_routing(paper)
        case VerifyTraffic():
            assert step.routing == paper.routing
            paper.verified = True
        case DrainInstances() | StopInstances() | RetireInstances():
            leaving = set(step.instances)
            assert leaving
            assert paper.verified, "the router was not asked before something old left"
            assert not leaving & paper.getting_traffic(), "what gets traffic leaves"
            if isinstance(step, RetireInstances):
                assert paper.committed is not None, "nothing is forgotten before the commit"
                assert not leaving & set(paper.committed)
            if not isinstance(step, DrainInstances):
                paper.running -= leaving
                paper.ready -= leaving
        case Commit():
            assert paper.committed is None
            assert paper.verified
            assert set(step.instances) <= paper.ready, "what is committed is ready"
            paper.committed = step.instances
        case KeepWarm():
            assert paper.committed is not None
            paper.warm |= set(step.instances)
        case _:
            pass


def _check_routing(paper: Paper) -> None:
    routing = paper.routing
    if routing is None:
        return
    assert 0 <= routing.weight <= 100
    assert routing.stable is not None
    if routing.hold is not None:
        assert not routing.stable.instances
        assert routing.candidate is None
        return
    for pool in routing.pools:
        assert pool.instances, "a pool without an instance, and nothing held"
    assert routing.candidate is not None or routing.weight == 0
    assert paper.getting_traffic() <= paper.ready, "requests to what is not ready"
