"""Starting a keeper, and waiting for the hosts."""

import os
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

from keeper import Keeper
from kernel import CLONE_NEWNET, system
from machine import NAME, Failed, run, say, tail
from network import address, host_name
from rundir import keeper, run_dir, state_of

READY_TIMEOUT = 120  # seconds a host may take until it is booted and ssh answers


def start_keeper(folder, run_id):
    command = [sys.executable, str(Path(__file__).resolve().parent), "keep", str(folder)]
    if Path("/run/systemd/system").is_dir():
        # The machine's own systemd owns its cgroups: ask it for a subtree, outside of the caller's session.
        properties = ("Delegate=yes", "TasksMax=infinity", "OOMPolicy=continue", "KillMode=mixed", "TimeoutStopSec=5s")
        options = ("--quiet", "--collect", f"--unit={NAME}-{run_id}", *(f"--property={p}" for p in properties))
        run("systemd-run", *options, *command)
    else:
        null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.Popen(command, **null, start_new_session=True, cwd="/")
    deadline = time.monotonic() + 30
    while not (state := keeper()) or "control" not in state:
        log = folder / "keeper.log"
        if time.monotonic() > deadline or (log.exists() and "\nkeeper: ended\n" in log.read_text()):
            raise Failed(f"the keeper did not start:\n{tail(log) if log.exists() else ''}")
        time.sleep(0.02)


def keep(folder):
    log = os.open(folder / "keeper.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    try:
        Keeper(folder).serve()
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None
    finally:
        print("\nkeeper: ended", file=sys.stderr, flush=True)


def wait_ready(indexes):
    """Until each host has finished booting and a command over ssh has said so."""
    fd = os.open(keeper()["control"], os.O_RDONLY)
    system("setns", fd, CLONE_NEWNET)  # for the rest of this short process
    os.close(fd)
    deadline = time.monotonic() + READY_TIMEOUT
    for index in indexes:
        while (said := readiness(index, deadline)) != "running":
            if said == "degraded":
                say(f"warning: {host_name(index)} is degraded: see `systemctl --failed` on it")
                break
            if time.monotonic() > deadline:
                console = tail(run_dir() / host_name(index) / "console.log")
                raise Failed(f"{host_name(index)} does not come up: {said}\n{console}")
            time.sleep(0.05)


def readiness(index, deadline):
    """What `systemctl is-system-running` says on the host, or why it says nothing."""
    host = state_of(index)
    if host["state"] != "running" or host["cut"]:
        raise Failed(f"{host_name(index)} does not come up: it is {'cut' if host['cut'] else host['state']}")
    try:
        with socket.create_connection((address(index), 22), timeout=1) as connection:
            connection.recv(4)  # cheaper than an ssh that finds nobody there yet
    except OSError as error:
        return str(error)
    # As `deploy`, who is let in only when the boot is nearly over and has a user manager running by then.
    ssh = ("ssh", "-F", run_dir() / "ssh_config", f"deploy@{host_name(index)}", "systemctl is-system-running --wait")
    try:
        left = max(1, deadline - time.monotonic())
        done = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=left)
    except subprocess.TimeoutExpired:
        return "it goes on booting"
    return (done.stdout + done.stderr).strip()
