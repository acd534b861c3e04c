"""Driver `systemd`: instances as units, on this machine or on hosts that are reached by SSH.

    start():    managed.py (units that are generated) or existing.py (the user's own) → handle → persist → return
    recover:    nothing to do: units come back by themselves, and a handle names one run of one of them
    survey():   what a unit holds of us (its mark, its record) finds those that no row knows

Handle: {"host", "unit", "kind" (managed, existing), "deployment", "launch_id", "invocation", "notifies" (whether its
Type= is one that says when it is ready)}. The invocation is systemd's name for one run: what it has started again by
itself is another run of the same launch, which successor() gives.
See docs/adr/0012-instances-as-enabled-template-units.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

from longshore.drivers.base import (
    DriverError,
    Exit,
    Fingerprint,
    Handle,
    Inspection,
    Launch,
    LogLine,
    Output,
    Stopped,
)
from longshore.drivers.systemd import fitness, journal, scripts
from longshore.drivers.systemd.existing import Existing
from longshore.drivers.systemd.managed import Managed, name_of
from longshore.drivers.systemd.manager import Systemd
from longshore.drivers.systemd.output import read as journal_lines
from longshore.drivers.systemd.sockets import Sockets
from longshore.drivers.systemd.state import UnitState, why
from longshore.drivers.systemd.units import unit_of
from longshore.errors import LeaseLost
from longshore.fence import Fence
from longshore.hosts import HostUnreachable, attempt
from longshore.hosts.base import HERE, Host, Hosts

log = logging.getLogger(__name__)

#: seconds that a host which was lost may take to be there again before it is called unknown
INSPECT_S = 2.0
#: seconds that systemd may pause before it starts again what has ended, and is waited for
RESTART_S = 5.0
#: seconds between two tries to reach a host that is lost, of whoever waits for an instance there to end
AGAIN_S = 5.0
#: ended runs that are remembered
ENDINGS = 1000


class Site:
    """One host, and all that is asked of it."""

    def __init__(self, host: Host, manager_id: str, fence: Fence) -> None:
        self.host = host
        self.systemd = Systemd(host, fence)
        self.managed = Managed(self.systemd, manager_id, fence)
        self.existing = Existing(self.systemd, manager_id, fence)
        self.sockets = Sockets(host)


class SystemdDriver:
    """Runs instances as units. All state is in the handles, in systemd and in files on the hosts.

    manager_id   tells this manager's units from another's; the same after a restart. No slash in it.
    fence        passed right before something is changed; the hosts have one of their own besides
    hosts        by name; this machine under HERE where the environment names none
    """

    name = "systemd"

    def __init__(self, manager_id: str, fence: Fence, hosts: Hosts) -> None:
        self._manager_id, self._fence = manager_id, fence
        self._sites = {name: Site(host, manager_id, fence) for name, host in hosts.items()}
        #: run → how it ended
        self._endings: OrderedDict[str, Exit] = OrderedDict()

    def capabilities(self) -> frozenset[str]:
        found = {"ports", "limits", "logs", "replicas", "hosts", "existing", "notify"}
        if all(site.host.scope == "system" for site in self._sites.values()):
            found.add("user")
        return frozenset(found)

    async def fingerprint(self) -> Fingerprint:
        return await fitness.fingerprint([site.host for site in self._sites.values()])

    # ------------------------------------------------------------------------------------------- start and stop

    async def start(self, launch: Launch, persist: Callable[[Handle], None]) -> Handle:
        site = self._site(launch.host, launch.instance)
        kind = launch.systemd.unit
        await attempt(site.host, lambda: fitness.refuse_limits(site.host, launch))
        work = site.existing if kind == "existing" else site.managed
        state = await attempt(site.host, lambda: work.start(launch))
        handle = _handle(launch.host, kind, launch.deployment, launch.launch_id, state)
        try:
            persist(handle)
        except LeaseLost:
            # Its row was written before it was started: it belongs to the manager that has taken over, running or not.
            raise
        except BaseException:
            await asyncio.shield(self.stop(handle, 0))
            raise
        return handle

    async def stop(self, handle: Handle, grace_s: float) -> Stopped:
        site, killed = self._of(handle), False

        async def work() -> Stopped:
            nonlocal killed
            if handle["kind"] == "existing":
                stopped = await site.existing.stop(handle["unit"], handle["launch_id"], grace_s)
            else:
                stopped = await site.managed.stop(name_of(handle), handle["deployment"], handle["launch_id"], grace_s)
            killed = killed or stopped.killed
            return stopped

        stopped = await attempt(site.host, work)
        known = self._endings.get(handle["invocation"])
        ending = known or stopped.exit
        if handle["invocation"] and ending.code is not None:
            self._remember(handle["invocation"], ending)
        return Stopped(ending, killed)

    # -------------------------------------------------------------------------------------------------- asking

    async def inspect(self, handle: Handle) -> Inspection:
        site = self._sites.get(handle["host"])
        if site is None:
            return Inspection("unknown", None, f"host {handle['host']} is not in the configuration any more")
        try:
            return await attempt(site.host, lambda: self._inspect(site, handle), INSPECT_S)
        except HostUnreachable as error:
            return Inspection("unknown", None, str(error))

    def notifies(self, handle: Handle) -> bool:
        return bool(handle.get("notifies"))

    async def exited(self, handle: Handle) -> Exit:
        """As the protocol says. Of what ran on a host that is lost that is not known before it is back."""
        site = self._of(handle)
        while True:
            try:
                return await self._ended(site, handle)
            except HostUnreachable as error:
                log.debug("%s is waited for: %s", handle["unit"], error)
                await _present(site.host)

    async def survey(self) -> Mapping[str, Handle]:
        """What a host has that cannot be reached is not in it."""
        found: dict[str, Handle] = {}
        answers = await asyncio.gather(
            *(attempt(site.host, partial(self._survey, name, site)) for name, site in self._sites.items()),
            return_exceptions=True,
        )
        for name, answer in zip(self._sites, answers, strict=True):
            if isinstance(answer, HostUnreachable):
                log.info("instances on host %s cannot be looked for: %s", name, answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found |= answer
        return found

    async def successor(self, handle: Handle) -> Handle | None:
        """As the protocol says; one that is about to be started is waited for, some seconds. Raises HostUnreachable."""
        site = self._of(handle)
        state = await attempt(site.host, lambda: self._successor(site, handle))
        if state is None:
            return None
        return {**handle, "invocation": state.invocation, "notifies": state.notifies}

    async def connections(self, handle: Handle, port: int) -> int | None:
        site = self._of(handle)
        return await attempt(site.host, lambda: site.sockets.connections(port))

    async def ports(self, handle: Handle) -> frozenset[int]:
        async def ask(site: Site) -> frozenset[int]:
            return await site.sockets.ports(await site.systemd.processes(handle["unit"]))

        try:
            site = self._of(handle)
            return await attempt(site.host, lambda: ask(site))
        except DriverError:
            return frozenset()

    async def stranger(self, handle: Handle, port: int) -> str:
        async def ask(site: Site) -> str:
            return await site.sockets.stranger(port, await site.systemd.processes(handle["unit"]))

        try:
            site = self._of(handle)
            return await attempt(site.host, lambda: ask(site))
        except DriverError:
            return ""

    # ---------------------------------------------------------------------------------------------------- logs

    async def logs(
        self, output: Output, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """As the protocol says: from the journal, for as long as that keeps it. Of an instance that is gone, and whose
        host is not known any more, from all hosts; that is not followed."""
        unit = unit_of(output)
        sites = [self._sites[output.host]] if output.host in self._sites else list(self._sites.values())
        for site in sites:
            lines = journal_lines(site.host, unit, tail=tail, since=since, follow=follow and len(sites) == 1)
            async with aclosing(lines):
                async for line in lines:
                    yield LogLine(line.text, line.at, line.at)

    def note_times(self, outputs: Collection[Output]) -> None:
        pass  # the journal has a time for each line

    # --- private

    def _site(self, host: str, what: str) -> Site:
        try:
            return self._sites[host]
        except KeyError:
            where = f"host {host}" if host != HERE else "this machine"
            raise DriverError(f"{what} is to run on {where}, which its environment does not have (any more)") from None

    def _of(self, handle: Handle) -> Site:
        return self._site(handle["host"], handle["unit"])

    async def _inspect(self, site: Site, handle: Handle) -> Inspection:
        state = await site.systemd.state(handle["unit"])
        invocation = handle["invocation"]
        if state.runs(invocation):
            return Inspection("running", None, state.describe(), ready=state.active != "activating")
        ending, reason = await self._ending(site, state, invocation)
        message = f"{handle['unit']} {ending}" + (f": {reason}" if reason else "")
        if state.up and state.invocation != invocation:
            message += "; systemd has started it again"
        return Inspection("exited", ending, message)

    async def _ended(self, site: Site, handle: Handle) -> Exit:
        invocation = handle["invocation"]
        if (known := self._endings.get(invocation)) is not None:
            return known
        async with site.systemd.watching(handle["unit"]) as changed:
            while (state := await site.systemd.state(handle["unit"])).runs(invocation):
                await changed()
            return (await self._ending(site, state, invocation))[0]

    async def _ending(self, site: Site, state: UnitState, invocation: str) -> tuple[Exit, str]:
        """How a run that is over has ended, and why in words."""
        if state.invocation == invocation and state.exit is not None:
            self._remember(invocation, state.exit)
            return state.exit, why(state.result, state.exit, state.memory_max)
        known = await journal.ending(site.host, invocation)
        ending = self._endings.get(invocation) or known.exit
        if ending.code is not None:
            self._remember(invocation, ending)
        return ending, known.reason or why(known.result, ending, state.memory_max)

    def _remember(self, invocation: str, ending: Exit) -> None:
        self._endings.setdefault(invocation, ending)
        if len(self._endings) > ENDINGS:
            self._endings.popitem(last=False)

    async def _successor(self, site: Site, handle: Handle) -> UnitState | None:
        async with site.systemd.watching(handle["unit"]) as changed:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + RESTART_S
            while (
                not (state := await site.systemd.state(handle["unit"])).up or state.invocation == handle["invocation"]
            ):
                if state.down or state.up or not await _ours(site, handle, state):
                    return None
                try:
                    async with asyncio.timeout_at(deadline):
                        await changed()
                except TimeoutError:
                    return None
            return state if await _ours(site, handle, state) else None

    async def _survey(self, name: str, site: Site) -> dict[str, Handle]:
        host = site.host
        await host.connect()
        done = await host.run(scripts.SURVEY, str(host.state), str(host.units), self._manager_id)
        rows = [line.split(" ", 3) for line in done.stdout.decode("utf-8", "replace").splitlines()]
        states = await asyncio.gather(*(site.systemd.state(unit) for _, _, unit, _ in rows))
        found: dict[str, Handle] = {}
        for (kind, launch_id, _, deployment), state in zip(rows, states, strict=True):
            found[launch_id] = _handle(name, kind, deployment, launch_id, state)
        return found


# --- private


def _handle(host: str, kind: str, deployment: str, launch_id: str, state: UnitState) -> dict[str, Any]:
    return {
        "host": host,
        "unit": state.name,
        "kind": kind,
        "deployment": deployment,
        "launch_id": launch_id,
        "invocation": state.invocation,
        "notifies": state.notifies,
    }


async def _ours(site: Site, handle: Handle, state: UnitState) -> bool:
    if handle["kind"] == "existing":
        return await site.existing.holds(handle["unit"], handle["launch_id"])
    return site.managed.holds(state, handle["launch_id"])


async def _present(host: Host) -> None:
    """Wait until a host that was lost is there again."""
    back = asyncio.Event()
    forget = host.watch(lambda host: back.set() if host.reachable else None)
    try:
        while True:
            try:
                await host.connect()
                return
            except HostUnreachable:
                pass
            try:
                async with asyncio.timeout(AGAIN_S):
                    await back.wait()
            except TimeoutError:
                continue
    finally:
        forget()
