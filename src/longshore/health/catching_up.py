"""Bringing hosts up to date that were out of reach when a rollout went by.

A host that is lost is asked for again every few seconds. Once it is there, what is committed is brought to it (the
release, the link `current`), what is not kept is removed; then its instances are started (mending.py), and what runs
there and is nobody's is ended (tidying.py). The router is told whenever a host is gone or back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from longshore.drivers.base import DriverError
from longshore.files import FilesError
from longshore.health.errands import Errands
from longshore.hosts.base import Host
from longshore.model import Deployment
from longshore.rollout.observe import hosts_for
from longshore.rollout.providing import catch_up, end_left_hooks
from longshore.rollout.world import World

#: seconds between two tries to reach a host that is lost, and bound on one of them
AGAIN_S, CONNECT_S = 5.0, 15.0


class CatchingUp:
    """moved: called with the name of each deployment on a host that is gone or back."""

    def __init__(self, world: World, errands: Errands, moved: Callable[[str], None], wake: Callable[[], None]) -> None:
        self._world, self._errands, self._moved, self._wake = world, errands, moved, wake
        #: (deployment, host) that were not looked at since the host was lost
        self._behind: set[tuple[str, str]] = set()
        self._known: set[tuple[str, str]] = set()
        #: (environment, host) → monotonic time of the next try
        self._next: dict[tuple[str, str], float] = {}
        self._asking: set[tuple[str, str]] = set()
        self._watched: dict[tuple[str, str], Callable[[], None]] = {}

    def look(self, deployments: list[Deployment], now: float) -> float:
        """Ask for hosts that are not there, begin to watch those that are new. Seconds until the next try."""
        due = 60.0
        present = set()
        for deployment in deployments:
            for host in self._hosts(deployment):
                place, pair = (deployment.environment, host.name), (deployment.name, host.name)
                present.add(pair)
                if pair not in self._known:
                    self._behind.add(pair)
                if place not in self._watched:
                    self._watched[place] = host.watch(partial(self._changed, place))
                if host.reachable is not True:
                    due = min(due, self._ask(place, host, now))
        self._known = present
        self._behind &= present
        return due

    def is_behind(self, name: str, host: str) -> bool:
        return (name, host) in self._behind

    def next_of(self, deployment: Deployment) -> Host | None:
        """A host that is there, and behind with this deployment."""
        found = (h for h in self._hosts(deployment) if (deployment.name, h.name) in self._behind)
        return next((host for host in found if host.reachable), None)

    async def bring(self, name: str, host: Host) -> None:
        """Under the deployment's lock."""
        world = self._world
        deployment = world.store.deployment(name)
        if deployment is None or world.store.open_rollout_of(name) is not None:
            return
        release = world.store.release(name, deployment.current_version) if deployment.current_version else None
        if release is not None and host.name in hosts_for(world, release.spec):
            try:
                changed = await catch_up(world, deployment, host.name)
            except FilesError as error:
                raise DriverError(str(error)) from error
            if changed:
                message = f"host {host.name} was brought to {deployment.current_version}"
                world.event(name, "info", message, source="monitor")
        self._behind.discard((name, host.name))
        # Last: one that cannot be ended keeps nothing of the above from being done.
        if ended := await end_left_hooks(world, name, host):
            message = f"host {host.name}: ended {ended} hook{'s' if ended != 1 else ''} of rollouts that are over"
            world.event(name, "warning", message, source="monitor")

    def close(self) -> None:
        for stop in self._watched.values():
            stop()

    # ------------------------------------------------------------------------------------------------ private

    def _hosts(self, deployment: Deployment) -> Iterator[Host]:
        if self._world.is_far(deployment.environment):
            for place in self._world.hosts_of(deployment.environment).values():
                yield cast(Host, place)

    def _ask(self, place: tuple[str, str], host: Host, now: float) -> float:
        left = self._next.get(place, 0.0) - now
        if left <= 0 and place not in self._asking:
            self._asking.add(place)
            left = self._next[place] = now + AGAIN_S
            self._errands.start("", self._connect(place, host))
            return AGAIN_S
        return max(left, 1.0)

    async def _connect(self, place: tuple[str, str], host: Host) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                await host.connect()
        except (DriverError, TimeoutError):
            return  # the host says so itself, by `reachable`
        finally:
            self._asking.discard(place)
            self._wake()

    def _changed(self, place: tuple[str, str], host: Host) -> None:
        environment, name = place
        for deployment in self._world.store.deployments():
            if deployment.environment != environment:
                continue
            if not any(instance.host == name for instance in self._world.store.instances(deployment.name)):
                if host.reachable:
                    self._behind.add((deployment.name, name))
                continue
            how = "is there again" if host.reachable else "is out of reach"
            self._world.event(
                deployment.name, "info" if host.reachable else "warning", f"host {name} {how}", source="monitor"
            )
            self._behind.add((deployment.name, name))
            self._moved(deployment.name)
        self._wake()
