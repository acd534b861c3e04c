"""The run directory, and asking the keeper that is at work there."""

import contextlib
import fcntl
import json
import os
import socket
from pathlib import Path

from machine import NAME, Failed, started
from network import host_name


def run_dir():
    return Path(os.environ.get("LONGSHORE_HOSTS_RUN") or f"/var/lib/{NAME}").absolute()


@contextlib.contextmanager
def at(folder):
    """A short path to a folder: the address of a Unix socket has 108 bytes at most."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


@contextlib.contextmanager
def locked():
    """The run directory, made if need be, for one `up` or `down` at a time."""
    while True:
        run_dir().mkdir(parents=True, mode=0o700, exist_ok=True)
        lock = os.open(run_dir(), os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(run_dir())):
                break
        os.close(lock)  # that was a directory which a `down` has removed since
    try:
        yield run_dir()
    finally:
        os.close(lock)


def keeper():
    """What the living keeper of the run directory says of itself, or None."""
    try:
        state = json.loads((run_dir() / "keeper.json").read_text())
    except FileNotFoundError:
        return None
    return state if started(state["pid"]) == state["started"] else None


def ask(do, *hosts):
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            with at(run_dir()) as near:
                connection.connect(f"{near}/keeper.sock")
        except OSError:
            raise Failed("no hosts are up here") from None
        connection.settimeout(60)
        connection.sendall(json.dumps({"do": do, "hosts": hosts}).encode() + b"\n")
        reply = json.loads(connection.makefile().readline() or '{"error": "the keeper died"}')
    if "error" in reply:
        raise Failed(reply["error"])
    return reply


def state_of(index):
    for host in ask("status")["hosts"]:
        if host["name"] == host_name(index):
            return host
    raise Failed(f"there is no {host_name(index)}")
