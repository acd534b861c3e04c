"""Keeper: sees to it that Envoy runs and answers, from the first deployment with a port on; says so when it did not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from longshore.clock import Clock
from longshore.routers.base import RouterError
from longshore.routers.envoy.admin import Admin
from longshore.routers.envoy.files import Files, Refused
from longshore.routers.envoy.logs import holder_of, rotate
from longshore.routers.envoy.process import EnvoyProcess, Unanswering, private_directory
from longshore.routers.envoy.pulse import BEAT_S, Pulse
from longshore.routers.envoy.refusals import Refusals
from longshore.routers.envoy.resources import Json, port_of, reachable

#: How often the log's size is looked at and ports that were taken are tried again.
ROUND_S = 5.0
#: An Envoy that ends sooner than this after its start counts as a failed start.
SHORT_LIFE_S = 10.0
#: So many failures in a row are answered at once, then the pause doubles from 0.1 s up to 10 s.
FAILURES_AT_ONCE = 2

OnEvent = Callable[[str, str], None]


class Keeper:
    def __init__(self, files: Files, admin: Admin, clock: Clock, listen_host: str, on_event: OnEvent) -> None:
        self.process: EnvoyProcess
        #: Envoy is meant to run
        self.wanted = False
        #: listeners whose port somebody else has, by name; tried again every 5 s
        self.refused: dict[str, Json] = {}
        self._files = files
        self._admin = admin
        self._clock = clock
        self._on_event = on_event
        self._listen_host = listen_host
        self._refusals = Refusals(admin, clock, on_event)
        self._starting = asyncio.Lock()
        self._failures = 0
        self._started_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._rounds: list[asyncio.Task[None]] = []

    async def adopt(self) -> bool:
        """Take over a running Envoy; False: there is none, or none any more: it was hung."""
        async with self._starting:
            if self.process.pid is None and not await self._find():
                return False
            self._begin()
            return True

    async def ensure(self) -> None:
        """Envoy runs when this returns: found or started. Raises RouterError."""
        async with self._starting:
            if self.process.pid is not None:
                return
            private_directory(self.process.directory)
            if not await self._find():
                self._files.write()
                await self.process.start()
            # Also one that somebody else has started: it read the files as they were.
            await self._settle()
            if self.process.pid is None:
                raise RouterError(f"Envoy ended right after its start; see {self.process.log}")
            self._begin()

    def ended(self) -> None:
        """Envoy has ended without being asked to."""
        # During a start it is the start that fails, and says so.
        if self.wanted and not self._starting.locked():
            self._spawn(self._start_again())

    def forget(self, name: str) -> None:
        """Try no longer to listen for this deployment."""
        for listener in [each for each in self.refused if each.rpartition(".")[0] == name]:
            del self.refused[listener]

    async def leave(self) -> None:
        """Stop looking after Envoy."""
        self.wanted = False
        tasks = [*self._tasks, *self._rounds]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._rounds = []
        self.process.release()

    # --------------------------------------------------------------------------------------------------- private

    def _begin(self) -> None:
        self.wanted = True
        self._started_at = self._clock.monotonic()
        if all(task.done() for task in self._rounds):
            self._rounds = [
                asyncio.create_task(self._go_round(), name="router rounds"),
                asyncio.create_task(self._feel_pulse(), name="router pulse"),
            ]

    async def _find(self) -> bool:
        """As EnvoyProcess.find(). One that answers nobody for long enough is ended first: it will not come back."""
        try:
            return await self.process.find()
        except Unanswering as error:
            pulse = self._new_pulse()
            while (state := await pulse.ask()) == "silent":
                await self._clock.sleep(BEAT_S)
            if state != "hung":
                raise
            await self._end_hung(error.pid, pulse)
            return False

    def _new_pulse(self) -> Pulse:
        def ports() -> list[int]:
            return [port_of(listener) for listener in self._files.listeners.items]

        return Pulse(self._admin, self._clock, reachable(self._listen_host), ports)

    async def _end_hung(self, pid: int, pulse: Pulse) -> None:
        silence = f"it has answered neither on its admin socket nor on a public port for {pulse.silent_s:.0f} s"
        self._on_event("error", f"Envoy (pid {pid}) is hung: {silence}; ending it, to start it again")
        await self.process.end(pid)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="router restart")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_again(self) -> None:
        died_at = self._clock.monotonic()
        short = died_at - self._started_at < SHORT_LIFE_S
        self._failures = self._failures + 1 if short else 0
        self._on_event("error", "Envoy ended unexpectedly; starting it again")
        while self.wanted:
            if self._failures > FAILURES_AT_ONCE:
                await self._clock.sleep(min(10.0, 0.1 * 2 ** (self._failures - FAILURES_AT_ONCE)))
            try:
                await self.ensure()
            except (RouterError, OSError) as error:
                self._failures += 1
                self._on_event("error", f"Envoy could not be started again: {error}")
                continue
            away = self._clock.monotonic() - died_at
            self._on_event("warning", f"Envoy serves again after {away:.2f} s (pid {self.process.pid})")
            return

    async def _settle(self) -> None:
        """Take out what a newly started Envoy refused, so that it harms nothing else."""
        for file in (self._files.clusters, *self._files.shards):
            try:
                await file.confirm()
            except RouterError as error:
                self._on_event("error", f"Envoy refused a part of {file.path.name}: {error}")
        listeners = self._files.listeners
        if await listeners.served():
            return
        missing = set(listeners.items) - await self._admin.listeners()
        for name in sorted(missing):
            self.refused[name] = listeners.resource(name) or {}
            port = port_of(name)
            holder = await holder_of(port)
            self._on_event(
                "error", f"port {port} of {name.rpartition('.')[0]} is taken{f' {holder}' if holder else ''}; trying on"
            )
        try:
            await listeners.change(drop=missing)
        except RouterError as error:
            self._on_event("error", f"Envoy refused a part of {listeners.path.name}: {error}")

    async def _feel_pulse(self) -> None:
        was, of, pulse = "fine", self.process.pid, self._new_pulse()
        while self.wanted:
            await self._clock.sleep(BEAT_S)
            if (pid := self.process.pid) is None or self._starting.locked():
                continue
            if pid != of:
                of, pulse = pid, self._new_pulse()
            state = await pulse.ask()
            if pid != self.process.pid:
                continue  # what did not answer has ended meanwhile
            if state == "hung":
                with contextlib.suppress(RouterError):  # stuck in the kernel: it is tried again
                    await self._end_hung(pid, pulse)
                pulse = self._new_pulse()
            elif state == "deaf" and was != "deaf":
                self._on_event(
                    "warning",
                    f"Envoy (pid {pid}) serves, but does not answer on its admin socket: no routing can be changed. If "
                    f"that lasts, end it (kill {pid}): it is started again at once",
                )
            was = state

    async def _go_round(self) -> None:
        while self.wanted:
            await self._clock.sleep(ROUND_S)
            # Envoy may be away at this moment, and the disk full: there is another round.
            with contextlib.suppress(RouterError, OSError):
                await rotate(self.process.log, self._admin)
                await self._try_refused()
                await self._refusals.look()

    async def _try_refused(self) -> None:
        for name, resource in list(self.refused.items()):
            with contextlib.suppress(Refused):
                await self._files.listeners.change(put={name: resource})
                if self.refused.pop(name, None) is None:
                    # The deployment was removed, or moved to another port, while this was under way.
                    await self._files.listeners.change(drop=[name])
                    continue
                self._on_event("info", f"port {name.rpartition('.')[2]} of {name.rpartition('.')[0]} is free again")
