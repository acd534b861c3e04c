"""Cgroups. A systemd that starts in the root cgroup of a hierarchy moves every process it finds there, those of the
machine included. So each host gets a leaf of its own in every hierarchy, and does not start outside of it.
"""

import contextlib
import dataclasses
import os
import signal
import time
from pathlib import Path

from kernel import MS_NODEV, MS_NOEXEC, MS_NOSUID, mount
from machine import NAME, CannotRun, Failed


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    controllers: str  # as in /proc/self/cgroup: "memory", "cpu,cpuacct", "name=systemd"; "" is cgroup v2
    top: Path  # where it is mounted
    base: Path  # this run's own cgroup in it


class Cgroups:
    """BASE/keeper and BASE/hostI in every hierarchy, BASE being a new cgroup under the one this process is in."""

    def __init__(self, run_id):
        self.leaf = f"{NAME}-{run_id}"
        mounts = []
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            root, point = left.split()[3:5]
            kind, _, options = right.split(" ", 2)
            if kind in ("cgroup", "cgroup2"):
                mounts.append((kind, set(options.split(",")), root, point))
        self.hierarchies = []
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            for kind, options, root, point in mounts:
                mine = set(controllers.split(",")) <= options if controllers else kind == "cgroup2"
                if mine and f"{own}/".startswith(f"{root.rstrip('/')}/") and not own.startswith("/.."):
                    base = Path(point, own[len(root.rstrip("/")) :].lstrip("/"), self.leaf)
                    self.hierarchies.append(Hierarchy(controllers, Path(point), base))
                    break
            else:
                raise CannotRun(
                    f"the cgroup hierarchy {controllers or 'v2'} is not mounted where this process can see it"
                )
        self.unified = any(h.controllers == "" and h.top == Path("/sys/fs/cgroup") for h in self.hierarchies)
        if not self.unified and not any(h.controllers == "name=systemd" for h in self.hierarchies):
            raise CannotRun("neither cgroup v2 at /sys/fs/cgroup nor a name=systemd hierarchy is mounted")
        self.switched_on = []  # (cgroup, controller) that were off before

    def bases(self):
        return [str(h.base) for h in self.hierarchies]

    def make(self, name):
        for h in self.hierarchies:
            for group in (h.base, h.base / name):
                group.mkdir(exist_ok=True)
                for file in ("cpuset.cpus", "cpuset.mems"):  # empty in a new v1 cgroup, which then takes no process
                    if h.controllers and (group / file).exists() and not (group / file).read_text().strip():
                        (group / file).write_text((group.parent / file).read_text())

    def enter(self, name):
        for h in self.hierarchies:
            (h.base / name / "cgroup.procs").write_text("0")
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if not line.endswith(f"/{self.leaf}/{name}"):
                raise Failed(f"refusing to start: still in the cgroup {line}")

    def remove(self, name):
        for h in self.hierarchies:
            remove_cgroup(h.base / name)

    def switch_on(self):
        """On cgroup v2: have the kernel offer its controllers to the hosts. Needs this process in `keeper` already."""
        for h in self.hierarchies:
            if h.controllers == "":
                for group in (h.base.parent, h.base):
                    before = (group / "cgroup.subtree_control").read_text().split()
                    offered = (group / "cgroup.controllers").read_text().split()
                    for controller in ("cpu", "cpuset", "io", "memory", "pids"):
                        if controller in offered and controller not in before:
                            with contextlib.suppress(OSError):  # other processes are in it: no limits then
                                (group / "cgroup.subtree_control").write_text(f"+{controller}")
                                self.switched_on.append((str(group), controller))

    def limits(self):
        """The controllers that are in force for the hosts' units."""
        names = {name for h in self.hierarchies for name in h.controllers.split(",") if name and "=" not in name}
        for h in self.hierarchies:
            if h.controllers == "":
                names.update((h.base / "cgroup.subtree_control").read_text().split())
        return sorted(names)

    def mount(self, target):
        """The host's own view. Called in its cgroup namespace, so the top of each hierarchy is the host's leaf."""
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
        if self.unified:
            mount("cgroup2", target, "cgroup2", flags)
            return
        mount("tmpfs", target, "tmpfs", flags, "mode=755")
        for h in self.hierarchies:
            name = h.controllers.removeprefix("name=") or "unified"
            (target / name).mkdir()
            if h.controllers == "":
                mount("cgroup2", target / name, "cgroup2", flags)
            else:
                options = h.controllers if "=" not in h.controllers else f"none,{h.controllers}"
                mount("cgroup", target / name, "cgroup", flags, options)
            for controller in name.split(",") if "," in name else ():
                (target / controller).symlink_to(name)


def pace(bases, names, share):
    """At most this share of a processor for each of those cgroups of a run, which are made where they are not there;
    share 0: no bound. Returns the directory that they are in. Short periods: who waits for his share waits for some
    milliseconds."""
    period, least = 10_000, 1_000  # microseconds
    quota = max(least, round(period * share)) if share else None
    for base in map(Path, bases):
        groups = [base / name for name in names]
        if (base / "cpu.cfs_quota_us").exists():
            for group in groups:
                group.mkdir(exist_ok=True)
                (group / "cpu.cfs_period_us").write_text(str(period))
                (group / "cpu.cfs_quota_us").write_text(str(quota or -1))
            return base
        switches = base / "cgroup.subtree_control"
        if switches.exists() and "cpu" in switches.read_text().split():
            for group in groups:
                group.mkdir(exist_ok=True)
                (group / "cpu.max").write_text(f"{quota or 'max'} {period}")
            return base
    raise CannotRun("no cgroup controller bounds the use of processors here")


def remove_cgroup(top):
    """Remove a cgroup and all below it. The kernel may take a moment to see that the last process has gone."""
    deadline = time.monotonic() + 5
    while Path(top).exists():
        try:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(folder)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def kill_cgroup(top):
    """End what is still in one of our own cgroups."""
    for folder, _, _ in os.walk(top):
        with contextlib.suppress(OSError):
            for pid in Path(folder, "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
