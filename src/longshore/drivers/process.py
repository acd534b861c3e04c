"""Driver `process`: instances as plain processes of this machine, which outlive the manager.

    start():   cgroups → spawn (own session) → handle → watch → persist → return
    recover:   nothing to do: a handle names its process by pid, start time and boot, so any manager can go on with it
    stop():    SIGTERM to all of it → wait → SIGKILL what is left → until a look finds nothing

Handle: {"pid", "start_time" (clock ticks since boot), "boot_id", "pgid", "launch_id", "cgroups" (directories)}.
See docs/adr/0004-instances-outlive-the-manager.md.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from longshore.connections import can_be_told, connections_to
from longshore.drivers import cgroups, logs
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
from longshore.drivers.exits import Exits
from longshore.drivers.identity import Stat, all_ended, boot_id, lacks, read_stat, send, uptime
from longshore.drivers.listeners import stranger
from longshore.drivers.log_times import Noting
from longshore.drivers.members import Circle, listening, marked, members
from longshore.drivers.spawn import Program, argv_of, spawn, user_of
from longshore.errors import LeaseLost
from longshore.fence import Fence, unfenced

#: variable in the environment of every instance: `MANAGER/LAUNCH`
MARK = "LONGSHORE_LAUNCH"
#: seconds for killed processes to be gone; only one stuck in the kernel takes longer
KILL_TIMEOUT_S = 10.0


class ProcessDriver:
    """Runs instances as processes. All state is in the handles and in the processes themselves.

    manager_id   tells this manager's processes from another's; the same after a restart. No slash in it.
    fence        passed right before something is started or signalled
    """

    name = "process"

    def __init__(self, manager_id: str, fence: Fence = unfenced) -> None:
        if not manager_id or "/" in manager_id:
            raise ValueError(f"manager_id must be a word without a slash, not {manager_id!r}")
        self._manager_id = manager_id
        self._fence = fence
        self._exits = Exits()
        self._noting = Noting()
        self._cgroups = cgroups.Cgroups(manager_id)

    def capabilities(self) -> frozenset[str]:
        found = {"ports", "logs", "replicas"}
        if os.geteuid() == 0:
            found.add("user")
        if not self._cgroups.missing:
            found.add("limits")
        return frozenset(found)

    async def fingerprint(self) -> Fingerprint:
        details = {"files": "enforced (RLIMIT_NOFILE)"}
        for field, hierarchy in self._cgroups.available.items():
            details[field] = f"enforced (cgroup v{hierarchy.version}, {hierarchy.base})"
        for field, reason in self._cgroups.missing.items():
            # RLIMIT_AS would limit address space, of which modern runtimes reserve many times what they use, and
            # RLIMIT_NPROC counts all processes of the user: neither is a stand-in.
            details[field] = f"not enforced: {reason}"
        details["user"] = "any" if os.geteuid() == 0 else "the manager's own only: it does not run as root"
        if missing := lacks():
            return Fingerprint(False, f"needs Linux 5.4 or newer with /proc mounted: {missing}", details)
        return Fingerprint(True, "processes of this machine", details)

    async def start(self, launch: Launch, persist: Callable[[Handle], None]) -> Handle:
        program = self._program(launch)
        output = _open_log(launch.log)
        self._noting.began(launch.log)
        try:
            self._fence()
            pid = await spawn(program, output)
        except BaseException:
            await cgroups.remove(program.cgroups)
            raise
        finally:
            os.close(output)
        # A child of ours: even if it has ended already it keeps its pid until exits.py has reaped it.
        stat = read_stat(pid)
        if stat is None:
            raise DriverError(f"{launch.instance} (pid {pid}) vanished: something else reaps the manager's children")
        handle = self._handle(stat, launch.launch_id, program.cgroups)
        try:
            self._exits.watch(pid, stat.start_time)
            persist(handle)
        except LeaseLost:
            # Its row was written before it was started: it belongs to the manager that has taken over, running or not.
            raise
        except BaseException as error:
            # First without a pidfd, which may be what could not be had; nothing has awaited, so the pid is still its.
            os.killpg(pid, signal.SIGKILL)
            await asyncio.shield(self.stop(handle, 0))
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                raise DriverError(f"cannot watch {launch.instance}: {error.strerror} in the manager") from error
            raise
        return handle

    async def inspect(self, handle: Handle) -> Inspection:
        pid, start_time = handle["pid"], handle["start_time"]
        if handle["boot_id"] != boot_id():
            return Inspection("exited", Exit(None), "the machine was restarted since")
        stat = read_stat(pid)
        if (ending := self._exits.known(pid, start_time)) is not None:
            return Inspection("exited", ending, f"pid {pid} {ending}{_cause(handle)}")
        if stat is None or stat.start_time != start_time or stat.dead:
            return Inspection("exited", Exit(None), f"pid {pid} {Exit(None)}{_cause(handle)}")
        return Inspection("running", None, f"pid {pid}, up {_span(uptime(start_time))}, {_resident(pid)}")

    def notifies(self, handle: Handle) -> bool:
        return False

    async def exited(self, handle: Handle) -> Exit:
        if handle["boot_id"] != boot_id():
            return Exit(None)
        return await asyncio.shield(self._exits.watch(handle["pid"], handle["start_time"]))

    async def stop(self, handle: Handle, grace_s: float) -> Stopped:
        """As the protocol says. Killed is also what outlived the leader until the end of the grace.

        Raises DriverError naming what cannot be ended: processes of another user, or stuck in the kernel.
        """
        pid, start_time = handle["pid"], handle["start_time"]
        killed = False
        if handle["boot_id"] == boot_id():
            # Reaps it when it has ended, whichever driver object of this manager process started it.
            self._exits.watch(pid, start_time)
            circle = self._circle(handle, trust_session=_exists(handle))
            if not await self._terminate(circle, handle, grace_s):
                killed = await self._kill(circle, handle)
        await cgroups.remove(_groups(handle))
        # Whoever asks once it is stopped is told that it has ended: how, the one who stopped it was told.
        ending = self._exits.forget(pid, start_time)
        return Stopped(ending or Exit(None), killed)

    async def survey(self) -> Mapping[str, Handle]:
        return await asyncio.to_thread(self._survey)

    async def successor(self, handle: Handle) -> Handle | None:
        return None  # nobody starts a process again but the manager

    async def connections(self, handle: Handle, port: int) -> int | None:
        if handle["boot_id"] != boot_id() or not can_be_told():
            return None
        return await asyncio.to_thread(connections_to, port)

    async def ports(self, handle: Handle) -> frozenset[int]:
        if handle["boot_id"] != boot_id():
            return frozenset()
        found = await self._members(self._circle(handle, trust_session=_exists(handle)), handle)
        return await asyncio.to_thread(listening, [stat.pid for stat in found])

    async def stranger(self, handle: Handle, port: int) -> str:
        # The leader alone, first: mostly it is the one, and to find the others costs a look at every process.
        leader = [handle["pid"]] if _exists(handle) else []
        if not (found := await asyncio.to_thread(stranger, port, leader)) or handle["boot_id"] != boot_id():
            return found
        circle = await self._members(self._circle(handle, trust_session=_exists(handle)), handle)
        return await asyncio.to_thread(stranger, port, [stat.pid for stat in circle])

    def logs(
        self, output: Output, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        return logs.read(output.log, tail=tail, since=since, follow=follow)

    def note_times(self, outputs: Collection[Output]) -> None:
        self._noting.note({output.log for output in outputs})

    def close(self) -> None:
        """The manager leaves: stop watching. The instances go on."""
        self._exits.close()

    # --- private

    def _program(self, launch: Launch) -> Program:
        user = user_of(launch.user) if launch.user else None
        mark = f"{self._manager_id}/{launch.launch_id}"
        environment = dict(launch.environment)
        if user is not None:
            environment = {"HOME": user.home, "USER": user.name, "LOGNAME": user.name} | environment
        environment[MARK] = mark
        # The launch is part of the name: a leaf is never shared with what is left of an earlier start. Those of the
        # same instance that ended and was not stopped go now, so that one that keeps crashing leaves no trail.
        self._cgroups.sweep(f"{launch.instance}.")
        leaf = f"{launch.instance}.{launch.launch_id[-8:]}"
        return Program(
            argv=argv_of(launch.command),
            directory=launch.directory,
            environment=environment,
            mark=f"{MARK}={mark}",
            user=user,
            cgroups=self._cgroups.create(leaf, launch.resources),
            files=launch.resources.files,
        )

    def _handle(self, stat: Stat, launch_id: str, groups: tuple[Path, ...]) -> dict[str, Any]:
        return {
            "pid": stat.pid,
            "start_time": stat.start_time,
            "boot_id": boot_id(),
            "pgid": stat.pgid,
            "launch_id": launch_id,
            "cgroups": [str(group) for group in groups],
        }

    def _circle(self, handle: Handle, *, trust_session: bool) -> Circle:
        mark = f"{MARK}={self._manager_id}/{handle['launch_id']}".encode()
        return Circle(mark, handle["pid"], handle["start_time"], trust_session)

    async def _members(self, circle: Circle, handle: Handle) -> list[Stat]:
        return await asyncio.to_thread(lambda: members(circle, cgroups.pids(_groups(handle))))

    async def _terminate(self, circle: Circle, handle: Handle, grace_s: float) -> bool:
        """SIGTERM to every process; True if all had ended when the grace was over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace_s
        found = await self._members(circle, handle)
        self._fence()
        # Each process is asked once, and the leader's group in one call: what an application starts in answer to
        # SIGTERM (the commands of a shell's trap) is part of its ending in peace.
        grouped = send(circle.leader, circle.since, signal.SIGTERM, group=True)
        for stat in found:
            if not (grouped and stat.pgid == circle.leader):
                _send(stat, signal.SIGTERM)
        while found:
            if not await all_ended(found, deadline - loop.time()):
                return False
            found = await self._members(circle, handle)
        return True

    async def _kill(self, circle: Circle, handle: Handle) -> bool:
        """SIGKILL until a look finds nothing; True if there was something to kill."""
        killed = False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + KILL_TIMEOUT_S
        while found := await self._members(circle, handle):
            if loop.time() > deadline:
                stuck = ", ".join(str(stat.pid) for stat in found)
                raise DriverError(f"killed processes did not end within {KILL_TIMEOUT_S:.0f} s: pid {stuck}")
            self._fence()
            killed = True
            cgroups.kill_all(_groups(handle))
            for stat in found:
                _send(stat, signal.SIGKILL)
            await all_ended(found, deadline - loop.time())
        return killed

    def _survey(self) -> dict[str, Handle]:
        best: dict[str, Stat] = {}
        for stat, launch_id in marked(f"{MARK}={self._manager_id}/".encode()):
            known = best.get(launch_id)
            if known is None or _seniority(stat) < _seniority(known):
                best[launch_id] = stat
        return {
            launch_id: self._handle(stat, launch_id, self._cgroups.of(stat.pid)) for launch_id, stat in best.items()
        }


# --- private


def _open_log(log: Path) -> int:
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise DriverError(f"cannot open the log {log}: {error.strerror}") from error


def _exists(handle: Handle) -> bool:
    """Whether the pid is still that of the instance, if only as a zombie: then its session's id is, too."""
    stat = read_stat(handle["pid"])
    return stat is not None and stat.start_time == handle["start_time"]


def _groups(handle: Handle) -> list[Path]:
    return [Path(group) for group in handle.get("cgroups", ())]


def _cause(handle: Handle) -> str:
    return ": it went over its memory limit" if cgroups.out_of_memory(_groups(handle)) else ""


def _seniority(stat: Stat) -> tuple[bool, int, int]:
    """The leader of a session before all others, then the oldest: what start() would have named in the handle."""
    return stat.sid != stat.pid, stat.start_time, stat.pid


def _send(stat: Stat, number: signal.Signals) -> None:
    try:
        send(stat.pid, stat.start_time, number)
    except PermissionError as error:
        raise DriverError(f"may not end pid {stat.pid}: it runs as another user than the manager") from error


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _resident(pid: int) -> str:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return "memory unknown"
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 1e6:.0f} MB"
