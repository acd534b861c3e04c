"""Limits of memory, processor time and number of tasks, by control groups (versions 2 and 1).

Each instance gets a leaf `longshore/MANAGER/INSTANCE` below the group the manager itself runs in, so that limits set on
the manager from outside hold for its instances too. Version 2 wants the leaf beside the manager, not below it: a group
that hands out controllers may hold no processes (cgroups(7), "no internal processes"), so there the manager's parent
group is used where it was delegated to us. A controller that version 2 does not offer is looked for in version 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from longshore.drivers.base import DriverError
from longshore.model import Resources

#: microseconds over which a share of the processor is counted: the kernel's own default
CPU_PERIOD_US = 100_000
#: seconds for a group to become removable after its last process has ended
REMOVAL_TIMEOUT_S = 2.0

#: field of Resources → controller that enforces it
CONTROLLERS = {"memory": "memory", "cpu": "cpu", "tasks": "pids"}


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups with one controller can be made. base: an existing directory."""

    version: int
    controller: str
    base: Path


class Cgroups:
    """The control groups of one manager. `available` and `missing` (why not) are both by field of Resources."""

    def __init__(self, manager_id: str) -> None:
        self._parent = Path("longshore", manager_id.replace("/", "_"))
        self.available: dict[str, Hierarchy] = {}
        self.missing: dict[str, str] = {}
        mounts, own = _mounts(), _own_groups()
        for field, controller in CONTROLLERS.items():
            found = _find(controller, mounts, own)
            if isinstance(found, Hierarchy):
                self.available[field] = found
            else:
                self.missing[field] = found

    def create(self, leaf: str, resources: Resources) -> tuple[Path, ...]:
        """Make the groups that hold an instance to its limits; () where it has none of theirs.

        Raises DriverError where a limit cannot be enforced here, rather than start without it.
        """
        groups: list[Path] = []
        try:
            for field in CONTROLLERS:
                limit = getattr(resources, field)
                if limit is None:
                    continue
                if field not in self.available:
                    raise DriverError(f"a limit on {field} cannot be enforced here: {self.missing[field]}")
                groups.append(self._limit(self.available[field], leaf.replace("/", "_"), float(limit)))
        except OSError as error:
            self._discard(groups)
            raise DriverError(f"cannot set up limits: {error}") from error
        except DriverError:
            self._discard(groups)
            raise
        return tuple(dict.fromkeys(groups))

    def of(self, pid: int) -> tuple[Path, ...]:
        """The groups made by create() that a process is in."""
        inner = f"/{self._parent}/"
        return tuple(
            dict.fromkeys(
                mount.directory / path.relative_to(mount.root)
                for mount in _mounts()
                if (path := _own_groups(pid).get(mount.key)) is not None
                and inner in f"{path}/"
                and path.is_relative_to(mount.root)
            )
        )

    def sweep(self, prefix: str = "") -> None:
        """Remove the groups of this manager whose name starts with `prefix` and that hold no process: those of
        instances that ended by themselves and were never stopped. Not while one of them is being started."""
        for base in {hierarchy.base for hierarchy in self.available.values()}:
            with contextlib.suppress(OSError):
                # A group that holds a process, or another group, refuses to be removed.
                self._discard(group for group in (base / self._parent).iterdir() if group.name.startswith(prefix))

    # --- private

    def _limit(self, hierarchy: Hierarchy, leaf: str, limit: float) -> Path:
        group = hierarchy.base
        for part in (*self._parent.parts, leaf):
            if hierarchy.version == 2:
                _write(group / "cgroup.subtree_control", f"+{hierarchy.controller}")
            group = group / part
            group.mkdir(exist_ok=True)
        for name, value in _settings(hierarchy, limit).items():
            _write(group / name, value)
        return group

    def _discard(self, groups: Iterable[Path]) -> None:
        for group in groups:
            if group.is_dir():
                with contextlib.suppress(OSError):
                    group.rmdir()


def pids(groups: Iterable[Path]) -> frozenset[int]:
    """The processes in these groups; a group that is gone has none."""
    found: set[int] = set()
    for group in groups:
        with contextlib.suppress(OSError):
            found |= {int(line) for line in (group / "cgroup.procs").read_text(encoding="ascii").split()}
    return frozenset(found)


def out_of_memory(groups: Iterable[Path]) -> bool:
    """Whether the kernel has killed something in these groups because of their memory limit."""
    for group in groups:
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                counts = dict(line.split() for line in (group / name).read_text(encoding="ascii").splitlines())
                if int(counts.get("oom_kill", "0")) > 0:
                    return True
    return False


