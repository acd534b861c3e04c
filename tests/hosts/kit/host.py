"""A host: its names, and what its PID 1 does until it is systemd."""

import ctypes
import dataclasses
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

from kernel import (
    CAPABILITIES_DROPPED,
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUTS,
    MNT_DETACH,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    PR_CAPBSET_DROP,
    PR_SET_PDEATHSIG,
    mount,
    read_only,
    system,
)
from network import address, host_name


@dataclasses.dataclass
class Host:
    index: int
    folder: Path
    state: str = "off"  # off, running, crashed
    cut: bool = False
    boots: int = 0
    pid: int = 0  # its PID 1 as the machine sees it
    pidfd: int = -1
    console: tuple = ()  # pty: our end, the host's end, its name

    @property
    def name(self):
        return host_name(self.index)

    @property
    def root(self):
        return self.folder / "root"

    def describe(self):
        where = {"name": self.name, "address": address(self.index)}
        return where | {"state": self.state, "cut": self.cut, "boots": self.boots, "pid": self.pid}


def be_host(host, cgroups, set_ready, wait_go):
    """In the child: become the host. Never returns."""
    try:
        system("prctl", PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for number, source in ((0, null), (1, host.console[1]), (2, host.console[1])):
            os.dup2(source, number)
        cgroups.enter(host.name)
        system("unshare", CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP)
        os.write(set_ready, b"1")
        if not os.read(wait_go, 1):
            os._exit(1)
        mount_host(host, cgroups)
        socket.sethostname(host.name)
        for capability in CAPABILITIES_DROPPED:
            system("prctl", PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # python ignores these
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        os.execve("/sbin/init", ["/sbin/init"], {"container": "longshore-hosts", "TERM": "dumb", "PATH": path})
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def mount_host(host, cgroups):
    root = host.root
    mount(None, "/", flags=MS_REC | MS_PRIVATE)
    guarded = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount("proc", root / "proc", "proc", guarded)
    read_only(root / "proc/sys")
    if (root / "proc/sysrq-trigger").exists():
        read_only(root / "proc/sysrq-trigger")
    boot_id = root / "proc/sys/kernel/random/boot_id"  # else the machine's: no reboot would ever show
    mount(host.folder / "boot_id", boot_id, flags=MS_BIND)
    mount(None, boot_id, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | guarded)
    mount("sysfs", root / "sys", "sysfs", guarded | MS_RDONLY)
    cgroups.mount(root / "sys/fs/cgroup")
    mount("tmpfs", root / "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")

    dev = root / "dev"
    mount("tmpfs", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755")
    devices = {name: f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    for name, source in (devices | {"console": host.console[2]}).items():
        (dev / name).touch()
        mount(source, dev / name, flags=MS_BIND)
    for name in ("pts", "shm"):
        (dev / name).mkdir()
    mount("devpts", dev / "pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5")
    mount("tmpfs", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    (dev / "ptmx").symlink_to("pts/ptmx")
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")

    os.chdir(root)
    system("pivot_root", b".", b".")
    system("umount2", b".", MNT_DETACH)
    os.chdir("/")
