"""Instances as units that are generated, on one host.

    start    write files (STALE: reload) ─► StartUnit ─► executed ─► handle
    stop     StopUnit ─► grace ─► SIGKILL ─► take the files away (pinned: reload)

Both may be cut short anywhere and done again: whether a unit runs is asked of systemd, whether it is of this launch of
what it has loaded, which holds the launch's mark.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longshore.drivers.base import DriverError, Exit, Launch, Stopped
from longshore.drivers.systemd import journal, scripts
from longshore.drivers.systemd.manager import Job, Refused, Systemd, title_of
from longshore.drivers.systemd.quoting import unit_escape
from longshore.drivers.systemd.state import UnitState, why
from longshore.drivers.systemd.units import HEADER, UnitName, files, managed_name, mark_of, wanted_by
from longshore.fence import Fence
from longshore.hosts.base import ScriptFailed

#: seconds until a program must have been executed (Type=exec), with all that systemd does before
EXECUTED_S = 60.0
#: seconds for killed processes to be gone; only one stuck in the kernel takes longer
KILL_TIMEOUT_S = 10.0
#: seconds that a script may take beyond what it waits for
SCRIPT_S = 30.0


@dataclass(frozen=True, slots=True)
class Managed:
    """What is done with the generated units of one host."""

    systemd: Systemd
    manager_id: str
    fence: Fence

    async def start(self, launch: Launch) -> UnitState:
        """Have it run: the state of its unit then. Raises DriverError, with nothing of it left, where it cannot."""
        name = managed_name(launch)
        state = await self.systemd.state(str(name))
        if not (self.holds(state, launch.launch_id) and state.up):
            await self._install(launch, name, state)
            state = await self._loaded(launch, name)
        # After a connection that was lost it may have been started already, and by this launch: the script has seen to
        # it that nothing else runs under this name.
        if state.up:
            return state
        try:
            return await self._begin(launch, name, state)
        except Refused as error:
            await self._undo(launch, name)
            raise DriverError(f"{launch.instance} cannot be started: {error}") from error

    async def stop(self, name: UnitName, deployment: str, launch_id: str, grace_s: float) -> Stopped:
        async with self.systemd.watching(str(name)):
            state = await self.systemd.state(str(name))
            killed = False
            if self.holds(state, launch_id):
                if not state.down:
                    killed = await self._end(state, name, grace_s)
                    state = await self.systemd.state(str(name))
                if state.active == "failed":
                    await self.systemd.reset_failed(str(name))
            ours = self.holds(state, launch_id)
        last = await self._remove(name, deployment, launch_id)
        if ours and state.pinned:
            await self.systemd.reload()
        if ours and last and state.slice.endswith(f"-{unit_escape(name.service)}.slice"):
            # The group that systemd puts all instances of a template into goes with the last of them.
            await self.systemd.stop(state.slice)
        return Stopped((state.exit if ours else None) or Exit(None), killed)

    def holds(self, state: UnitState, launch_id: str) -> bool:
        """Whether what systemd has loaded is this launch's."""
        return state.mark == mark_of(self.manager_id, launch_id)

    # --- private

    async def _install(self, launch: Launch, name: UnitName, state: UnitState) -> None:
        """Its files stand on the host, and nothing of another launch runs."""
        host = self.systemd.host
        facts = await host.connect()
        made = files(
            launch,
            name,
            manager_id=self.manager_id,
            scope=host.scope,
            version=facts.systemd,
            environment_file=host.state / "environment" / str(name),
        )
        self.fence()
        try:
            await host.run(
                scripts.INSTALL,
                *(str(host.state), str(host.units), str(name), name.service, self._header(launch.deployment)),
                *(mark_of(self.manager_id, launch.launch_id), str(launch.directory), made.program, launch.user or ""),
                *(wanted_by(host.scope), "systemctl --user" if host.scope == "user" else "systemctl"),
                *(made.template, made.drop_in, made.environment),
                timeout_s=SCRIPT_S + (state.stop_timeout or 0),
            )
        except ScriptFailed as error:
            if error.done.code != scripts.REFUSED:
                raise
            said = error.done.stderr.decode("utf-8", "replace").strip()
            raise DriverError(f"{launch.instance} cannot be started on {title_of(host)}: {said}") from error

    async def _loaded(self, launch: Launch, name: UnitName) -> UnitState:
        """systemd has read the files. It does so by itself for a unit that it had not in memory."""
        state = await self.systemd.state(str(name))
        if state.stale or not self.holds(state, launch.launch_id):
            await self.systemd.reload()
            state = await self.systemd.state(str(name))
        return state

    async def _begin(self, launch: Launch, name: UnitName, state: UnitState) -> UnitState:
        unit = str(name)
        if state.active == "failed":
            await self.systemd.reset_failed(unit)
        async with self.systemd.watching(unit) as changed:
            job = await self.systemd.start(unit)
            if launch.systemd.type == "notify":
                # Its job goes on until the application says that it is ready, which is not waited for here.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EXECUTED_S):
                        while not job.done and not (state := await self.systemd.state(unit)).main_pid:
                            await changed()
                if state.main_pid:
                    await self.systemd.host.run(scripts.EXECUTED, str(state.main_pid), check=False)
            else:
                await job.result(EXECUTED_S)
            state = await self.systemd.state(unit)
            if state.up or await _ran(job, state):
                return state
            reason = f"not within {EXECUTED_S:g} s: it is {state.sub}" if state.queued else await self._reason(state)
            await self._undo(launch, name)
        raise DriverError(f"{launch.instance} cannot be started on {title_of(self.systemd.host)}: {reason}")

    async def _reason(self, state: UnitState) -> str:
        known = await journal.ending(self.systemd.host, state.invocation)
        general = why(state.result, state.exit, state.memory_max) or f"systemd says {state.result}"
        return f"{known.reason} ({general})" if known.reason else general

    async def _end(self, state: UnitState, name: UnitName, grace_s: float) -> bool:
        """Whether it had to be killed. Raises DriverError where even that does not end it."""
        unit = str(name)
        if state.stop_timeout is not None and grace_s > state.stop_timeout:
            self.fence()
            await self.systemd.host.run(
                scripts.LEAVE_TIME, str(self.systemd.host.units), unit, f"{grace_s:.3f}s", check=False
            )
            await self.systemd.reload()
        job = await self.systemd.stop(unit)
        result = await job.result(grace_s) if grace_s > 0 else None
        if result is None:
            await self.systemd.kill(unit)
            if await job.result(KILL_TIMEOUT_S) is None:
                raise DriverError(f"{unit} did not end within {KILL_TIMEOUT_S:g} s of being killed: look at it there")
            return True
        return (await self.systemd.state(unit)).result == "timeout"

    async def _undo(self, launch: Launch, name: UnitName) -> None:
        await self.stop(name, launch.deployment, launch.launch_id, 0)

    async def _remove(self, name: UnitName, deployment: str, launch_id: str) -> bool:
        """Its files are gone; whether it was the last of its service."""
        host = self.systemd.host
        await host.connect()  # only then it is known where its units are
        self.fence()
        done = await host.run(
            scripts.REMOVE,
            *(str(host.state), str(host.units), str(name), name.service, self._header(deployment)),
            *(mark_of(self.manager_id, launch_id), wanted_by(host.scope)),
        )
        return b"last" in done.stdout.split()

    def _header(self, deployment: str) -> str:
        return f"{HEADER} {self.manager_id} {deployment}"


def name_of(handle: Mapping[str, Any]) -> UnitName:
    service, _, instance = str(handle["unit"]).removesuffix(".service").partition("@")
    return UnitName(service, instance)


# --- private


async def _ran(job: Job, state: UnitState) -> bool:
    """It was executed, whatever became of it then: 200 to 245 are systemd's own, for what goes wrong before."""
    if state.exit is None or not state.invocation:
        return False
    result = await job.result(0) if job.done else None
    if result == "done":
        return True
    return state.exit.code is not None and not 200 <= state.exit.code <= 245
