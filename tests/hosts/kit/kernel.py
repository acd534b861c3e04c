"""System calls that Python has no name for."""

import ctypes
import os

libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 4096, 16384, 1 << 18, 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24
# What would reach the machine itself: CAP_MAC_OVERRIDE, MAC_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_TIME, SYSLOG,
# WAKE_ALARM, BLOCK_SUSPEND.
CAPABILITIES_DROPPED = (32, 33, 16, 17, 25, 34, 35, 36)


def system(call, *arguments):
    if getattr(libc, call)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def mount(source, target, kind=None, flags=0, options=None):
    source, target, kind, options = (None if x is None else os.fsencode(x) for x in (source, target, kind, options))
    system("mount", source, target, kind, ctypes.c_ulong(flags), options)


def read_only(path):
    mount(path, path, flags=MS_BIND)
    mount(None, path, flags=MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
