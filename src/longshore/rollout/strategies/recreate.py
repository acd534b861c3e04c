"""recreate: nothing old runs when the new starts. Requests that arrive meanwhile wait in the router.

empty the pool (hold) → drain, stop old → start new, wait until ready → fill the pool → COMMIT → forget old
"""

from __future__ import annotations

from longshore.model import Routing, Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.instances import RetireInstances
from longshore.rollout.strategies import parts

NAME = "recreate"
#: a router that cannot hold requests refuses them meanwhile: validation warns of that
NEEDS: frozenset[str] = frozenset()


def plan(view: View, spec: Spec) -> list[Step]:
    old, new = parts.ids(view.serving), parts.new_ids(view, spec)
    settled = parts.settled(view, spec, new)
    held: Routing | None = None
    steps: list[Step] = []
    if view.routing is not None:
        if settled is not None:
            held = Routing(view.routing.port, parts.new_pool(view, spec, ()), hold=spec.recreate.hold)
        steps += parts.shift(view, view.routing, held, name="hold_requests" if held else "stop_traffic")
    steps += parts.drain_and_stop(view, old)
    steps += parts.start(view, spec, new)
    steps += parts.shift(view, held, settled)
    steps.append(parts.commit(view, spec, new))
    return [*steps, RetireInstances(old)] if old else steps
