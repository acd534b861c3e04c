"""What stands in the files of an instance's unit. Pure: from a Launch to text.

UNITS/SERVICE@.service                        what all instances share: how they are restarted and ended
UNITS/SERVICE@12-0.service.d/longshore.conf   what this one runs: command, user, limits, sandbox
STATE/environment/SERVICE@12-0.service        its variables, for root alone: they may be secrets
UNITS/WANTED.wants/SERVICE@12-0.service       it comes back after a reboot
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, TypeVar

from longshore.drivers.base import DriverError, Launch
from longshore.drivers.systemd import quoting, sandbox

Scope = Literal["system", "user"]
Name = TypeVar("Name", str, "UnitName")

#: in the environment of each instance, as with driver `process`: MANAGER/LAUNCH
MARK = "LONGSHORE_LAUNCH"
#: first line of a generated template; what follows says whose it is
HEADER = "# Longshore:"
#: first version of systemd whose pauses between restarts grow
GROWING_RESTARTS = 254
#: first version that looks for programs where it is told to
EXEC_SEARCH_PATH = 250

_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.-]*")
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.-]*")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+")
_MANAGER = re.compile(r"[A-Za-z0-9_.-]+")
#: longest name of a unit that systemd takes (UNIT_NAME_MAX)
MAX_NAME = 255


@dataclass(frozen=True, slots=True)
class UnitName:
    """service: name of the template without `@.service`. instance: what comes after the `@`."""

    service: str
    instance: str

    def __str__(self) -> str:
        return f"{self.service}@{self.instance}.service"

    @property
    def template(self) -> str:
        return f"{self.service}@.service"


@dataclass(frozen=True, slots=True)
class Files:
    """template, drop_in, environment: texts. program: absolute path that must be there; "": any of the search path."""

    template: str
    drop_in: str
    environment: str
    program: str


def managed_name(launch: Launch) -> UnitName:
    """The unit of an instance: `shop-12-0` is `shop@12-0.service`. Raises DriverError for a name that none can have."""
    service = (launch.service or launch.deployment).removesuffix(".service")
    if not _SERVICE.fullmatch(service):
        raise DriverError(
            f"service_name {service!r} cannot name generated units: use letters, digits, and : _ . - (an @ and what "
            "follows is added to it)"
        )
    name = UnitName(service, launch.instance.removeprefix(f"{launch.deployment}-"))
    if not _INSTANCE.fullmatch(name.instance):
        raise DriverError(f"{launch.instance!r} cannot be the instance of a unit: use letters, digits, and : _ . -")
    return _not_too_long(name)


def existing_name(launch: Launch) -> str:
    """The user's own unit. Raises DriverError for what is no service's name."""
    name = launch.service or launch.deployment
    if not name.endswith(".service"):
        name += ".service"
    if not _UNIT.fullmatch(name) or name.startswith("@") or name.endswith("@.service"):
        raise DriverError(f"service_name {launch.service!r} does not name a service of systemd, such as shop.service")
    return _not_too_long(name)


def mark_of(manager_id: str, launch_id: str) -> str:
    """What tells that a unit is ours, and of which launch. Raises ValueError."""
    for text in (manager_id, launch_id):
        if not _MANAGER.fullmatch(text):
            raise ValueError(f"{text!r} must be of letters, digits, and _ . -")
    return f"{manager_id}/{launch_id}"


def wanted_by(scope: Scope) -> str:
    return "multi-user.target" if scope == "system" else "default.target"


def template(service: str, deployment: str, manager_id: str, scope: Scope, version: int) -> str:
    """The text of SERVICE@.service. version: of systemd."""
    # Not Wants=: where the network never comes fully up, each start would wait for that again, for minutes.
    network = ["After=network.target network-online.target"] if scope == "system" else []
    growing = ["RestartSteps=8", "RestartMaxDelaySec=60"] if version >= GROWING_RESTARTS else []
    lines = [
        f"{HEADER} {manager_id} {deployment}",
        f"# Generated; deploy to change it. What each instance runs: {service}@NUMBER-SLOT.service.d/longshore.conf",
        "[Unit]",
        f"Description={deployment} %i",
        *network,
        # Far above what an application needs to come up again, far below what fills a journal.
        "StartLimitIntervalSec=10min",
        "StartLimitBurst=100",
        "",
        "[Service]",
        "Restart=always",
        "RestartSec=1" if not growing else "RestartSec=500ms",
        *growing,
        "KillMode=control-group",
        f"SyslogIdentifier={service}",
        "",
        "[Install]",
        f"WantedBy={wanted_by(scope)}",
    ]
    return "\n".join(lines) + "\n"


def files(
    launch: Launch,
    name: UnitName,
    *,
    manager_id: str,
    scope: Scope,
    version: int,
    environment_file: PurePosixPath,
) -> Files:
    """All that an instance's unit consists of. version: of systemd. Raises DriverError for what cannot be said."""
    argv, program = _argv(launch, version)
    lines = [
        f"{HEADER} {manager_id} {launch.deployment}",
        "[Service]",
        # First, and in this form: scripts look for this line.
        f"Environment={MARK}={mark_of(manager_id, launch.launch_id)}",
        *(f"{key}={value}" for key, value in _service(launch, scope, version, environment_file)),
        f"ExecStart={quoting.command_line(argv)}",
    ]
    return Files(
        template(name.service, launch.deployment, manager_id, scope, version),
        "\n".join(lines) + "\n",
        quoting.environment_file(launch.environment),
        program,
    )


