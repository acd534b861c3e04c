"""The keeper: the one long-lived process. It holds the bridge's network namespace as its own, and is the parent of
every host's PID 1. It takes one JSON request a connection on a socket in the run directory.
"""

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import traceback
import uuid

from cgroups import Cgroups
from host import Host, be_host
from kernel import CLONE_NEWNS, CLONE_NEWPID, MS_PRIVATE, MS_REC, mount, system
from machine import Failed, started, write_json
from network import CONTROL, address, hardware_address, host_name, ip, make_network
from rundir import at


class Keeper:
    def __init__(self, folder):
        self.folder = folder
        settings = json.loads((folder / "run.json").read_text())
        self.tree = settings["tree"]
        self.cgroups = Cgroups(settings["id"])
        self.hosts = {i: Host(i, folder / host_name(i)) for i in range(1, settings["count"] + 1)}
        self.selector = selectors.DefaultSelector()
        self.pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY)
        self.control_namespace = -1
        self.quitting = False
        if settings["owner"]:
            self.selector.register(os.pidfd_open(settings["owner"]), selectors.EVENT_READ, self.do_quit)

    def serve(self):
        state = {"pid": os.getpid(), "started": started(os.getpid()), "cgroups": self.cgroups.bases()}
        write_json(self.folder / "keeper.json", state)  # before anything is made, so that `down` knows of it
        system("unshare", CLONE_NEWNS)
        mount(None, "/", flags=MS_REC | MS_PRIVATE)
        self.cgroups.make("keeper")
        self.cgroups.enter("keeper")
        self.cgroups.switch_on()
        self.control_namespace = make_network()
        for host in self.hosts.values():
            self.make_disk(host)
            self.make_console(host)
        listener = socket.socket(socket.AF_UNIX)
        with at(self.folder) as near:
            listener.bind(f"{near}/keeper.sock")
        listener.listen(16)
        self.selector.register(listener, selectors.EVENT_READ, lambda: self.answer(listener))
        state |= {
            "switched_on": self.cgroups.switched_on,
            "limits": self.cgroups.limits(),
            "control": f"/proc/{os.getpid()}/fd/{self.control_namespace}",
        }
        write_json(self.folder / "keeper.json", state)
        while not self.quitting:
            for key, _ in self.selector.select():
                if self.selector.get_map().get(key.fileobj) is key:  # not ended by an event before it
                    try:
                        key.data()
                    except Exception:  # one host's trouble is not the others'
                        traceback.print_exc()

    # -- what is made once

    def make_disk(self, host):
        """The tree with an overlay of the host's own, and what makes the host this one."""
        for name in ("root", "upper", "work"):
            (host.folder / name).mkdir()
        layers = f"lowerdir={self.tree},upperdir={host.folder}/upper,workdir={host.folder}/work"
        mount("overlay", host.root, "overlay", 0, layers)
        etc = host.root / "etc"
        (etc / "hostname").write_text(f"{host.name}\n")
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        names = "".join(f"{address(i)} {host_name(i)}\n" for i in self.hosts)
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{CONTROL} control\n{names}")
        for file in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
            shutil.copy(host.folder / file, etc / "ssh" / file)
        for home in ("root", "home/deploy"):
            shutil.copy(self.folder / "id_ed25519.pub", host.root / home / ".ssh/authorized_keys")

    def make_console(self, host):
        ours, theirs = os.openpty()
        host.console = (ours, theirs, os.ttyname(theirs))
        log = os.open(host.folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.selector.register(ours, selectors.EVENT_READ, lambda: os.write(log, os.read(ours, 65536)))

    # -- power

    def boot(self, host):
        self.cgroups.make(host.name)
        (host.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        ready, set_ready = os.pipe()
        wait_go, go = os.pipe()
        # The child is PID 1 of a new namespace and still our own child: the wait status tells a reboot from a crash.
        system("unshare", CLONE_NEWPID)
        try:
            pid = os.fork()
            if pid == 0:
                os.close(go)
                be_host(host, self.cgroups, set_ready, wait_go)
        finally:
            system("setns", self.pid_namespace, CLONE_NEWPID)
        os.close(set_ready)
        os.close(wait_go)
        host.pid, host.pidfd = pid, os.pidfd_open(pid)
        host.state = "running"
        host.boots += 1
        self.selector.register(host.pidfd, selectors.EVENT_READ, lambda: self.host_ended(host))
        try:
            if os.read(ready, 1):
                self.plug_in(host)
                os.write(go, b"1")
        finally:
            os.close(ready)
            os.close(go)

    def plug_in(self, host):
        """Give it a network card, at every boot a new one."""
        own = address(host.index)
        ip(
            f"link add {host.name} type veth peer name eth0 address {hardware_address(own)} netns {host.pid}",
            f"link set {host.name} master br0 {'down' if host.cut else 'up'}",
        )
        inside = f"/proc/{host.pid}/ns/net"
        ip("link set lo up", f"addr add {own}/24 dev eth0", "link set eth0 up", net=inside)

    def unplug(self, host):
        """Take its network card away. Its last packets, the FINs of what is being killed too, then reach nobody."""
        with contextlib.suppress(Failed):  # gone already
            ip(f"link del {host.name}")

    def host_ended(self, host, again=True):
        self.selector.unregister(host.pidfd)
        os.close(host.pidfd)
        _, status = os.waitpid(host.pid, 0)
        # reboot(2) in a pid namespace ends its PID 1 with SIGHUP for a restart and SIGINT for a power-off.
        how = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        host.pid, host.state = 0, "off" if how == signal.SIGINT else "crashed"
        self.unplug(host)
        self.cgroups.remove(host.name)
        if how == signal.SIGHUP and again:
            self.boot(host)

    def signal(self, host, number):
        if host.state != "running":
            raise Failed(f"{host.name} is not running")
        signal.pidfd_send_signal(host.pidfd, number)

    # -- requests

    def answer(self, listener):
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            try:
                request = json.loads(connection.makefile().readline())
                hosts = [self.find(index) for index in request["hosts"]]
                reply = getattr(self, f"do_{request['do']}")(*hosts) or {}
            except Failed as error:
                reply = {"error": str(error)}
            except Exception as error:
                traceback.print_exc()
                reply = {"error": repr(error)}
            connection.sendall(json.dumps(reply).encode() + b"\n")

    def find(self, index):
        if index not in self.hosts:
            raise Failed(f"there is no {host_name(index)}")
        return self.hosts[index]

    def do_status(self):
        return {"hosts": [host.describe() for host in self.hosts.values()], "limits": self.cgroups.limits()}

    def do_start(self, host):
        if host.state != "running":
            self.boot(host)

    def do_stop(self, host):
        self.signal(host, signal.SIGRTMIN + 4)  # systemd: poweroff.target

    def do_reboot(self, host):
        self.signal(host, signal.SIGRTMIN + 5)  # systemd: reboot.target

    def do_crash(self, host):
        if host.state == "running":
            self.unplug(host)
        self.signal(host, signal.SIGKILL)
        self.host_ended(host, again=False)

    def do_cut(self, host):
        host.cut = True
        if host.state == "running":
            ip(f"link set {host.name} down")

    def do_mend(self, host):
        host.cut = False
        if host.state == "running":
            ip(f"link set {host.name} up")

    def do_quit(self):
        self.quitting = True
        running = [host for host in self.hosts.values() if host.state == "running"]
        for host in running:
            self.signal(host, signal.SIGKILL)
        for host in running:
            self.host_ended(host, again=False)
