"""Starting a program in a session of its own, with errors that say what to do about them.

Without limits and user the program is started directly (posix vfork and exec, 1 ms); with them through
exec_helper.py (10 ms). Both report a failed exec before they return.
"""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from longshore.drivers.base import DriverError
from longshore.drivers.identity import readable

#: seconds for exec_helper.py to become the program: a thousand times what it takes
HELPER_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class User:
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class Program:
    """One program to start. environment: all of it. cgroups: directories to join. files: limit of open files."""

    argv: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    #: entry of `environment` that finds the process; it has it from the first moment on
    mark: str
    user: User | None = None
    cgroups: tuple[Path, ...] = ()
    files: int | None = None


class _Child(subprocess.Popen[bytes]):
    """A child that is to outlive its Popen object: exits.py waits for it, by pidfd, and nobody else may."""

    def __del__(self) -> None:
        # The inherited one warns of a child left running, and hands it to a list that reaps it behind our back.
        pass


def argv_of(command: str | tuple[str, ...]) -> tuple[str, ...]:
    """The argv of a command: a string is a line for /bin/sh."""
    return ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)


def user_of(name: str) -> User:
    """Look a user up. Raises DriverError where there is none, or where this process may not become another user."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise DriverError(f"there is no user {name!r} on this machine: create it, or name another user") from None
    if os.geteuid() != 0:
        raise DriverError(f"only a manager that runs as root can run an app as user {name!r}")
    groups = tuple(os.getgrouplist(name, entry.pw_gid))
    return User(name, entry.pw_uid, entry.pw_gid, groups, entry.pw_dir)


async def spawn(program: Program, output: int) -> int:
    """Start a program with stdin from nowhere and stdout and stderr to the descriptor `output`; returns its pid.

    The program leads a session of its own and has no other descriptor of ours. It has been executed when this
    returns; nobody waits for it yet (exits.Exits.watch does). Raises DriverError saying why it cannot be executed.
    """
    if not program.argv or not program.argv[0]:
        raise DriverError("the command is empty: give it at least the name of a program")
    if not program.directory.is_dir():
        raise DriverError(f"the directory {program.directory} to run in does not exist")
    if any("\0" in text for text in (*program.argv, *program.environment, *program.environment.values())):
        raise DriverError("the command or its environment holds a NUL character, which no program can be given")
    if any("=" in name or not name for name in program.environment):
        raise DriverError("a variable of the environment has an empty name, or one with '=' in it")
    if program.user or program.cgroups or program.files is not None:
        return await _helped(program, output)
    return _direct(program, output)


# --- private


def _direct(program: Program, output: int) -> int:
    try:
        return _popen(program.argv, program.environment, output, directory=program.directory).pid
    except OSError as error:
        stage = "cwd" if error.filename == str(program.directory) else "program"
        raise DriverError(_reason(program, stage, error.errno or 0)) from error


async def _helped(program: Program, output: int) -> int:
    status = theirs = job = -1
    child: _Child | None = None
    try:
        status, theirs = os.pipe2(os.O_CLOEXEC)
        # A file in memory, not arguments: those are there for all to read, and the environment may hold secrets.
        job = os.memfd_create("longshore-job")
        _fill(job, _job(program))
        argv = (sys.executable, "-I", "-S", str(Path(__file__).with_name("exec_helper.py")), str(job), str(theirs))
        name, _, value = program.mark.partition("=")
        child = _popen(argv, {name: value}, output, pass_fds=(job, theirs))
        os.close(theirs)
        theirs = -1
        async with asyncio.timeout(HELPER_TIMEOUT_S):
            await readable(status)
        if report := os.read(status, 100).decode():
            stage, number = report.split()
            raise DriverError(_reason(program, stage, int(number)))
    except BaseException as error:
        if child is not None:
            _put_down(child.pid)
        if isinstance(error, TimeoutError):
            raise DriverError(f"{program.argv[0]} was not executed within {HELPER_TIMEOUT_S:.0f} s") from error
        if isinstance(error, OSError):
            raise DriverError(f"cannot start {program.argv[0]}: {error.strerror or error}") from error
        raise
    finally:
        for fd in (status, theirs, job):
            if fd >= 0:
                os.close(fd)
    return child.pid


def _fill(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)


def _put_down(pid: int) -> None:
    """End a child that nobody else waits for: the pid stays its own until the second line."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _popen(
    argv: tuple[str, ...],
    environment: Mapping[str, str],
    output: int,
    *,
    directory: Path | str = "/",
    pass_fds: tuple[int, ...] = (),
) -> _Child:
    return _Child(
        argv,
        cwd=str(directory),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        close_fds=True,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def _job(program: Program) -> bytes:
    fields: list[tuple[str, object]] = [("cgroup", path / "cgroup.procs") for path in program.cgroups]
    if program.files is not None:
        fields.append(("nofile", program.files))
    if (user := program.user) is not None:
        fields += [("groups", ",".join(map(str, user.groups))), ("gid", user.gid), ("uid", user.uid)]
    fields.append(("cwd", program.directory))
    fields += [("arg", argument) for argument in program.argv]
    fields += [("env", f"{name}={value}") for name, value in program.environment.items()]
    return b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in fields)


def _reason(program: Program, stage: str, number: int) -> str:
    who = f" as user {program.user.name}" if program.user else ""
    text = os.strerror(number)
    name = program.argv[0]
    match stage:
        case "cgroup":
            return f"cannot put {name} into its cgroups {', '.join(map(str, program.cgroups))}: {text}"
        case "limits":
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            return f"cannot limit {name} to {program.files} open files: {text} (the manager's own hard limit is {hard})"
        case "user":
            return f"cannot run {name}{who}: {text}"
        case "cwd":
            return f"cannot enter the directory {program.directory}{who}: {text}"
        case _:
            return _unexecutable(program, number, who, text)


def _unexecutable(program: Program, number: int, who: str, text: str) -> str:
    name = program.argv[0]
    if "/" not in name and number in (errno.ENOENT, errno.EACCES):
        where = program.environment.get("PATH", os.defpath)
        return f"no such program {name} in PATH ({where}); write ./{name} for one in the release itself"
    if number == errno.ENOENT:
        if (program.directory / name).exists():
            return f"{name} in {program.directory} cannot be executed: the interpreter its first line names is missing"
        return f"no such program {name} in {program.directory}"
    if number == errno.EACCES:
        return f"{name} in {program.directory} is not executable{who}: give it the executable bit (chmod +x)"
    if number == errno.ENOEXEC:
        return f"{name} in {program.directory} is neither a program of this machine nor a script with a #! line"
    return f"cannot execute {name} in {program.directory}{who}: {text}"
