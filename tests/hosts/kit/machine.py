"""What is asked of the machine: programs, files, processes."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

#: of the default folders, of the cgroups, of the unit
NAME = "longshore-hosts"


class Failed(Exception):
    """It did not work: exit 1."""


class CannotRun(Exception):
    """This machine cannot do it: exit 77."""


def say(text):
    print(f"hosts: {text}", file=sys.stderr, flush=True)


def run(*command, input=None, env=None):
    done = subprocess.run(
        command,
        input=input,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL if input is None else None,
    )
    if done.returncode:
        raise Failed(f"{shlex.join(map(str, command))}: exit {done.returncode}\n{done.stdout.strip()}")
    return done.stdout


def output(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise Failed(f"{shlex.join(command)}: exit {done.returncode}")
    return done.stdout.strip()


def tail(path, lines=25):
    return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])


def write_json(path, value):
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(value, indent=2) + "\n")
    os.rename(scratch, path)


PACKAGE_OF = {
    "apt-get": "apt",
    "debootstrap": "debootstrap",
    "dpkg": "dpkg",
    "ip": "iproute2",
    "mount": "mount",
    "nsenter": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "tar": "tar",
    "unshare": "util-linux",
    "zstd": "zstd",
}


def need(*tools):
    if missing := sorted({PACKAGE_OF[tool] for tool in tools if not shutil.which(tool)}):
        raise CannotRun(f"packages are missing: apt-get install --no-install-recommends {' '.join(missing)}")


def started(pid):
    """When a process was started, in clock ticks; with its pid this names it. None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])
