"""More or fewer instances of what serves, spread over the hosts. Those that stay are not touched."""

from __future__ import annotations

from dataclasses import replace

from longshore.model import Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.strategies import parts, placing


def scale(view: View, spec: Spec) -> list[Step]:
    """(start new → wait until ready) → shift to what is to serve → COMMIT → (drain → retire the newest)."""
    leaving = placing.too_many(view.serving, spec.replicas)
    staying = tuple(instance for instance in view.serving if instance not in leaving)
    first_slot = max((instance.slot for instance in view.serving), default=-1) + 1
    slots = range(first_slot, first_slot + spec.replicas - len(staying))
    new = tuple((f"{view.name}-{view.number}-{slot}", slot) for slot in slots)
    wanted = (*parts.ids(staying), *(id for id, _ in new))

    after = view.routing
    if view.routing is not None and view.routing.stable is not None:
        after = replace(view.routing, stable=replace(view.routing.stable, instances=wanted))
    return [
        *parts.start_numbered(view, spec, new, placing.beside(view, staying, len(new))),
        *parts.shift(view, view.routing, after),
        parts.commit(view, spec, wanted),
        *parts.drain_and_retire(view, parts.ids(leaving)),
    ]
