"""The Envoy process: started detached, found again, watched, and only ever one of it for a directory.

    lock free ──► start() ──► ready ──► watched by a pidfd ──► ended: on_end()
    lock taken ─► find() ──► ready ──►┘

The lock is an flock whose descriptor only Envoy inherits, so it lasts exactly as long as Envoy does. An Envoy that is a
unit of its own has no lock; there its answer on the admin socket is the sign.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import select
import signal
import stat
from collections.abc import Callable
from pathlib import Path

from longshore.clock import Clock
from longshore.fence import Fence, unfenced
from longshore.routers.base import RouterError
from longshore.routers.envoy.admin import Admin
from longshore.routers.envoy.limits import most_connections
from longshore.routers.envoy.locate import check_inotify, envoy_binary
from longshore.routers.envoy.resources import boot
from longshore.routers.envoy.socket_path import socket_path

#: Measured: 80-110 ms idle.
START_S = 10.0
ADOPT_S = 5.0
#: The descriptor under which Envoy inherits the lock.
_LOCK_FD = 3
#: Raises the file limit in Envoy alone; a limit raised in the manager would be inherited by every instance.
_EXEC = 'ulimit -n "$(ulimit -H -n)" 2>/dev/null; exec "$@"'


class Unanswering(RouterError):
    """There is an Envoy, but it does not answer on its admin socket."""

    def __init__(self, message: str, pid: int) -> None:
        super().__init__(message)
        self.pid = pid


class EnvoyProcess:
    def __init__(
        self,
        directory: Path,
        admin: Admin,
        clock: Clock,
        *,
        envoy_path: Path | None,
        concurrency: int,
        drain_time_s: int,
        on_end: Callable[[], None],
        fence: Fence = unfenced,
    ) -> None:
        self.directory = directory
        self.log = directory / "envoy.log"
        #: None: not running, or not found yet
        self.pid: int | None = None
        #: differs between any two Envoys of this machine
        self.identity = ""
        self._admin = admin
        self._clock = clock
        self._envoy_path = envoy_path
        self._concurrency = concurrency
        self._drain_time_s = drain_time_s
        self._on_end = on_end
        self._fence = fence
        self._pidfd: int | None = None

    async def find(self) -> bool:
        """Adopt the Envoy of this directory; False: there is none.

        Raises RouterError if there is one that does not answer within 5 s: never is a second one started beside it.
        Unanswering, where its pid can be told.
        """
        if not self.directory.is_dir():
            return False
        deadline = self._clock.monotonic() + ADOPT_S
        while not await self._admin.ready():
            lock = self._try_lock()
            if lock is not None:
                os.close(lock)
                return False
            if self._clock.monotonic() > deadline:
                silence = (
                    f"an Envoy holds {self.directory}/lock but does not answer on {self._admin.path} within "
                    f"{ADOPT_S:g} s; end it (fuser {self.directory}/lock tells its pid), it is then started anew"
                )
                pid = self._admin.peer_pid()
                raise Unanswering(silence, pid) if pid is not None else RouterError(silence)
            await self._clock.sleep(0.05)
        pid = self._admin.peer_pid()
        return pid is not None and self._watch(pid)

    async def start(self) -> None:
        """Start Envoy on the files as they are, and wait until it serves. Raises RouterError with what it said."""
        binary = envoy_binary(self._envoy_path)
        await asyncio.to_thread(check_inotify)
        lock = self._try_lock()
        if lock is None:
            raise RouterError(f"another Envoy runs on {self.directory}: its lock is taken")
        try:
            socket_path(self.directory)  # its short directory may have gone with an earlier Envoy
            self._fence()
            self._admin.path.unlink(missing_ok=True)
            self._write_boot()
            log_size = self.log.stat().st_size if self.log.exists() else 0
            pid = self._spawn(binary, lock)
        finally:
            os.close(lock)
        if not self._watch(pid) or not await self._until_ready():
            raise RouterError(f"Envoy did not start: {self._said_since(log_size) or f'see {self.log}'}")

    async def stop(self, bound_s: float = 10.0) -> None:
        """End Envoy, and with it all traffic: SIGTERM, SIGKILL after `bound_s`. Harmless where there is none."""
        if self._pidfd is None or self.pid is None:
            return
        self._fence()
        pidfd, pid = os.dup(self._pidfd), self.pid
        self.release()
        try:
            for number, bound in ((signal.SIGTERM, bound_s), (signal.SIGKILL, ADOPT_S)):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(pidfd, number)
                if await asyncio.to_thread(_ended, pidfd, bound):
                    _reap(pid)
                    return
        finally:
            os.close(pidfd)
        raise RouterError(f"Envoy (pid {pid}) did not end within {ADOPT_S:g} s of SIGKILL")

    async def end(self, pid: int, bound_s: float = 10.0) -> None:
        """SIGKILL to an Envoy that answers nobody. Raises RouterError if it has not ended after `bound_s`."""
        try:
            pidfd = os.dup(self._pidfd) if self._pidfd is not None and pid == self.pid else os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if pid not in (self.pid, self._admin.peer_pid()):
                return  # another has its number by now
            self._fence()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            if not await asyncio.to_thread(_ended, pidfd, bound_s):
                raise RouterError(f"Envoy (pid {pid}) did not end within {bound_s:g} s of SIGKILL")
        finally:
            os.close(pidfd)

    def release(self) -> None:
        """Watch it no longer; it goes on."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._pidfd, self.pid = None, None

    # --------------------------------------------------------------------------------------------------- private

    def _try_lock(self) -> int | None:
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def _write_boot(self) -> None:
        path = self.directory / "boot.json"
        path.write_text(json.dumps(boot(self.directory, self._admin.path, most_connections()), indent=1))

    def command(self, binary: Path) -> list[str]:
        """The command line; a unit of its own for Envoy uses the same."""
        return [
            str(binary), "-c", str(self.directory / "boot.json"), "--concurrency", str(self._concurrency),
            "--log-level", "warning", "--log-path", str(self.log), "--file-flush-interval-msec", "100",
            # No shared memory, so that several managers of one machine do not collide.
            "--disable-hot-restart",
            # How long the connections of a removed listener may go on: with 10 s, websockets were cut.
            "--drain-time-s", str(self._drain_time_s),
            # A misspelt field is refused instead of silently ignored.
            "--reject-unknown-dynamic-fields",
        ]  # fmt: skip

    def _spawn(self, binary: Path, lock: int) -> int:
        """Not subprocess: that warns of, or ends, a child which its parent leaves behind, and this one is to stay."""
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        others = [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable() if fd > 2 and fd not in (lock, _LOCK_FD)]
        return os.posix_spawn(
            "/bin/sh",
            ["/bin/sh", "-c", _EXEC, "envoy", *self.command(binary)],
            {"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
            file_actions=[*null, *others, (os.POSIX_SPAWN_DUP2, lock, _LOCK_FD)],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD],
        )

    async def _until_ready(self) -> bool:
        deadline = self._clock.monotonic() + START_S
        while self.pid is not None and self._clock.monotonic() < deadline:
            if await self._admin.ready():
                return True
            await self._clock.sleep(0.005)
        await self.stop(bound_s=0)
        return False

    def _watch(self, pid: int) -> bool:
        self.release()
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        self.pid, self.identity = pid, f"{pid}-{_started(pid)}"
        asyncio.get_running_loop().add_reader(self._pidfd, self._ended, pid)
        return True

    def _ended(self, pid: int) -> None:
        self.release()
        _reap(pid)
        self._on_end()

    def _said_since(self, size: int) -> str:
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(size)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        told = [line for line in lines if "[critical]" in line or "[error]" in line] or lines
        return told[-1] if told else ""


def private_directory(path: Path) -> None:
    """Make it (0700), or refuse one that others could write to: who writes here says where requests go."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.stat()
    if found.st_uid != os.getuid():
        raise RouterError(f"{path} belongs to user id {found.st_uid}; the router needs a directory of its own")
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o700)


def _inheritable() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - the names are all that is needed
        with contextlib.suppress(OSError):
            if os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def _ended(pidfd: int, bound_s: float) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(bound_s * 1000))


def _reap(pid: int) -> None:
    # An adopted Envoy is nobody's child here.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _started(pid: int) -> str:
    """Start time in clock ticks since boot: field 22 of proc_pid_stat(5), counted behind the command's last ')'."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "?"