def kill_all(groups: Iterable[Path]) -> None:
    """End everything in version 2 groups in one write, which no fork can outrun; version 1 has nothing like it."""
    for group in groups:
        with contextlib.suppress(OSError):
            (group / "cgroup.kill").write_text("1", encoding="ascii")


async def remove(groups: Iterable[Path]) -> None:
    """Remove the groups of an instance that has ended, and the manager's own one if that was the last in it.

    A group stays busy for a moment after its last process has ended, without an event that tells: it is tried again
    for a bounded time, then left (empty groups cost nothing, the next start of that name takes it over).
    """
    for group in groups:
        pause = 0.005
        deadline = asyncio.get_running_loop().time() + REMOVAL_TIMEOUT_S
        while not _removed(group) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)
        # Not the one above it: another manager may be about to make its own in there.
        with contextlib.suppress(OSError):
            group.parent.rmdir()


# --- private


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy. key: its name in /proc/PID/cgroup, "" for version 2. root: group that `directory` shows."""

    version: int
    key: str
    directory: Path
    root: Path


def _mounts() -> list[_Mount]:
    found: list[_Mount] = []
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        left, _, right = line.partition(" - ")
        kind, _, options = right.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        root, directory = left.split()[3:5]
        if kind == "cgroup2":
            found.append(_Mount(2, "", Path(directory), Path(root)))
        else:
            for name in options.split()[-1].split(","):
                found.append(_Mount(1, name, Path(directory), Path(root)))
    return found


def _own_groups(pid: int | str = "self") -> Mapping[str, Path]:
    """Hierarchy (a controller's name, "" for version 2) → group of a process, as the kernel names it."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found: dict[str, Path] = {}
    for line in lines:
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = Path(path)
    return found


def _find(controller: str, mounts: list[_Mount], own: Mapping[str, Path]) -> Hierarchy | str:
    reason = "this machine has no control groups for it"
    for mount in mounts:
        if mount.key not in ("", controller) or mount.key not in own:
            continue
        path = own[mount.key]
        inside = path.relative_to(mount.root) if path.is_relative_to(mount.root) else Path()
        group = mount.directory / inside
        if mount.version == 1:
            if os.access(group, os.W_OK):
                return Hierarchy(1, controller, group)
            reason = f"{group} is not writable: run the manager as root, or have the group handed to its user"
        else:
            found = _delegated(controller, group, mount.directory)
            if isinstance(found, Path):
                return Hierarchy(2, controller, found)
            reason = found or reason
    return reason


def _delegated(controller: str, group: Path, top: Path) -> Path | str:
    """The version 2 group below which leaves with this controller can be made; "" where version 2 does not offer it."""
    # The real root may hold processes and hand out controllers; it is the one without cgroup.type.
    base = group if not (group / "cgroup.type").exists() else group.parent
    try:
        if controller not in (group if group == top else base).joinpath("cgroup.controllers").read_text().split():
            return ""
        if group == top and base != group:
            return f"{group} holds processes of its own: start the manager in a group below it"
        if base != group and not _handed_over(base, top):
            return f"{base} was not handed to the manager: set Delegate=yes and DelegateSubgroup=manager in its unit"
        _write(base / "cgroup.subtree_control", f"+{controller}")
    except OSError as error:
        remedy = "set Delegate=yes and DelegateSubgroup=manager in the unit"
        return f"{base} does not hand it out ({error.strerror}): {remedy}"
    return base


def _handed_over(group: Path, top: Path) -> bool:
    """systemd marks what it delegates with an attribute; the top of a container's own tree is handed over as well."""
    for name in ("trusted.delegate", "user.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return group == top


def _settings(hierarchy: Hierarchy, limit: float) -> Mapping[str, str]:
    match hierarchy.version, hierarchy.controller:
        case 2, "memory":
            return {"memory.max": str(int(limit))}
        case 2, "cpu":
            return {"cpu.max": f"{_quota(limit)} {CPU_PERIOD_US}"}
        case 1, "memory":
            return {"memory.limit_in_bytes": str(int(limit))}
        case 1, "cpu":
            return {"cpu.cfs_period_us": str(CPU_PERIOD_US), "cpu.cfs_quota_us": str(_quota(limit))}
        case _:
            return {"pids.max": str(int(limit))}


def _quota(cores: float) -> int:
    # 1000 µs is the least the kernel takes.
    return max(1000, int(cores * CPU_PERIOD_US))


def _write(file: Path, value: str) -> None:
    try:
        with file.open("wb", buffering=0) as out:
            out.write(value.encode())
    except OSError as error:
        raise OSError(error.errno, f"cannot write {value!r} to {file}: {error.strerror}") from error


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