# --- private


def _service(launch: Launch, scope: Scope, version: int, environment_file: PurePosixPath) -> list[sandbox.Setting]:
    asked = launch.systemd
    found: list[sandbox.Setting] = [("Type", asked.type)]
    if asked.watchdog is not None:
        found.append(("WatchdogSec", f"{asked.watchdog:g}s"))
    if asked.watchdog is not None or asked.type == "notify":
        # A shell line may have a shell in front of what says so.
        found.append(("NotifyAccess", "all"))
    if asked.type == "notify":
        # How long it may take is the rollout's to say (progress_deadline), and nobody's after a reboot.
        found.append(("TimeoutStartSec", "infinity"))
    found += [
        ("EnvironmentFile", quoting.path(str(environment_file))),
        ("WorkingDirectory", quoting.path(str(launch.directory))),
        ("TimeoutStopSec", f"{max(launch.stop_timeout, 0.001):.3f}s"),
        *_identity(launch, scope),
        *_limits(launch),
    ]
    if version >= EXEC_SEARCH_PATH and (places := _search_path(launch)):
        found.append(("ExecSearchPath", quoting.path(":".join(places))))
    return found + sandbox.settings(asked.sandbox, scope, _own(launch))


def _identity(launch: Launch, scope: Scope) -> list[sandbox.Setting]:
    if scope == "user" and (launch.user or launch.systemd.dynamic_user):
        raise DriverError('with scope = "user" all units run as that user: leave out `user` and `dynamic_user`')
    found = [("User", quoting.path(launch.user))] if launch.user else []
    return [*found, ("DynamicUser", "yes")] if launch.systemd.dynamic_user else found


def _limits(launch: Launch) -> list[sandbox.Setting]:
    limits, found = launch.resources, list[sandbox.Setting]()
    if limits.memory is not None:
        found += [("MemoryAccounting", "yes"), ("MemoryMax", str(limits.memory))]
    if limits.cpu is not None:
        found.append(("CPUQuota", f"{max(limits.cpu * 100, 1):.2f}%"))
    if limits.tasks is not None:
        found.append(("TasksMax", str(limits.tasks)))
    if limits.files is not None:
        found.append(("LimitNOFILE", str(limits.files)))
    return found


def _own(launch: Launch) -> list[PurePosixPath]:
    directories = [PurePosixPath(launch.directory)]
    if launch.working_directory is not None:
        directories.append(PurePosixPath(launch.working_directory, "shared"))
    return directories


def _argv(launch: Launch, version: int) -> tuple[tuple[str, ...], str]:
    """What is executed, and which file that is, if it is one. See Files.program."""
    if isinstance(launch.command, str):
        return ("/bin/sh", "-c", launch.command), "/bin/sh"
    if not launch.command or not launch.command[0]:
        raise DriverError("the command is empty: give it at least the name of a program")
    name, *arguments = launch.command
    if "/" not in name:
        if version < EXEC_SEARCH_PATH and _search_path(launch):
            return ("/usr/bin/env", "--", name, *arguments), ""
        if name.startswith(("-", "@", ":", "+", "!")):
            return ("/usr/bin/env", "--", name, *arguments), ""
        return (name, *arguments), ""
    # systemd has no use for a relative path, and refuses some characters in this one place.
    program = posixpath.normpath(posixpath.join(launch.directory, name))
    if re.search(r"[\x00-\x20\x7f'\"\\]", program):
        return ("/bin/sh", "-c", 'exec "$0" "$@"', program, *arguments), program
    return (program, *arguments), program


def _search_path(launch: Launch) -> list[str]:
    return [place for place in launch.environment.get("PATH", "").split(":") if place.startswith("/")]


def _not_too_long(name: Name) -> Name:
    if len(str(name).encode()) > MAX_NAME:
        raise DriverError(f"the unit name {name} is longer than the {MAX_NAME} characters that systemd takes")
    return name
