"""More or fewer instances of what serves. Those that stay are not touched."""

from __future__ import annotations

from dataclasses import replace

from longshore.model import Spec
from longshore.rollout.plan import Step, View
from longshore.rollout.strategies import parts


def scale(view: View, spec: Spec) -> list[Step]:
    """(start new → wait until ready) → shift to what is to serve → COMMIT → (drain → retire the newest)."""
    serving = parts.ids(view.serving)
    staying, leaving = serving[: spec.replicas], serving[spec.replicas :]
    first_slot = max((instance.slot for instance in view.serving), default=-1) + 1
    slots = range(first_slot, first_slot + spec.replicas - len(staying))
    new = tuple(f"{view.name}-{view.number}-{slot}" for slot in slots)
    wanted = (*staying, *new)

    after = view.routing
    if view.routing is not None and view.routing.stable is not None:
        after = replace(view.routing, stable=replace(view.routing.stable, instances=wanted))
    return [
        *parts.start(view, spec, new, first_slot=first_slot),
        *parts.shift(view, view.routing, after),
        parts.commit(view, spec, wanted),
        *parts.drain_and_retire(view, leaving),
    ]
