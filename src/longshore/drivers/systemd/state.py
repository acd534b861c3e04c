"""What systemd says of a unit, as we need it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from longshore.drivers.base import Exit
from longshore.drivers.systemd.units import MARK

#: systemd's word for "no value" in numbers
NONE = 2**64 - 1
#: waitid(2): how a process ended, in ExecMainCode
_EXITED, _KILLED, _DUMPED = 1, 2, 3

#: exit statuses of systemd's own, for what goes wrong before a program is executed (systemd.exec(5))
STAGES = {
    200: "its directory cannot be entered",
    203: "its program cannot be executed",
    205: "its limits cannot be set",
    209: "its output cannot be connected to the journal",
    216: "its group is not known there",
    217: "its user is not known there",
    218: "its capabilities cannot be set",
    219: "it cannot be put into its control group",
    226: 'its sandbox cannot be made (sandbox = "off" does without)',
    228: 'its filter of system calls cannot be set (sandbox = "full" does without)',
}


@dataclass(frozen=True, slots=True)
class UnitState:
    """load, active, sub, result, type: in systemd's words.

    invocation     of the run that is or was last, 32 hexadecimal digits; "": it never ran
    mark           MANAGER/LAUNCH of the configuration that is loaded; "": not ours
    exit           of the last main process; None: it runs, or that is not known
    since          when the main process was started, seconds since the epoch; None: never
    memory         bytes of all its processes; None: not counted
    pinned         systemd holds it in memory for another unit, even when its files are gone
    queued         something is about to be done with it
    stale          its files were changed since they were loaded
    stop_timeout   seconds between SIGTERM and SIGKILL where systemd itself counts; None: never
    start_timeout  seconds that a start may take; None: any
    """

    name: str
    load: str
    active: str
    sub: str
    result: str
    type: str
    invocation: str
    mark: str
    main_pid: int
    exit: Exit | None
    restarts: int
    since: float | None
    memory: int | None
    memory_max: int | None
    pinned: bool
    queued: bool
    stale: bool
    drop_ins: tuple[str, ...]
    stop_timeout: float | None
    start_timeout: float | None
    slice: str

    @property
    def up(self) -> bool:
        """A run is going on: not one that ended, nor a pause before the next."""
        if self.active in ("active", "reloading", "refreshing"):
            return True
        return self.active in ("activating", "deactivating") and self.main_pid != 0

    @property
    def notifies(self) -> bool:
        """Whether it says itself that it is ready."""
        return self.type in ("notify", "notify-reload")

    @property
    def down(self) -> bool:
        """Nothing of it runs, and nothing will."""
        return self.active in ("inactive", "failed") and not self.queued and not self.sub.endswith("-auto-restart")

    def runs(self, invocation: str) -> bool:
        return self.up and bool(invocation) and self.invocation == invocation

    def describe(self) -> str:
        parts = [f"pid {self.main_pid}" if self.main_pid else self.sub]
        if self.since is not None:
            parts.append(f"up {_span(time.time() - self.since)}")
        if self.memory is not None:
            parts.append(f"{self.memory / 1e6:.0f} MB")
        if self.restarts:
            parts.append(f"started again by systemd {self.restarts} time{'s' if self.restarts != 1 else ''}")
        if self.active == "activating":
            parts.append("it has not said yet that it is ready")
        return ", ".join(parts)


def state_of(name: str, unit: Mapping[str, Any], service: Mapping[str, Any]) -> UnitState:
    """From the properties of the interfaces Unit and Service."""
    started = service["ExecMainStartTimestamp"]
    return UnitState(
        name=name,
        load=unit["LoadState"],
        active=unit["ActiveState"],
        sub=unit["SubState"],
        result=service["Result"],
        type=service["Type"],
        invocation=bytes(unit["InvocationID"]).hex(),
        mark=_mark(service["Environment"]),
        main_pid=service["MainPID"],
        exit=exit_of(service["ExecMainCode"], service["ExecMainStatus"]),
        restarts=service.get("NRestarts", 0),
        since=started / 1e6 if started else None,
        memory=_number(service.get("MemoryCurrent", NONE)),
        memory_max=_number(service.get("MemoryMax", NONE)),
        pinned=bool(unit["WantedBy"] or unit["RequiredBy"]),
        queued=bool(unit["Job"][0]),
        stale=unit["NeedDaemonReload"],
        drop_ins=tuple(unit["DropInPaths"]),
        stop_timeout=_seconds(service["TimeoutStopUSec"]),
        start_timeout=_seconds(service["TimeoutStartUSec"]),
        slice=service["Slice"],
    )


def exit_of(code: int, status: int) -> Exit | None:
    """From ExecMainCode and ExecMainStatus."""
    if code == _EXITED:
        return Exit(status)
    return Exit(-status) if code in (_KILLED, _DUMPED) else None


def why(result: str, exit: Exit | None, memory_max: int | None = None) -> str:
    """What a Result of systemd's means for a person, beyond the exit; "" where it says no more."""
    match result:
        case "oom-kill":
            return "it went over its memory limit" if memory_max else "the machine had no memory left"
        case "watchdog":
            return "it did not say within its watchdog's time that it is alive"
        case "timeout":
            return "it did not do in time what systemd asked of it"
        case "start-limit-hit":
            return "it ended so often in a row that systemd starts it no more"
        case "protocol":
            return "it did not keep to its Type: it ended, or never said that it is ready"
        case "resources":
            return "systemd could not set up what it needs"
    if exit is not None and exit.code is not None and exit.code in STAGES:
        return STAGES[exit.code]
    if memory_max is not None and exit == Exit(-9):
        # With control groups of version 1 systemd does not learn of it.
        return "perhaps it went over its memory limit"
    return ""


# --- private


def _mark(environment: list[str]) -> str:
    return next((each.partition("=")[2] for each in environment if each.startswith(f"{MARK}=")), "")


def _number(value: int) -> int | None:
    return None if value == NONE else value


def _seconds(value: int) -> float | None:
    return None if value == NONE else value / 1e6


def _span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
