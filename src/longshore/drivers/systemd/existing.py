"""Instances that are the user's own unit, on one host: linked to a release, restarted, stopped; never written.

    start    link `current`, write down whose it is and which run it has ─► another run since? no ─► RestartUnit
    stop     StopUnit ─► take the record away

What is ours about it is a record, STATE/existing/UNIT: mark of the launch, deployment, the run before. The last tells
after a lost connection whether it was restarted already; whoever else starts it since starts what is linked.
"""

from __future__ import annotations

from dataclasses import dataclass

from longshore.drivers.base import DriverError, Exit, Launch, Stopped
from longshore.drivers.systemd import journal, scripts
from longshore.drivers.systemd.managed import KILL_TIMEOUT_S
from longshore.drivers.systemd.manager import Refused, Systemd, title_of
from longshore.drivers.systemd.state import UnitState, why
from longshore.drivers.systemd.units import existing_name, mark_of
from longshore.fence import Fence
from longshore.hosts.base import ScriptFailed

#: seconds that a start may take where the unit says no bound of its own, and those beyond the bound that it says
START_S, SLACK_S = 600.0, 15.0


@dataclass(frozen=True, slots=True)
class Existing:
    """What is done with the user's own units of one host."""

    systemd: Systemd
    manager_id: str
    fence: Fence

    async def start(self, launch: Launch) -> UnitState:
        """Have it run from the release of this launch: its state then. Raises DriverError where it cannot."""
        unit = existing_name(launch)
        state = await self.systemd.state(unit)
        if state.load != "loaded":
            raise DriverError(
                f"{launch.instance} cannot be started on {title_of(self.systemd.host)}: {_not_loaded(state)}"
            )
        before = await self._claim(launch, unit)
        state = await self.systemd.state(unit)
        if state.up and state.invocation != before:
            return state
        try:
            return await self._begin(launch, unit)
        except Refused as error:
            raise DriverError(f"{launch.instance} cannot be started: {error}") from error

    async def stop(self, unit: str, launch_id: str, grace_s: float) -> Stopped:
        """Harmless where another launch has the unit by now, or nobody of ours."""
        if not await self.holds(unit, launch_id):
            return Stopped(Exit(None), False)
        async with self.systemd.watching(unit):
            killed = False
            state = await self.systemd.state(unit)
            if not state.down:
                killed = await self._end(unit, state, grace_s)
                state = await self.systemd.state(unit)
        self.fence()
        await self.systemd.host.run(scripts.DISCLAIM, *self._record(unit), mark_of(self.manager_id, launch_id))
        return Stopped(state.exit or Exit(None), killed)

    async def holds(self, unit: str, launch_id: str) -> bool:
        """Whether the unit is this launch's."""
        host = self.systemd.host
        await host.connect()
        done = await host.run(scripts.WHOSE, *self._record(unit))
        return done.stdout.decode("utf-8", "replace").strip() == mark_of(self.manager_id, launch_id)

    # --- private

    async def _claim(self, launch: Launch, unit: str) -> str:
        """The release is linked, the record written. The run that the unit had then; "-": none."""
        host = self.systemd.host
        await host.connect()
        self.fence()
        try:
            done = await host.run(
                scripts.CLAIM,
                *self._record(unit),
                *(mark_of(self.manager_id, launch.launch_id), launch.deployment),
                "systemctl --user" if host.scope == "user" else "systemctl",
                *(str(launch.directory), str(launch.working_directory or "")),
            )
        except ScriptFailed as error:
            if error.done.code != scripts.REFUSED:
                raise
            said = error.done.stderr.decode("utf-8", "replace").strip()
            raise DriverError(f"{launch.instance} cannot be started on {title_of(host)}: {said}") from error
        return done.stdout.decode("ascii", "replace").strip()

    async def _begin(self, launch: Launch, unit: str) -> UnitState:
        async with self.systemd.watching(unit) as changed:
            if (await self.systemd.state(unit)).active == "failed":
                await self.systemd.reset_failed(unit)
            job = await self.systemd.restart(unit)
            state = await self.systemd.state(unit)
            if state.notifies:
                while not job.done and not (state.active == "activating" and state.main_pid):
                    await changed()
                    state = await self.systemd.state(unit)
            else:
                bound_s = START_S if state.start_timeout is None else state.start_timeout + SLACK_S
                bound_s += state.stop_timeout or 0
                if await job.result(bound_s) is None:
                    raise DriverError(
                        f"{launch.instance}: {unit} was not started within {bound_s:g} s: it is {state.sub}"
                    )
            state = await self.systemd.state(unit)
            result = await job.result(0) if job.done else "done"
            if state.up or result == "done":
                return state
            known = await journal.ending(self.systemd.host, state.invocation)
            said = why(state.result, state.exit, state.memory_max) or f"it {state.exit or known.exit}"
        where = title_of(self.systemd.host)
        raise DriverError(
            f"{launch.instance} cannot be started on {where}: the start of {unit} {result}: {known.reason or said} "
            f"(journalctl -u {unit} there tells more)"
        )

    async def _end(self, unit: str, state: UnitState, grace_s: float) -> bool:
        """The unit has its own time to end in; ours counts where it has none."""
        job = await self.systemd.stop(unit)
        bound_s = grace_s if state.stop_timeout is None else state.stop_timeout * 3 + SLACK_S
        if await job.result(bound_s) is None:
            await self.systemd.kill(unit)
            if await job.result(KILL_TIMEOUT_S) is None:
                raise DriverError(f"{unit} did not end within {KILL_TIMEOUT_S:g} s of being killed: look at it there")
            return True
        return (await self.systemd.state(unit)).result == "timeout"

    def _record(self, unit: str) -> tuple[str, str]:
        return str(self.systemd.host.state), unit


def _not_loaded(state: UnitState) -> str:
    if state.load == "not-found":
        return f'there is no unit {state.name}: write it, or let Longshore do so (systemd.unit = "managed")'
    if state.load == "masked":
        return f"{state.name} is masked: `systemctl unmask {state.name}` there"
    return f"{state.name} cannot be loaded ({state.load}): `systemctl status {state.name}` there says why"
