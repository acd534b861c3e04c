"""blue-green: a full second set, one atomic switch, and the old set kept warm so that going back is the switch back.

start all → wait until ready → fill candidate → shift 100 % → (check under traffic) → COMMIT → promote → keep old warm

Blue is what serves, green the set that is to. Where the wanted release is the one still warm (a rollback soon after),
green is there already: nothing is started, and one probe says that what was ready is so still.
"""

from __future__ import annotations

from longshore.model import Pool, Routing, Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.health import AwaitReady
from longshore.rollout.steps.instances import KeepWarm
from longshore.rollout.strategies import parts

NAME = "blue-green"
NEEDS: frozenset[str] = frozenset({"weights"})


def plan(view: View, spec: Spec) -> list[Step]:
    blue = parts.ids(view.serving)
    green = parts.ids(view.warm) or parts.new_ids(view, spec)
    steps: list[Step] = [AwaitReady(green, successes=1)] if view.warm else parts.start(view, spec, green)
    keep = bool(blue) and spec.blue_green.keep_old > 0

    switched = alone = after = parts.settled(view, spec, green)
    if alone is not None and alone.stable is not None:
        green_pool = Pool(view.warm_pool or view.pool_id, spec.version, green, spec.probe_path)
        alone = after = switched = Routing(alone.port, green_pool, sticky=alone.sticky)
        blue_pool = parts.stable_pool(view)
        if blue_pool is not None:
            switched = Routing(alone.port, blue_pool, green_pool, weight=100)
            # With weight 0 the router keeps blue known and healthy, so that switching back is one change of a route.
            after = Routing(alone.port, green_pool, blue_pool if keep else None, sticky=alone.sticky)
    if switched is not None:
        steps += parts.shift(view, view.routing, switched)
    steps.append(parts.commit(view, spec, green))
    steps += parts.shift(view, switched or view.routing, after, name="promote")
    if not blue:
        return steps
    if keep and (view.routed or view.routing is None):
        return [*steps, KeepWarm(blue, spec.blue_green.keep_old)]
    return [*steps, *parts.drain_and_retire(view, blue)]
