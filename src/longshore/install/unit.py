"""The text of the manager's unit.

Whatever the unit is kept from, everything that the manager starts is kept from as well: Envoy, hooks, and the instances
of the driver `process` are its children, inherit its sandbox, and outlive it. So only that is taken away which none of
them can need, and which stays the same when the unit is restarted around them. Left out on purpose:

    PrivateTmp, PrivateDevices, ProtectHome   artifacts and working directories may lie there; and a new /tmp for each
                                              start is another one than that of the instances from before
    ProtectControlGroups                      limits are control groups that the manager makes
    MemoryDenyWriteExecute, SystemCallFilter, RestrictNamespaces, RestrictRealtime, ProtectClock, RestrictSUIDSGID
                                              applications with a JIT, a browser, audio, graphics cards or artifacts
                                              with such files in them
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from longshore.drivers.systemd.quoting import command_line, word

#: first line of a unit that is ours to change and to remove
HEADER = "# Made by `longshore install-service`; changes belong into a drop-in (`systemctl edit longshore`)."

_UNIT = """\
{header}
[Unit]
Description=Longshore, a deployment manager
Wants=network-online.target
After=network-online.target
# It is started again for as long as it takes, also where its port is taken for a while.
StartLimitIntervalSec=0

[Service]
# It tells systemd when it is ready: what comes after it finds the API there.
Type=notify
ExecStart={command}
# Applications and Envoy are children of this unit and outlive it: without this line every restart would end them all.
KillMode=process
Restart=always
RestartSec=1
# A large database is checked and migrated at the start.
TimeoutStartSec=10min
# One that hangs is killed and started again. It gives a sign of life from its event loop.
WatchdogSec=60
# An application that runs out of memory is started again by Longshore: no reason to stop the manager.
OOMPolicy=continue
# Of the manager; applications inherit it, and Envoy needs two for each connection.
LimitNOFILE=65536
TasksMax=infinity
# For limits on memory, cpu and tasks (control groups, version 2). DelegateSubgroup needs systemd 254.
Delegate=yes
DelegateSubgroup=manager
{whose}
# What none of them needs: to change the system, the kernel's settings, its modules and its log.
ProtectSystem=full
{writable}ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
LockPersonality=yes

[Install]
WantedBy=multi-user.target
"""

_USER = """\
# Instances, hooks and Envoy run as this user, too.
User={user}
# Public ports below 1024 are Envoy's to open. Nobody here becomes another user: no sudo in hooks.
AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes"""

_ROOT = """\
# Run by root: to run instances as other users, and units of this machine."""


def render(command: Sequence[str], user: str, writable: Iterable[PurePosixPath]) -> str:
    """writable: directories below /etc and /usr that it has to write to; those that are not there are passed over.

    Raises DriverError for a path that no unit can name."""
    paths = " ".join(word(f"-{place}") for place in sorted(set(writable)))
    return _UNIT.format(
        header=HEADER,
        command=command_line(tuple(command)),
        whose=_ROOT if user == "root" else _USER.format(user=user),
        writable=f"ReadWritePaths={paths}\n" if paths else "",
    )
