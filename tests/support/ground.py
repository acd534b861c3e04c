"""A real manager, Envoy and applications under load, for histories that are told step by step: no step is a coroutine.

Everything runs on the event loop of one thread, so that the clients never stop asking between two steps. Whoever may
have lost a request to a kill is known here; every other loss is a violation.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from longshore.client import ClientError, DeploymentNotFound
from longshore.demo.load import Load, Mix
from longshore.demo.wire import Connection, Failed
from longshore.drivers.identity import read_stat, send
from longshore.routers.base import RouterError
from support.backends import free_port
from support.envoy_view import look_at_takers
from support.manager import Site, bounded, open_site

T = TypeVar("T")

NAMES = ("shop", "base")
#: light: what is measured is whether one is lost, not how many there can be
MIX = Mix(connections=3, websockets=1, streams=1, slow=1, held_s=1.0, pause_s=0.05)
#: what was in flight in what was killed fails at most so much later (as in benchmarks/soaking/stand.py)
GRACE_S = 1.5
#: between two looks at how many instances take requests
LOOK_S = 0.2
ENVOY_S = 20.0
#: one that was started again so often is killed no more: the monitor's back-off would be all there is to wait for
RESTARTS = 3
#: no step takes longer, what comes to rest after it included
STEP_S = 240.0


@dataclass
class Window:
    """From a kill on, until what it may cost is over; None: that is not over yet."""

    names: tuple[str, ...]
    since: float
    until: float | None = None


@dataclass
class Ground:
    """`with open_ground(directory) as ground:`; told by support/real_history.py."""

    site: Site
    loop: asyncio.AbstractEventLoop
    #: time.monotonic() after which nothing more is begun
    end: float
    #: what went wrong first
    failure: BaseException | None = None
    versions: count[int] = field(default_factory=lambda: count(1))
    steps: int = 0
    #: the next history is not told
    dull: bool = False
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in NAMES})
    loads: dict[str, Load] = field(default_factory=dict)
    #: deployment → rows of its ledger that were judged
    seen: dict[str, int] = field(default_factory=dict)
    windows: list[Window] = field(default_factory=list)
    #: deployment → instances that take requests at every moment from now on; None or missing: nothing is promised
    promised: dict[str, int | None] = field(default_factory=dict)
    #: sentences
    broken: list[str] = field(default_factory=list)
    #: requests that were in flight in what was killed, and all others
    in_flight: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    looks: int = 0

    def do(self, work: Coroutine[Any, Any, T], bound_s: float = STEP_S) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(bound_s)

    @property
    def hooks_file(self) -> Path:
        return self.site.directory / "hooks"

    # ------------------------------------------------------------------------------------------- load

    async def under_load(self, name: str) -> None:
        """Clients ask from now on, until no_load()."""
        if name not in self.loads:
            self.seen[name] = 0
            self.loads[name] = await Load("127.0.0.1", self.ports[name], MIX).__aenter__()

    async def no_load(self, name: str) -> None:
        if name in self.loads:
            load = self.loads[name]
            await load.__aexit__(None)
            self.judge(name)
            self.requests += len(load.ledger)
            del self.loads[name]

    def judge(self, name: str) -> None:
        """Every request that was lost was lost to a kill."""
        ledger = self.loads[name].ledger
        first, self.seen[name] = self.seen[name], len(ledger)
        for loss in ledger.losses(first):
            told = f"{name}, {loss.kind}: {loss.outcome} by {loss.version or 'nobody known'}"
            if any(name in w.names and w.since <= loss.ended <= (w.until or loss.ended) for w in self.windows):
                self.in_flight[told] += 1
            else:
                ago = [f"{loss.ended - w.since:.1f} s after a kill" for w in self.windows if name in w.names]
                self.broken.append(f"a request was lost without a reason: {told} {ago[-3:]}")

    # ------------------------------------------------------------------------------------------- availability

    async def keep_looking(self) -> None:
        """How many take requests, five times a second."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not any(self.promised.values()):
                continue
            before = dict(self.promised)
            with suppress(RouterError):
                view = await look_at_takers(self.site.data)
                self.looks += 1
                for name, fewest in before.items():
                    takers = view.takers(name)
                    if fewest and self.promised.get(name) == fewest and len(takers) < fewest:
                        told = f"{len(takers)} instances of {name} took requests, and {fewest} were promised"
                        self.broken += [told] if told not in self.broken else []

    def excuse(self, *names: str) -> Window:
        """Something of these is about to be killed."""
        for name in names:
            self.promised[name] = None
        window = Window(names, time.monotonic())
        self.windows.append(window)
        return window

    # ------------------------------------------------------------------------------------------- what breaks

    async def kill_manager(self) -> None:
        await self.site.kill()

    async def kill_instance(self, number: int, *, alone: bool) -> str:
        """Whose it was; "": none runs. alone: nothing else is under way, so that others of its pool take over."""
        found = sorted(
            (row["id"], row) for row in self.site.instances() if row["handle"] and row["restarts"] < RESTARTS
        )
        if not found:
            return ""
        id, row = found[number % len(found)]
        siblings = sum(other["deployment"] == row["deployment"] for _, other in found) - 1
        pid = self.site.pids()[id]
        stat = read_stat(pid)
        window = self.excuse(row["deployment"])
        if stat is not None:
            send(pid, stat.start_time, signal.SIGKILL)
        if alone and siblings:
            window.until = time.monotonic() + GRACE_S
        return str(row["deployment"])

    async def kill_envoy(self) -> None:
        window = self.excuse(*NAMES)
        if (envoy := self.site.envoy()) is not None:
            send(envoy.pid, envoy.start_time, signal.SIGKILL)
        if self.site.manager.alive:
            await self.until_all_answer(window)

    async def restart_manager(self) -> None:
        """A new one, and what died with the old one is back."""
        await self.site.restart()
        for window in self.windows:
            if window.until is None and set(window.names) == set(NAMES):
                await self.until_all_answer(window)

    async def until_all_answer(self, window: Window) -> None:
        async def answer(name: str) -> None:
            while not await self.answers(name):  # noqa: ASYNC110 - nothing tells but asking
                await asyncio.sleep(0.05)

        waiting = asyncio.gather(*(answer(name) for name in self.loads))
        await bounded(waiting, ENVOY_S, "after a kill of Envoy every port answers again")
        window.until = time.monotonic() + GRACE_S

    async def answers(self, name: str) -> str:
        """The version that answers a request on a connection of its own; "": none."""
        connection = Connection("127.0.0.1", self.ports[name])
        try:
            async with asyncio.timeout(ENVOY_S):
                answer = await connection.request("GET", "/")
                return answer.version if answer.status == 200 else ""
        except (Failed, TimeoutError):
            return ""
        finally:
            connection.close()

    # ------------------------------------------------------------------------------------------- the known state

    async def clear(self) -> None:
        """Back to where every history begins: no deployment."""
        if not self.site.manager.alive:
            await self.site.restart()
        for name in NAMES:
            self.promised.pop(name, None)
            await self.no_load(name)
            while True:
                try:
                    with suppress(DeploymentNotFound):
                        await self.site._abort(name)
                        await self.site.client.delete(name)
                    break
                except ClientError as error:
                    self.broken.append(f"{name} could not be deleted: {error}")
                    raise
        self.windows.clear()


@contextmanager
def open_ground(directory: Path, seconds: float) -> Iterator[Ground]:
    """seconds: how long new steps are begun, from when the manager is ready."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="ground")
    thread.start()

    def do(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(STEP_S)

    stack = open_site(directory, replicas=2)
    try:
        site = do(stack.__aenter__())
        ground = Ground(site, loop, time.monotonic() + seconds)
        looking = asyncio.run_coroutine_threadsafe(ground.keep_looking(), loop)
        try:
            yield ground
        except BaseException as error:
            looking.cancel()
            error.add_note(f"the manager's log ends:\n{site.manager.tail(60)}")
            do(_end(ground))
            do(stack.__aexit__(None, None, None))
            raise
        if looking.done():
            looking.result()  # it has failed, and nobody has looked since
        looking.cancel()
        do(_end(ground))
        do(stack.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(ground: Ground) -> None:
    for load in ground.loads.values():
        await load.__aexit__(asyncio.CancelledError)
    ground.loads.clear()
