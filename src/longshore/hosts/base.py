"""A machine that instances run on: what Longshore asks of it, whether it is this one or far away.

Nothing of ours is installed on a host: it has a POSIX shell, coreutils, tar, util-linux and systemd, and, if it is
another machine, an sshd. Everything that is done there is done by `run` (a shell script, for files) or over `bus`
(D-Bus, for units).

**Fenced on the host itself.** Each session (a script, a bus) first shows the epoch of its manager, under a lock on the
host. One that is older than what the host has seen is refused (LeaseLost), and sessions of older ones that still run
there are ended: a manager that was replaced while it was frozen can change nothing on any host either.

**A connection that is lost** makes the call fail with HostUnreachable, and says nothing of whether the work was done.
So whoever changes something on a host does it in a way that may be repeated, and asks before it goes on; `attempt`
repeats it for as long as a lost connection may take to come back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal, Protocol

from longshore.drivers.base import DriverError

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus

#: name of the machine that the manager runs on
HERE = ""

#: what may be given to a script on its standard input
Input = bytes | AsyncIterator[bytes]


class HostUnreachable(DriverError):
    """A host cannot be asked: it does not answer, its connection was lost, or it does not let us in. The message names
    the host, says why, and what to do where that is known.

    passing   it may be over by itself: a lost connection, a host that boots. False: somebody has to do something
    """

    def __init__(self, host: str, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.host, self.passing = host, passing


class ScriptFailed(DriverError):
    """A script on a host ended with another exit status than 0."""

    def __init__(self, host: str, message: str, done: Done) -> None:
        super().__init__(message)
        self.host, self.done = host, done


@dataclass(frozen=True, slots=True)
class Done:
    """How a script ended. code: exit status, negative for a signal."""

    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Facts:
    """What a host is, asked once for each connection.

    uid       of whoever the scripts run as
    systemd   version, such as 252; 0: there is none, or it cannot be asked
    tools     programs found there, of those that anything of ours asks for
    details   for people (doctor, /validate): os, architecture, kernel
    """

    uid: int
    user: str
    home: PurePosixPath
    systemd: int
    boot_id: str
    tools: frozenset[str] = frozenset()
    details: Mapping[str, str] = field(default_factory=dict)


class Place(Protocol):
    """Where instances are, as far as their addresses go."""

    @property
    def name(self) -> str:
        """As the configuration calls it; HERE for the manager's own machine."""

    @property
    def address(self) -> str:
        """IP address that the router and our probes reach its instances at."""

    @property
    def listen(self) -> str:
        """Address that its instances are to listen on (`HOST` in their environment)."""

    @property
    def labels(self) -> Mapping[str, str]:
        """To choose hosts by."""

    @property
    def reachable(self) -> bool | None:
        """Whether it answered when it was last asked; None: it was not asked yet."""


@dataclass(frozen=True, slots=True)
class Here:
    """This machine, for drivers that need nothing else of it."""

    name: str = HERE
    address: str = "127.0.0.1"
    listen: str = "127.0.0.1"
    labels: Mapping[str, str] = field(default_factory=dict)
    reachable: bool | None = True


class Host(Place, Protocol):
    """One machine. Made once for each manager; connects when it is first used, and again whenever that is needed."""

    @property
    def scope(self) -> Literal["system", "user"]:
        """Whose systemd: the machine's, or the user's own (`systemd --user`)."""

    @property
    def units(self) -> PurePosixPath:
        """Where generated units go. With scope "user" it lies in a home, and is known once it was connected."""

    @property
    def state(self) -> PurePosixPath:
        """Where records of ours go; likewise."""

    @property
    def lost_at(self) -> float | None:
        """time.monotonic() when it was last found to be out of reach; None: it is there, was not asked yet, or answers,
        but never has let us in."""

    def watch(self, changed: Callable[[Host], None]) -> Callable[[], None]:
        """Call `changed` whenever `reachable` becomes another. Returns what ends that."""

    async def connect(self) -> Facts:
        """Be connected; what it is. Raises HostUnreachable, LeaseLost."""

    async def run(
        self,
        script: str,
        *arguments: str,
        input: Input = b"",
        timeout_s: float = 30.0,
        check: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a POSIX shell script there ($1 … are the arguments), as the user of `scope`: root for "system".

        environment   variables, never seen in a list of processes
        check         raise ScriptFailed, with the last lines of its stderr, for another exit status than 0
        Raises HostUnreachable (also after `timeout_s` seconds: the script is ended then), LeaseLost, ScriptFailed.
        """

    def lines(self, script: str, *arguments: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """As run(), for a script that goes on: its standard output line by line, without line ends. Leaving the block
        ends it. Raises HostUnreachable, also in the middle."""

    async def bus(self) -> MessageBus:
        """A D-Bus connection to the systemd of `scope`; the same one until it is lost (its `connected` is False then,
        and the next call makes a new one). Raises HostUnreachable, LeaseLost."""

    async def close(self) -> None:
        """The manager leaves. What runs on the host stays."""


#: the hosts of an environment, by name, in the order of the configuration; {HERE: …} where it names none
Hosts = Mapping[str, Host]


def just_here(environment: str) -> Mapping[str, Place]:
    """For whoever knows no other machine than this one."""
    return {HERE: Here()}
