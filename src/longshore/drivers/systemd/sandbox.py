"""What a unit may see and change of its machine: the settings behind `sandbox`.

full     takes nothing away that an application needs but the right to write outside of its own directories
strict   takes much away that few need: devices, homes, most system calls, all capabilities
off      nothing

A user's own systemd cannot give a unit a file system of its own everywhere (that takes user namespaces, which
distributions restrict), so there only that is set which the kernel grants anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Literal

from longshore.drivers.systemd.quoting import word

Sandbox = Literal["off", "full", "strict"]
Setting = tuple[str, str]

#: directories that PrivateTmp= and ProtectHome= put something else in the place of
TEMPORARY = (PurePosixPath("/tmp"), PurePosixPath("/var/tmp"))
HOMES = (PurePosixPath("/home"), PurePosixPath("/root"), PurePosixPath("/run/user"))

_FULL: tuple[Setting, ...] = (
    ("NoNewPrivileges", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
)
_FULL_SYSTEM: tuple[Setting, ...] = (
    ("ProtectSystem", "strict"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectControlGroups", "yes"),
)
_STRICT: tuple[Setting, ...] = (
    ("RestrictRealtime", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallErrorNumber", "EPERM"),
)
_STRICT_SYSTEM: tuple[Setting, ...] = (
    ("CapabilityBoundingSet", ""),
    ("PrivateDevices", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectProc", "invisible"),
)


def settings(sandbox: Sandbox, scope: Literal["system", "user"], own: Iterable[PurePosixPath]) -> list[Setting]:
    """Lines of [Service]. own: directories that it can write to all the same, whether they are there or not."""
    if sandbox == "off":
        return []
    strict = sandbox == "strict"
    found = [*_FULL, *(_STRICT if strict else ())]
    if scope == "user":
        return found
    own = list(own)
    found += [*_FULL_SYSTEM, *(_STRICT_SYSTEM if strict else ())]
    if not _within(own, TEMPORARY):
        found.append(("PrivateTmp", "yes"))
    if strict:
        found.append(("ProtectHome", "read-only" if _within(own, HOMES) else "yes"))
    if own:
        # "-": one that is missing is no error.
        found.append(("ReadWritePaths", " ".join(word(f"-{directory}") for directory in own)))
    return found


def _within(directories: Iterable[PurePosixPath], places: Iterable[PurePosixPath]) -> bool:
    return any(each.is_relative_to(place) for each in directories for place in places)
