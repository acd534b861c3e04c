"""Installing and removing the manager's unit: look at everything first, then do it, each step harmless when repeated.

look ─► refuse, or a Plan ─► user ─► data directory ─► can that user run it? ─► unit ─► enable ─► start ─► ready
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from longshore.install.unit import HEADER, render
from longshore.settings import Settings, SettingsError, load

NAME = "longshore"
UNIT = Path("/etc/systemd/system/longshore.service")
#: of the user that is made where none is named
USER = "longshore"
#: seconds: what systemd gives a start (TimeoutStartSec), and some; any other command
START_S, COMMAND_S = 660.0, 60.0
#: seconds, once systemd has called it started, until it must answer
READY_S = 30.0

Say = Callable[[str], None]


class InstallError(Exception):
    """It cannot be done; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be there. command: of ExecStart. makes_user: it is not there yet. changes: the unit is another one
    than what stands there."""

    user: str
    makes_user: bool
    data_dir: Path
    config: Path | None
    command: tuple[str, ...]
    unit: str
    changes: bool


def look(user: str | None, data_dir: Path | None, config: Path | None, listen: str | None) -> Plan:
    """Everything that can be told without doing anything. Raises InstallError."""
    user = user or USER
    config = config.absolute() if config is not None else None
    settings = _settings(data_dir, config, listen)
    makes_user = _makes(user)
    if user != "root":
        _refuse_what_takes_root(settings, user)
    _refuse_others_unit()
    _refuse_others_data(settings.data_dir, user)
    command = [sys.executable, "-m", "longshore", "serve", "--data-dir", str(settings.data_dir)]
    command += ["--config", str(config)] if config is not None else []
    command += ["--listen", listen] if listen is not None else []
    unit = render(command, user, _writable(settings, user))
    changes = not UNIT.exists() or UNIT.read_text() != unit
    return Plan(user, makes_user, settings.data_dir, config, tuple(command), unit, changes)


def install(plan: Plan, say: Say) -> str:
    """Do it; the URL of the manager that runs then. say: is told of each thing that was done. Raises InstallError."""
    _need_root_and_systemd()
    _refuse_unreadable(plan, as_user="nobody" if plan.makes_user else plan.user)
    if plan.makes_user:
        _make_user(plan.user, plan.data_dir)
        say(f"made the user {plan.user}, whose home is {plan.data_dir}")
    _make_data_dir(plan, say)
    if plan.config is not None:
        _refuse_unreadable(plan, as_user=plan.user, config=plan.config)
    if plan.changes:
        UNIT.write_text(plan.unit)
        UNIT.chmod(0o644)
        _run("systemctl", "daemon-reload")
        say(f"wrote {UNIT}")
    if _asked("systemctl", "is-enabled", NAME) != "enabled":
        _run("systemctl", "enable", NAME)
        say("enabled it: it starts with the machine")
    runs = _asked("systemctl", "is-active", NAME) == "active"
    if plan.changes or not runs:
        _start("restart" if runs else "start")
        say("restarted it; applications went on" if runs else "started it")
    return _ready(plan.data_dir)


def remove(say: Say) -> bool:
    """Take the unit back: the manager is stopped, applications and Envoy go on, data and user stay. Whether there was
    one. Raises InstallError for one that is not ours."""
    _need_root_and_systemd()
    _refuse_others_unit()
    if not UNIT.exists():
        return False
    _run("systemctl", "disable", "--now", NAME)
    say("stopped and disabled it; applications and Envoy go on")
    UNIT.unlink()
    _run("systemctl", "daemon-reload")
    _asked("systemctl", "reset-failed", NAME)
    say(f"removed {UNIT}")
    return True


# --- private: what is refused


def _need_root_and_systemd() -> None:
    if not Path("/run/systemd/system").is_dir():
        raise InstallError(
            "This machine was not booted with systemd: run `longshore serve` by what starts services here."
        )
    if os.geteuid() != 0:
        raise InstallError("Only root can install a service: run it with sudo (--dry-run shows what would be done).")


def _settings(data_dir: Path | None, config: Path | None, listen: str | None) -> Settings:
    try:
        settings = load(config, {"data_dir": data_dir, "listen": listen})
    except SettingsError as error:
        raise InstallError(str(error)) from error
    # That of whoever asks is not the service's: only what was said counts.
    if data_dir is None and "data_dir" not in settings.model_fields_set:
        return settings.model_copy(update={"data_dir": Path("/var/lib/longshore")})
    return settings


def _makes(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        if user != USER:
            message = f"There is no user {user}: `useradd --system {user}` first, or leave --user out."
            raise InstallError(message) from None
        return True
    return False


def _refuse_what_takes_root(settings: Settings, user: str) -> None:
    for name, environment in settings.environments.items():
        here = not environment.hosts
        if here and environment.driver == "systemd":
            what = "runs units on this machine"
        elif here and environment.user not in (None, user):
            what = f"runs instances as {environment.user}"
        else:
            continue
        raise InstallError(f"The environment {name} {what}, which takes a manager that is run by root: --user root.")


def _refuse_others_unit() -> None:
    if UNIT.is_symlink() or (UNIT.exists() and not UNIT.read_text(errors="replace").startswith(HEADER)):
        raise InstallError(
            f"{UNIT} was not made by this command, and is left alone: move it away (`systemctl disable {NAME}` first), "
            "or keep it and edit it yourself."
        )
    for place in ("/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system"):
        if (found := Path(place, UNIT.name)).exists():
            raise InstallError(f"There is a {found} already, of a package or of somebody else: remove that first.")


def _refuse_others_data(data_dir: Path, user: str) -> None:
    with suppress(FileNotFoundError, PermissionError):
        owner = data_dir.stat().st_uid
        try:
            wanted = pwd.getpwnam(user).pw_uid
        except KeyError:
            wanted = -1
        if owner != wanted and any(data_dir.iterdir()):
            name = _name_of(owner)
            raise InstallError(
                f"{data_dir} belongs to {name}, whose instances {user} could not look after: `--user {name}`, or "
                "another --data-dir."
            )


def _refuse_unreadable(plan: Plan, as_user: str, config: Path | None = None) -> None:
    """That the user can run this Longshore, and read its configuration."""
    if plan.user == "root":
        return
    asked = [*plan.command[:3], *(("config", "--config", str(config)) if config is not None else ("--version",))]
    found = pwd.getpwnam(as_user)
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            asked, user=found.pw_uid, group=found.pw_gid, extra_groups=os.getgrouplist(as_user, found.pw_gid), cwd="/",
            env=environment, capture_output=True, text=True, timeout=COMMAND_S,
        )  # fmt: skip
        said = "" if done.returncode == 0 else (done.stderr.strip() or f"exit status {done.returncode}")
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if not said:
        return
    why = said.splitlines()[-1]
    if config is not None:
        remedy = f"`chgrp {plan.user} {config} && chmod 640 {config}` lets it be read"
        raise InstallError(
            f"{plan.user} cannot use the configuration {config}: {why}. If it is not readable, {remedy}."
        )
    raise InstallError(
        f"{plan.user} could not run {plan.command[0]}: {why}. Install Longshore (and its Python) where everybody "
        "may read it, in /opt/longshore say, or give --user root."
    )


# --- private: what is done


def _make_user(name: str, home: Path) -> None:
    if shutil.which("systemd-sysusers"):
        _run("systemd-sysusers", "--inline", f'u {name} - "Longshore" {home} /usr/sbin/nologin')
    else:
        _run("useradd", "--system", "--user-group", "--home-dir", str(home), "--shell", "/usr/sbin/nologin", name)


def _make_data_dir(plan: Plan, say: Say) -> None:
    found = pwd.getpwnam(plan.user)
    if not plan.data_dir.exists():
        plan.data_dir.mkdir(parents=True)
        plan.data_dir.chmod(0o700)
        say(f"made {plan.data_dir}")
    # It is empty, or theirs already (_refuse_others_data).
    if plan.data_dir.stat().st_uid != found.pw_uid:
        os.chown(plan.data_dir, found.pw_uid, found.pw_gid)


def _start(how: str) -> None:
    try:
        _run("systemctl", how, NAME, bound_s=START_S)
    except InstallError as error:
        last = _asked("journalctl", "--unit", NAME, "--lines", "12", "--no-pager", "--output", "cat")
        raise InstallError(
            f"It does not start, and systemd goes on trying: {error}\n{last}\nMend that, or take it back: "
            "longshore install-service --remove"
        ) from error


def _ready(data_dir: Path) -> str:
    from longshore.client import ClientError, Longshore

    deadline = time.monotonic() + READY_S
    while True:
        try:
            # By its directory alone: LONGSHORE_URL and the like of whoever asks may mean another one.
            with Longshore(None, None, data_dir) as client:
                client.ready()
                return client.endpoint.url
        except ClientError as error:
            if time.monotonic() > deadline:
                raise InstallError(
                    f"It runs, but /readyz does not answer within {READY_S:g} s: {error.message}. "
                    f"`journalctl --unit {NAME}` says more."
                ) from error
        time.sleep(0.2)


def _writable(settings: Settings, user: str) -> list[PurePosixPath]:
    """What ProtectSystem=full would keep it from: generated units, and lists for balancers."""
    found = [PurePosixPath("/etc/systemd/system")] if user == "root" else []
    for environment in settings.environments.values():
        if environment.endpoints is not None and environment.endpoints.file:
            found.append(PurePosixPath(environment.endpoints.file.partition("{name}")[0] + "x").parent)
    protected = [PurePosixPath(place) for place in ("/etc", "/usr", "/boot", "/efi")]
    return [place for place in [*found, PurePosixPath(settings.data_dir)] if any(p in place.parents for p in protected)]


def _run(*command: str, bound_s: float = COMMAND_S) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=bound_s)
    except FileNotFoundError:
        raise InstallError(f"There is no {command[0]} here.") from None
    except subprocess.TimeoutExpired:
        raise InstallError(f"`{' '.join(command)}` did not end within {bound_s:g} s.") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InstallError(f"`{' '.join(command)}`: {said[0] if said else f'exit status {done.returncode}'}")


def _asked(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def commands_of(plan: Plan) -> Sequence[str]:
    """What install() does, for people."""
    lines = [f"make the user {plan.user} (systemd-sysusers, home {plan.data_dir})"] if plan.makes_user else []
    lines += [f"make {plan.data_dir} (mode 0700, of {plan.user})"] if not plan.data_dir.exists() else []
    lines += [f"write {UNIT}, systemctl daemon-reload"] if plan.changes else []
    return [*lines, f"systemctl enable {NAME}, and start it where that changes something", "wait until /readyz answers"]
