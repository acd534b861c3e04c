"""rolling: new instances replace old ones a few at a time, in bounds that hold at every moment.

(start some → wait until ready → shift to them → drain, stop as many old) × n → COMMIT → forget old

Across hosts some of them at a time (`serial`); units of the user's own are stopped before they are started again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from longshore.errors import Issue, SpecInvalid
from longshore.model import Pool, Routing, Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.instances import RetireInstances
from longshore.rollout.strategies import parts
from longshore.rollout.strategies.placing import in_batches

NAME = "rolling"
NEEDS: frozenset[str] = frozenset({"weights"})


@dataclass(frozen=True, slots=True)
class Bounds:
    #: instances that may exist at once
    most: int
    #: instances that serve at every moment
    fewest: int


def bounds(desired: int, max_surge: int | str, max_unavailable: int | str) -> Bounds:
    """How many instances may exist, and how many must serve, at any moment of a rolling rollout.

    desired          instances wanted, >= 1
    max_surge, max_unavailable   a count, or a percentage of `desired` such as "25%"
    Returns  Bounds(most, fewest), both instance counts.
    Raises   SpecInvalid for a negative count or an unreadable percentage.
    Source   Kubernetes: surge rounds up, unavailable rounds down; if both come to 0 one more may exist, else the
             rollout could never move (deployment/util, ResolveFenceposts, which lets one be unavailable instead: we
             rather go over than under what was promised).

    Worked: 10 wanted, 25 % and 25 %: 2.5 up is 3, 2.5 down is 2, so at most 13 exist and at least 8 serve.
    """
    surge = ceil(_count(max_surge, desired, "rolling.max_surge"))
    unavailable = min(desired, floor(_count(max_unavailable, desired, "rolling.max_unavailable")))
    if surge == 0 and unavailable == 0:
        surge = 1
    return Bounds(desired + surge, desired - unavailable)


def _count(value: int | str, desired: int, field: str) -> float:
    if isinstance(value, int) and value >= 0:
        return float(value)
    if isinstance(value, str) and value.endswith("%"):
        try:
            percent = float(value[:-1])
        except ValueError:
            percent = -1.0
        if 0 <= percent <= 100:
            return desired * percent / 100.0
    message = f'must be a count (0 or more) or a percentage such as "25%", not {value!r}'
    raise SpecInvalid(issues=[Issue(field, message)])


def plan(view: View, spec: Spec) -> list[Step]:
    old, new = parts.ids(view.serving), parts.new_ids(view, spec)
    limit = bounds(spec.replicas, spec.rolling.max_surge, spec.rolling.max_unavailable)
    course = _Course(view, spec, list(old))
    if spec.systemd.unit == "existing":
        # Old and new are the same unit: it is the hosts that are taken a few at a time, as many as may be missing.
        for arriving, leaving in in_batches(view, spec, spec.rolling.serial or max(1, spec.replicas - limit.fewest)):
            course.leave(leaving)
            course.arrive(arriving)
            course.shift()
    else:
        staying: tuple[str, ...] = ()
        for arriving, leaving in in_batches(view, spec, spec.rolling.serial):
            staying = course.replace(arriving, (*staying, *leaving), limit)
    steps = [*course.steps, parts.commit(view, spec, new)]
    return [*steps, RetireInstances(old)] if old else steps


class _Course:
    """The steps so far, and what they lead to."""

    def __init__(self, view: View, spec: Spec, old: list[str]) -> None:
        self._view, self._spec, self._old = view, spec, old
        self._up: list[str] = []
        self._routing = view.routing
        self.steps: list[Step] = []

    def arrive(self, instances: tuple[tuple[str, int], ...]) -> None:
        self.steps += parts.start_numbered(self._view, self._spec, instances)
        self._up += [id for id, _ in instances]

    def leave(self, instances: tuple[str, ...]) -> None:
        """They get no requests any more, and end."""
        self._old = [id for id in self._old if id not in instances]
        self.shift()
        self.steps += parts.drain_and_stop(self._view, instances)

    def shift(self) -> None:
        """The requests go to what is up."""
        if self._view.routed:
            up = sorted(self._up, key=lambda id: int(id.rpartition("-")[2]))
            after = _shared(self._view, self._spec, tuple(self._old), tuple(up))
        else:
            after = None
        self.steps += parts.shift(self._view, self._routing, after)
        self._routing = after

    def replace(
        self, arriving: tuple[tuple[str, int], ...], leaving: tuple[str, ...], limit: Bounds
    ) -> tuple[str, ...]:
        """Some hosts' instances, within the bounds of the whole. Returns those that cannot leave yet: a rollout that
        scales up needs the instances of further hosts first."""
        while True:
            leaving = tuple(id for id in leaving if id in self._old)
            if not arriving and not leaving:
                return ()
            room = max(0, limit.most - len(self._old) - len(self._up))
            batch, arriving = arriving[:room], arriving[room:]
            self.arrive(batch)
            # With all the new ones up, all the old may go; before that, as many as the promise leaves: none while a
            # rollout that scales up has not reached it. It always moves on, for with `most` of them there is one to
            # spare, if not on these hosts (a rollout that scales down) then on the last.
            done = len(self._up) == self._spec.replicas
            spare = len(self._old) if done else max(0, len(self._up) + len(self._old) - limit.fewest)
            going = leaving[:spare] or (() if batch else tuple(self._old[-spare:] if spare else ()))
            if not batch and not going:
                if arriving or done:
                    raise AssertionError(f"a rolling plan that cannot move: {limit}, {self._up} up, {self._old} left")
                return leaving
            self.leave(going)


def _shared(view: View, spec: Spec, old: tuple[str, ...], new: tuple[str, ...]) -> Routing | None:
    """Old and new behind one port, in proportion to their numbers: each instance gets its share."""
    stable = parts.stable_pool(view)
    if stable is None or not old:
        if new:
            return parts.settled(view, spec, new)
        if view.routing is None:  # the port is new: nothing is routed before the first of the new ones is up
            return None
        # max_unavailable of 100 %: for a while nothing serves
        return Routing(view.routing.port, parts.new_pool(view, spec, ()), hold=spec.recreate.hold)
    assert spec.public_port is not None
    staying = Pool(stable.id, stable.version, old, stable.health_path)
    if not new:
        return Routing(spec.public_port, staying)
    return Routing(
        spec.public_port,
        staying,
        parts.new_pool(view, spec, new),
        weight=round(100 * len(new) / (len(old) + len(new))),
        sticky=spec.canary.sticky,
    )
