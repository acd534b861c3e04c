"""Nothing runs, until it is started again. The release, its files and its port stay the deployment's own."""

from __future__ import annotations

from longshore.model import Routing, Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.steps.instances import RetireInstances
from longshore.rollout.strategies import parts


def stop(view: View, spec: Spec) -> list[Step]:
    """shift to 503 → drain, stop → COMMIT → forget them, drain and retire what is warm. Undone, it serves as before."""
    serving = parts.ids(view.serving)
    refusing = None
    if view.routing is not None:
        refusing = Routing(view.routing.port, parts.new_pool(view, spec, ()), hold=0.0)
    return [
        *parts.shift(view, view.routing, refusing, name="stop_traffic"),
        *parts.drain_and_stop(view, serving),
        parts.commit(view, spec, ()),
        RetireInstances(serving),
        *parts.drain_and_retire(view, parts.ids(view.leftover)),
    ]
