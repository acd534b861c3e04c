"""What runs instances: the interface every driver implements, and the records that cross it.

      start ──► running ──► exited          inspect() tells which; exited() waits for the change
        │          │
        └──────────┴── stop() ──► exited    harmless on what has already ended

Instances outlive the manager. A driver therefore never relies on being the parent of what it started: everything it
needs to find an instance again is in the handle, a small JSON object that the engine stores.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from longshore.model import Resources, Systemd

#: JSON object; its keys are the driver's own business
Handle = Mapping[str, Any]


class DriverError(Exception):
    """The driver could not do what was asked; the message says what and why, for people."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One instance to start."""

    deployment: str
    instance: str
    launch_id: str
    #: shell line (run by /bin/sh -c) or argv
    command: str | tuple[str, ...]
    directory: Path
    #: the whole environment of the child but for the driver's own launch mark: nothing is inherited
    environment: Mapping[str, str]
    #: stdout and stderr go here (appended)
    log: Path
    #: the port the instance is to listen on; None: it does not listen
    port: int | None = None
    #: user name to run as; None: the manager's own
    user: str | None = None
    resources: Resources = field(default_factory=Resources)
    #: which of the driver's hosts it runs on; "": this machine
    host: str = ""
    #: what is asked of systemd beyond that, and the unit's name without suffix; for drivers whose instances are units
    systemd: Systemd = field(default_factory=Systemd)
    service: str = ""
    #: where `current` is linked to the release when a unit of the user's own is started
    working_directory: Path | None = None
    #: between SIGTERM and SIGKILL, for whatever may stop it without the manager; seconds
    stop_timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Exit:
    """How an instance ended. code: exit code, negative for a signal as in subprocess; None: not known (it was not
    started by this manager process, so nobody could ask for it)."""

    code: int | None

    def __str__(self) -> str:
        if self.code is None:
            return "ended (exit code unknown)"
        return f"was killed by signal {-self.code}" if self.code < 0 else f"exited with code {self.code}"


@dataclass(frozen=True, slots=True)
class Inspection:
    """state: running, exited, or unknown where the runtime cannot be asked."""

    state: Literal["running", "exited", "unknown"]
    exit: Exit | None = None
    #: a sentence for people, such as "pid 4711, up 3 min, 21 MB"
    message: str = ""
    #: False: it runs, but has yet to say that it is ready (systemd's Type=notify)
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Stopped:
    exit: Exit
    #: it ignored SIGTERM for the whole grace and was killed
    killed: bool


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Whether a driver or router can be used on this machine; if not, why and what to do about it."""

    usable: bool
    reason: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """Whose output is asked for. handle: None where the instance is gone, or has not been started yet."""

    deployment: str
    instance: str
    #: where Launch.log said that it goes
    log: Path
    handle: Handle | None = None
    #: as in Launch; with no handle they tell a driver whose instances are units which one it was
    host: str = ""
    service: str = ""
    existing: bool = False


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of output, without its end, undecodable bytes replaced.

    It was written between `earliest` and `latest`, in seconds since the epoch; they are the same where the runtime
    keeps a time for each line. None: not known.
    """

    text: str
    earliest: float | None = None
    latest: float | None = None


class Driver(Protocol):
    """One way of running instances. Every method may be called again after a crash in the middle of it."""

    name: str

    def capabilities(self) -> frozenset[str]:
        """Of "ports" (each instance has one of its own), "limits", "user", "logs", "replicas", "hosts" (instances on
        other machines), "existing" (the user's own units), "notify" (instances say themselves that they are ready)."""

    async def fingerprint(self) -> Fingerprint:
        """Can this driver be used here, and if not, why."""

    async def start(self, launch: Launch, persist: Callable[[Handle], None]) -> Handle:
        """Start one instance.

        `persist` is called as soon as the instance exists and before this returns; if it raises, the instance is
        ended at once and the error goes on. Returns when the program has been executed (not: when it is ready).
        Raises DriverError where it cannot be executed, naming the reason (no such file, not executable, no such user).
        """

    async def inspect(self, handle: Handle) -> Inspection:
        """What is known of it now. Never raises for an instance that is gone: that is `exited`."""

    def notifies(self, handle: Handle) -> bool:
        """Whether this instance says itself that it is ready: it is not before `inspect` has it so, whatever answers on
        its port."""

    async def exited(self, handle: Handle) -> Exit:
        """Wait, without a bound, until it has ended. The caller bounds or cancels it."""

    async def stop(self, handle: Handle, grace_s: float) -> Stopped:
        """End it and everything it started: SIGTERM, up to `grace_s` seconds, SIGKILL. Returns when all of it is gone.
        Harmless on what has ended."""

    async def survey(self) -> Mapping[str, Handle]:
        """Every instance of this manager that exists, by launch id: also those whose handle was never stored."""

    async def successor(self, handle: Handle) -> Handle | None:
        """What the runtime has started by itself in the place of an instance that ended (systemd's Restart=), and that
        runs; None: nothing. The launch is the same, the handle another."""

    async def connections(self, handle: Handle, port: int) -> int | None:
        """Connections that others have to this port of the instance, counted where it runs; None: not known there.
        Raises DriverError where its host cannot be asked."""

    async def ports(self, handle: Handle) -> frozenset[int]:
        """TCP ports that the instance (any process of it) listens on; empty where that cannot be told."""

    async def stranger(self, handle: Handle, port: int) -> str:
        """Who else than the instance answers on this port of the loopback, in words, such as "nc (pid 4711)".

        "" where nobody does, or where that cannot be told.
        """

    def logs(
        self, output: Output, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """Lines of an instance's output, oldest first; none where there is no such output (any more).

        tail     the last so many at most; None: all, as far as the driver keeps them and its own bound allows
        since    seconds since the epoch: only lines that may have been written then or later (`latest` tells)
        follow   go on with each line as it is written, without a gap, across rotation and starts of the same instance;
                 endless, and closed by whoever reads. Output that does not exist yet is waited for.
        Raises DriverError where the runtime cannot be asked (HostUnreachable, too).
        """

    def note_times(self, outputs: Collection[Output]) -> None:
        """Called each second with the outputs of all instances that exist. A driver whose lines have no times of their
        own looks how far each has come; for all others there is nothing to do. Quick, and never raises."""
