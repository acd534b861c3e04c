"""Revisions of what is read, and waiting until it is another one."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from longshore.rollout.world import World

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: bound on waiting for a change, in seconds: less than what proxies in between give up after
WAIT_S = 50.0


class Revised(Protocol):
    @property
    def revision(self) -> str: ...


R = TypeVar("R", bound=Revised)


def revision_of(found: DataclassInstance) -> str:
    """Of a record whose own `revision` is yet the same for all: 16 hex digits, others for whatever else is other."""
    values: dict[str, Any] = asdict(found)
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


async def next_revision(world: World, name: str, after: str, read: Callable[[World, str], R]) -> R:
    """As soon as it is at another revision than `after`; within WAIT_S in any case, changed or not.

    Raises DeploymentNotFound, also where it is deleted meanwhile.
    """
    try:
        async with asyncio.timeout(WAIT_S):
            while True:
                stamp, found = world.store.stamp(name), read(world, name)
                if found.revision != after:
                    return found
                await world.store.moved(name, stamp)
    except TimeoutError:
        return read(world, name)
