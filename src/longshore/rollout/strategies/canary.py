"""canary: the candidate gets a growing share of the requests and is watched at each weight.

start one → wait until ready → (start more → shift w % → watch) for each weight → COMMIT → promote → drain, retire old

The first weight is served by one instance, later ones by a number in proportion, rounded up. A rollback goes straight
to the end: nobody waits through pauses to get away from a bad version.
"""

from __future__ import annotations

from math import ceil

from longshore.model import CanaryStep, RolloutKind, Routing, Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.canary import WatchCanary
from longshore.rollout.strategies import parts

NAME = "canary"
NEEDS: frozenset[str] = frozenset({"weights", "figures"})


def plan(view: View, spec: Spec) -> list[Step]:
    old, new = parts.ids(view.serving), parts.new_ids(view, spec)
    stable = parts.stable_pool(view)
    watched = bool(old) and view.kind in (RolloutKind.deploy, RolloutKind.change)
    weights = spec.canary.steps if watched else (CanaryStep(100, 0.0),)

    steps, routing, up = list[Step](), view.routing, 0
    for index, stage in enumerate(weights):
        wanted = max(up, _needed(spec.replicas, stage.weight, first=index == 0 and watched))
        steps += parts.start(view, spec, new[up:wanted], first_slot=up)
        up = wanted
        settled = parts.settled(view, spec, new[:up])
        if settled is not None:
            after = settled
            if stable is not None:
                candidate = parts.new_pool(view, spec, new[:up])
                after = Routing(settled.port, stable, candidate, stage.weight, sticky=settled.sticky)
            steps += parts.shift(view, routing, after)
            routing = after
        if watched:
            routed = stable is not None and settled is not None
            steps.append(
                WatchCanary(
                    stage.weight,
                    stage.pause,
                    stable=stable.id if routed and stable is not None else None,
                    candidate=view.pool_id if routed else None,
                    instances=new[:up],
                    watches=len(weights),
                    commands=any(check.command for check in spec.canary.analysis.checks),
                    name=f"watch_canary_{stage.weight}",
                )
            )
    steps.append(parts.commit(view, spec, new))
    steps += parts.shift(view, routing, parts.settled(view, spec, new), name="promote")
    return [*steps, *parts.drain_and_retire(view, old)]


def _needed(replicas: int, weight: int, *, first: bool) -> int:
    """Candidate instances for a weight. Worked: 10 replicas at 5, 25, 50, 100 %: 1, 3, 5, 10."""
    if weight == 100:
        return replicas
    return 1 if first else min(replicas, max(1, ceil(replicas * weight / 100)))
