"""What one host lacks: a script that looks, and a function for each question.

connect ─► bus, controllers, one script ─► findings ─► a listener there that is connected to from here
   └── not reached: why, and nothing else can be said
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from longshore.doctor.finding import Finding, Level
from longshore.doctor.ports import ports
from longshore.drivers.systemd.fitness import CONTROLLERS, OLDEST, controllers_of, missing
from longshore.hosts.base import HERE, Facts, Host, HostUnreachable, ScriptFailed

#: what each host is asked to do, by programs of every Debian and Ubuntu → the package of one that is not there
TOOLS = {
    **dict.fromkeys(("cmp", "diff"), "diffutils"),
    **dict.fromkeys(("dd", "head", "mktemp", "sha256sum", "stat", "sync"), "coreutils"),
    **dict.fromkeys(("find", "xargs"), "findutils"),
    **dict.fromkeys(("journalctl", "systemctl", "systemd-stdio-bridge"), "systemd"),
    **{"flock": "util-linux", "grep": "grep", "sed": "sed", "ss": "iproute2", "tar": "tar"},
}
#: bytes free where applications live, below which a release may not fit, and below which hardly anything does
SPACE_WARN, SPACE_FAIL = 2 * 1024**3, 256 * 1024**2
#: seconds that two clocks may differ before times in logs and events mislead
SKEW_S = 2.0

#: apps user scope tools… → KEY=VALUE lines
LOOK = r"""
apps=$1 user=$2 scope=$3
shift 3
echo "now=$(date +%s.%N)"
for tool do command -v "$tool" > /dev/null 2>&1 || echo "lacks=$tool"; done
place=$apps
while [ ! -e "$place" ]; do place=$(dirname "$place"); done
echo "place=$place"
[ -d "$place" ] && [ -w "$place" ] || echo "closed=$place"
df -Pk "$place" | tail -n 1 | { read -r _ _ _ free _; echo "free=$free"; }
[ -z "$user" ] || id "$user" > /dev/null 2>&1 || echo "nobody=$user"
[ "$scope" = system ] || [ -e "/var/lib/systemd/linger/$(id -un)" ] || echo "lingers=no"
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the environment wants of each host. user: whom instances run as, "" for whoever the units belong to."""

    apps: str
    user: str
    ports: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """What has been asked. said: key → values, of LOOK. skew_s: its clock minus ours; margin_s: known no better."""

    host: Host
    wanted: Wanted
    facts: Facts
    said: dict[str, list[str]]
    skew_s: float
    margin_s: float


async def examine(host: Host, wanted: Wanted, now: Callable[[], float] = time.time) -> list[Finding]:
    """Everything that can be said of a host. Raises LeaseLost."""
    try:
        facts = await host.connect()
    except HostUnreachable as error:
        way = "over SSH" if host.name != HERE else "on the manager's machine"
        return [Finding(host.name, "reach", "fail", f"the manager cannot work there {way}", str(error))]
    found = [_reached(host, facts)]
    try:
        found += await _systemd(host, facts)
        seen = await _look(host, wanted, facts, now)
        found += [finding for check in CHECKS.values() for finding in check(seen)]
        if host.name != HERE and facts.systemd:
            found += await ports(host, wanted.ports)
    except (HostUnreachable, ScriptFailed) as error:
        found.append(Finding(host.name, "reach", "fail", "it could not be asked everything", str(error)))
    return found


# --- what was seen


def tools(seen: Seen) -> Iterator[Finding]:
    lacks = seen.said.get("lacks", [])
    if lacks:
        packages = " ".join(sorted({TOOLS[tool] for tool in lacks}))
        yield _of(seen, "tools", "fail", f"lacks {', '.join(lacks)}", f"there: apt-get install {packages}")
    else:
        yield _of(seen, "tools", "ok", "tar, flock, sha256sum, dd and the others are there; Python is not needed")


def user(seen: Seen) -> Iterator[Finding]:
    if "nobody" in seen.said:
        name = seen.wanted.user
        remedy = f"there: useradd --system --create-home {name}, or name another `user` for the environment"
        yield _of(seen, "user", "fail", f"there is no user {name}, whom instances are to run as", remedy)
    elif seen.wanted.user:
        yield _of(seen, "user", "ok", f"there is a user {seen.wanted.user}")


def linger(seen: Seen) -> Iterator[Finding]:
    if "lingers" in seen.said:
        text = f"units of {seen.facts.user} end when nobody is logged in, and do not start at boot"
        yield _of(seen, "linger", "fail", text, f"there: loginctl enable-linger {seen.facts.user}")
    elif seen.host.scope == "user":
        yield _of(seen, "linger", "ok", f"the systemd of {seen.facts.user} runs while nobody is logged in")


def space(seen: Seen) -> Iterator[Finding]:
    place = (seen.said.get("place") or [seen.wanted.apps])[0]
    if "closed" in seen.said:
        text = f"{seen.facts.user} may not write in {place}, or its disk is read-only"
        yield _of(seen, "space", "fail", text, "mend that, or name another place (`apps` of the environment)")
        return
    free = int((seen.said.get("free") or ["0"])[0]) * 1024
    text = f"{free / 1024**3:.1f} GiB free in {place}"
    level: Level = "ok" if free >= SPACE_WARN else "warn" if free >= SPACE_FAIL else "fail"
    remedy = "" if level == "ok" else "make room: a release is unpacked beside the others (`longshore prune NAME`)"
    yield _of(seen, "space", level, text, remedy)


def clock(seen: Seen) -> Iterator[Finding]:
    if seen.host.name == HERE:
        return
    if abs(seen.skew_s) <= SKEW_S + seen.margin_s:
        yield _of(
            seen, "clock", "ok", f"its clock differs from the manager's by less than {SKEW_S + seen.margin_s:.0f} s"
        )
        return
    text = f"its clock is {abs(seen.skew_s):.0f} s {'ahead of' if seen.skew_s > 0 else 'behind'} the manager's"
    remedy = "there, and on the manager's machine: timedatectl set-ntp true (package systemd-timesyncd or chrony)"
    yield _of(seen, "clock", "warn", text, remedy)


# To add a check: a function above that yields Findings, each with a remedy unless it is ok; what it needs to know in
# LOOK; a line here; a line in docs/guide/hosts.md.
CHECKS: dict[str, Callable[[Seen], Iterator[Finding]]] = {
    "tools": tools,
    "user": user,
    "linger": linger,
    "space": space,
    "clock": clock,
}


# --- private


def _of(seen: Seen, check: str, level: Level, text: str, remedy: str = "") -> Finding:
    return Finding(seen.host.name, check, level, text, remedy)


def _reached(host: Host, facts: Facts) -> Finding:
    is_ = ", ".join(facts.details.values())
    return Finding(host.name, "reach", "ok", f"works there as {facts.user}{f': {is_}' if is_ else ''}")


async def _systemd(host: Host, facts: Facts) -> list[Finding]:
    if not facts.systemd:
        remedy = "boot the machine with systemd; a container mostly has none"
        return [Finding(host.name, "systemd", "fail", "was not booted with systemd: units cannot run there", remedy)]
    if facts.systemd < OLDEST:
        text = f"systemd {facts.systemd}; {OLDEST} or newer is needed"
        return [Finding(host.name, "systemd", "fail", text, "upgrade its distribution")]
    try:
        await host.bus()
    except HostUnreachable as error:
        if error.passing:
            raise
        return [Finding(host.name, "systemd", "fail", "its systemd cannot be asked over D-Bus", str(error))]
    found = [Finding(host.name, "systemd", "ok", f"systemd {facts.systemd}, scope {host.scope}")]
    version, there = await controllers_of(host)
    lacking = {field: controller for field, controller in CONTROLLERS.items() if controller not in there}
    for field, controller in lacking.items():
        text = f"a limit on {field} cannot be enforced: a deploy that asks for one is refused"
        found.append(Finding(host.name, "limits", "warn", text, missing(host, version, controller)))
    if not lacking:
        found.append(Finding(host.name, "limits", "ok", f"limits on {', '.join(CONTROLLERS)} are enforced"))
    return found


async def _look(host: Host, wanted: Wanted, facts: Facts, now: Callable[[], float]) -> Seen:
    needed = [tool for tool in TOOLS if tool not in ("systemctl", "journalctl") or facts.systemd]
    before = now()
    done = await host.run(LOOK, wanted.apps, wanted.user, host.scope, *needed)
    after = now()
    said: dict[str, list[str]] = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        key, _, value = line.partition("=")
        said.setdefault(key, []).append(value)
    there = float((said.get("now") or [str(before)])[0])
    return Seen(host, wanted, facts, said, there - (before + after) / 2, (after - before) / 2)
