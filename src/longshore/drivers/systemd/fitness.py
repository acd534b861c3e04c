"""Whether units can be run on a host, which limits hold there, and what to do where not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from longshore.drivers.base import DriverError, Fingerprint, Launch
from longshore.drivers.systemd import scripts
from longshore.drivers.systemd.manager import title_of
from longshore.errors import LeaseLost
from longshore.hosts.base import Facts, Host, HostUnreachable

#: first version that has all that is asked of it (Debian 11 has 247, Ubuntu 20.04 has 245)
OLDEST = 245
#: field of Resources → controller that enforces it
CONTROLLERS = {"memory": "memory", "cpu": "cpu", "tasks": "pids"}


async def fingerprint(hosts: Sequence[Host]) -> Fingerprint:
    """Of all of them; those that cannot be reached are named, and do not make the others useless."""
    found = await asyncio.gather(*(_look(host) for host in hosts))
    details: dict[str, str] = {}
    wrong: list[str] = []
    reached = 0
    for host, (message, usable) in zip(hosts, found, strict=True):
        details[host.name or "systemd"] = message
        reached += usable is True
        if usable is False:
            wrong.append(message)
    if wrong:
        return Fingerprint(False, "; ".join(wrong), details)
    if not reached:
        return Fingerprint(False, f"no host can be reached: {'; '.join(details.values())}", details)
    where = "this machine" if len(hosts) == 1 and not hosts[0].name else f"{reached} of {len(hosts)} hosts"
    return Fingerprint(True, f"units of systemd on {where}", details)


async def refuse_limits(host: Host, launch: Launch) -> None:
    """Raises DriverError for a limit that cannot be enforced there, rather than start without it. Asks the host only
    where there are limits."""
    asked = [field for field in CONTROLLERS if getattr(launch.resources, field) is not None]
    if not asked:
        return
    version, controllers = await controllers_of(host)
    for field in asked:
        if CONTROLLERS[field] not in controllers:
            why = missing(host, version, CONTROLLERS[field])
            raise DriverError(f"a limit on {field} cannot be enforced on {title_of(host)}: {why}")


async def controllers_of(host: Host) -> tuple[str, frozenset[str]]:
    """Version of its control groups, and which controllers are in force for units of its scope."""
    done = await host.run(scripts.CONTROLLERS, host.scope)
    version, *controllers = done.stdout.decode("ascii", "replace").split() or ["?"]
    return version, frozenset(controllers)


def missing(host: Host, version: str, controller: str) -> str:
    """Why a controller is not in force there, and what to do."""
    if host.scope == "system":
        return f"the kernel has no {controller} controller (boot it with cgroup_enable={controller})"
    if version == "1":
        return 'control groups of version 1 leave none to a user\'s units: boot with version 2, or use scope = "system"'
    return (
        f"the {controller} controller is not delegated to this user: "
        f"`systemctl edit user@.service` there, [Service] Delegate=cpu memory pids"
    )


# --- private


async def _look(host: Host) -> tuple[str, bool | None]:
    """What to say of a host, and whether it can be used; None: it cannot be asked."""
    title = title_of(host)
    try:
        facts = await host.connect()
        if message := _unfit(title, facts):
            return message, False
        await host.bus()
        version, controllers = await controllers_of(host)
    except LeaseLost:
        raise
    except HostUnreachable as error:
        # On this machine it is not the way there that is missing.
        return str(error), None if host.name else False
    parts = [f"systemd {facts.systemd}", f"scope {host.scope}"]
    for field, controller in CONTROLLERS.items():
        held = controller in controllers
        parts.append(f"{field} {'enforced' if held else 'not enforced: ' + missing(host, version, controller)}")
    return f"{title}: {', '.join(parts)}", True


def _unfit(title: str, facts: Facts) -> str:
    if not facts.systemd:
        return f"{title} was not booted with systemd: units cannot be run there"
    if facts.systemd < OLDEST:
        return f"{title} has systemd {facts.systemd}; {OLDEST} or newer is needed: upgrade its distribution"
    return ""
