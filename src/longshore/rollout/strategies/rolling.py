"""rolling: new instances replace old ones a few at a time, in bounds that hold at every moment.

(start some → wait until ready → shift to them → drain, stop as many old) × n → COMMIT → forget old
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor

from longshore.errors import Issue, SpecInvalid
from longshore.model import Pool, Routing, Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.instances import RetireInstances
from longshore.rollout.strategies import parts

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
    old, new = list(parts.ids(view.serving)), parts.new_ids(view, spec)
    limit = bounds(spec.replicas, spec.rolling.max_surge, spec.rolling.max_unavailable)
    routing, steps = view.routing, list[Step]()
    gone: list[str] = []
    up = 0
    while up < len(new) or old:
        batch = new[up : up + max(0, limit.most - len(old) - up)]
        steps += parts.start(spec.version, batch, first_slot=up)
        up += len(batch)
        # With all the new ones up, all the old may go; before that, as many as the promise leaves: none while a rollout
        # that scales up has not reached it. It always moves on, for with `most` of them there is one to spare.
        spare = len(old) if up == len(new) else max(0, min(len(old), up + len(old) - limit.fewest))
        leaving, old = tuple(old[:spare]), old[spare:]
        after = _shared(view, spec, tuple(old), new[:up]) if view.routed else None
        steps += parts.shift(view, routing, after)
        routing = after
        steps += parts.drain_and_stop(view, leaving)
        gone += leaving
        if not batch and not leaving:
            raise AssertionError(f"a rolling plan that cannot move: {limit}, {up} new up, {len(old)} old left")
    steps.append(parts.commit(view, spec, new))
    if gone:
        steps.append(RetireInstances(tuple(gone)))
    return steps


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
