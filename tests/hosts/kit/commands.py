"""What can be done with hosts."""

import contextlib
import json
import os
import secrets
import select
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

from cgroups import Cgroups, kill_cgroup, pace, remove_cgroup
from keys import USERS, make_keys
from machine import CannotRun, Failed, need, say, write_json
from network import CONTROL, address, host_name
from rundir import ask, keeper, locked, run_dir, state_of
from starting import READY_TIMEOUT, start_keeper, wait_ready
from tree import build, unpack

MAX_HOSTS = 200


def up(count, owner=None):
    if not 1 <= count <= MAX_HOSTS:
        raise Failed(f"from 1 to {MAX_HOSTS} hosts, not {count}")
    need("ip", "mount", "nsenter", "ssh", "ssh-keygen", "tar", "unshare", "zstd")
    Cgroups("probe")  # only looks
    check_free(run_dir())
    tree = unpack(build())
    with locked() as folder:
        check_free(folder)
        clear(folder)  # of a keeper that died
        began = time.monotonic()
        settings = {"id": secrets.token_hex(4), "count": count, "tree": str(tree), "owner": owner}
        write_json(folder / "run.json", settings)
        try:
            probe(folder, tree)
            make_keys(folder, count)
            start_keeper(folder, settings["id"])
            for index in range(1, count + 1):
                ask("start", index)
            wait_ready(range(1, count + 1))
        except BaseException:
            clear(folder)
            folder.rmdir()
            raise
        result = description(folder, count)
        write_json(folder / "hosts.json", result)
    print(json.dumps(result, indent=2))
    say(f"{count} up in {time.monotonic() - began:.1f} s")
    if missing := {"cpu", "memory", "pids"} - set(result["limits"]):
        say(f"warning: no cgroup controller {', '.join(sorted(missing))} here: those limits are not enforced")


def check_free(folder):
    check_ours(folder)
    if keeper():
        raise Failed(f"hosts are up already in {folder}: `hosts down` first")


def check_ours(folder):
    if folder.exists() and any(folder.iterdir()) and not (folder / "run.json").exists():
        raise Failed(f"{folder} holds something else: it has no run.json of ours")


def description(folder, count):
    state = keeper()
    common = {"port": 22, "user": USERS[0], "users": USERS}
    common |= {"key": f"{folder}/id_ed25519", "known_hosts": f"{folder}/known_hosts"}
    return {
        "run": str(folder),
        "control": {"address": CONTROL, "netns": state["control"]},
        "ssh_config": f"{folder}/ssh_config",
        "limits": state["limits"],
        "hosts": [{"name": host_name(i), "address": address(i), **common} for i in range(1, count + 1)],
    }


def probe(folder, tree):
    """Everything the kernel must let us do, once, in namespaces that are gone at once."""
    for name in ("root", "upper", "work"):
        (folder / "probe" / name).mkdir(parents=True)
    layers = f"lowerdir={tree},upperdir={folder}/probe/upper,workdir={folder}/probe/work"
    script = f"""
        mount -t overlay -o {shlex.quote(layers)} overlay {shlex.quote(str(folder / "probe/root"))}
        ip link add br0 type bridge
        ip link add probe0 type veth peer name probe1
    """
    namespaces = ("--mount", "--propagation", "private", "--net", "--pid", "--fork", "--uts", "--ipc", "--cgroup")
    command = ("unshare", *namespaces, "sh", "-ec", script)
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise CannotRun(f"no namespaces, no overlayfs on {folder}, or no bridge and veth: {done.stderr.strip()}")
    shutil.rmtree(folder / "probe")


def down():
    with locked() as folder:
        clear(folder)
        folder.rmdir()


def clear(folder):
    """Everything gone, whatever state it is in; the run directory is empty then."""
    check_ours(folder)
    if state := keeper():
        with contextlib.suppress(ProcessLookupError):  # it may be ending by itself
            end_keeper(state["pid"])
    if (folder / "keeper.json").exists():
        state = json.loads((folder / "keeper.json").read_text())
        for base in state["cgroups"]:
            kill_cgroup(base)
            remove_cgroup(base)
        for group, controller in reversed(state.get("switched_on", [])):
            with contextlib.suppress(OSError):
                Path(group, "cgroup.subtree_control").write_text(f"-{controller}")
    # run.json last: without it a second try would not know the directory for ours.
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == "run.json"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def end_keeper(pid):
    pidfd = os.pidfd_open(pid)
    if not keeper():
        return  # what we have opened is another process then
    try:
        ask("quit")
    except (Failed, OSError) as error:
        say(f"the keeper does not quit ({error}): killing it")
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    if not select.select([pidfd], [], [], 30)[0]:
        raise Failed(f"the keeper (pid {pid}) does not end")
    os.close(pidfd)


def status():
    if not keeper():
        print(json.dumps({"up": False, "hosts": []}, indent=2))
        return
    print(json.dumps({"up": True, "run": str(run_dir()), **ask("status")}, indent=2))


def set_pace(share):
    if not (state := keeper()):
        raise Failed("no hosts are up here")
    names = [host["name"] for host in ask("status")["hosts"]]
    print(pace(state["cgroups"], [*names, "control"], share) / "control")


def execute(command):
    need("nsenter")
    if "control" not in (state := keeper() or {}):
        raise Failed("no hosts are up here")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execvp("nsenter", ["nsenter", f"--net={state['control']}", "--", *command])


def power(do, indexes, wait):
    began = time.monotonic()
    before = {index: state_of(index) for index in indexes}
    for index in indexes:
        ask(do, index)
    if not wait:
        return
    deadline = began + READY_TIMEOUT
    for index in indexes if do != "start" else ():  # until its PID 1 has ended
        while state_of(index)["pid"] == before[index]["pid"]:
            if time.monotonic() > deadline:
                raise Failed(f"{host_name(index)} goes on running")
            time.sleep(0.05)
    if do != "stop":
        wait_ready(indexes)
    say(f"{do} took {time.monotonic() - began:.1f} s")
