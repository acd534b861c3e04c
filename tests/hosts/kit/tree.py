"""The tree: what is on the disk of a host when it is first switched on."""

import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from machine import NAME, CannotRun, Failed, need, output, run, say, tail

PACKAGES = (
    "systemd",
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "dbus-user-session",
    "openssh-server",
    "sudo",
    "python3",
    "iproute2",
    "procps",
    "ca-certificates",
)

# Run by sh inside the new tree. It holds no key, no machine id and nothing of the machine it was made on.
SETUP = r"""
set -e
useradd --uid 1000 --create-home --shell /bin/bash deploy
echo 'deploy ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/deploy
chmod 440 /etc/sudoers.d/deploy
mkdir -p /var/lib/systemd/linger
touch /var/lib/systemd/linger/deploy
install -d -m 700 /root/.ssh
install -d -m 700 -o deploy -g deploy /home/deploy/.ssh

cat >/etc/ssh/sshd_config.d/hosts.conf <<END
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
UseDNS no
END
echo LANG=C.UTF-8 >/etc/default/locale

# Nothing may start by itself while a test looks on.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    console-getty.service getty@tty1.service; do
    ln -sf /dev/null /etc/systemd/system/$unit
done

rm -f /etc/ssh/ssh_host_* /etc/hostname /etc/hosts /etc/resolv.conf /etc/dpkg/dpkg.cfg.d/unsafe-io
rm -f /var/lib/dbus/machine-id
: >/etc/machine-id
rm -rf /var/cache/apt/* /var/lib/apt/lists/* /var/log/* /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /tmp/*
mkdir -p /var/log/journal
"""


def cache_dir():
    """Only root gets in: the tree has set-uid programs."""
    return Path(os.environ.get("LONGSHORE_HOSTS_CACHE") or Path.home() / ".cache" / NAME).absolute()


def tree_path():
    """Where the tree of this recipe is cached: another recipe, suite or architecture has another name."""
    recipe = hashlib.sha256("\n".join((*PACKAGES, SETUP)).encode()).hexdigest()[:12]
    arch = output("dpkg", "--print-architecture")
    return cache_dir() / f"tree-{suite()}-{arch}-{recipe}.tar.zst"


def suite():
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise CannotRun("this machine does not say which Debian it is (/etc/os-release has no VERSION_CODENAME)")


def mirror():
    """The Debian mirror the machine's own apt uses."""
    if given := os.environ.get("LONGSHORE_HOSTS_MIRROR"):
        return given
    fields = "$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)"
    for line in output("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines():
        origin, component, codename, uri = line.split("|")
        if (origin, component, codename) == ("Debian", "main", suite()):
            if not uri.startswith("mirror+file:"):
                return uri
            listed = Path(uri.removeprefix("mirror+file:").rstrip("/")).read_text()
            if first := re.search(r"^\s*([^#\s]+)", listed, re.MULTILINE):
                return first[1]
    raise CannotRun(
        f"apt knows no Debian mirror for {suite()}: run `apt-get update` first, or set LONGSHORE_HOSTS_MIRROR"
    )


def build():
    """Make the tree unless it is cached; return the path of the archive."""
    need("apt-get", "dpkg", "tar", "unshare", "zstd")
    archive = tree_path()
    with cache_scratch() as scratch:
        if not archive.exists():
            need("debootstrap")
            began = time.monotonic()
            say(f"building {archive.name}: a minute or two, once")
            bootstrap(scratch)
            os.rename(scratch / "tree.tar.zst", archive)
            say(f"built in {time.monotonic() - began:.1f} s, {archive.stat().st_size >> 20} MiB")
    return archive


def cached():
    need("dpkg")
    archive = tree_path()
    if not archive.exists():
        raise CannotRun(f"{archive} is yet to be built: `python3 {Path(__file__).parent} build`, a minute or two, once")
    return archive


def unpack(archive):
    """The tree as a folder, beside its archive. Nothing is ever written to it: each host has an overlay over it."""
    tree = archive.with_name(archive.name.removesuffix(".tar.zst"))
    with cache_scratch() as scratch:
        if not tree.exists():
            (scratch / "tree").mkdir()
            run("tar", *TAR, "--extract", "--file", archive, "--directory", scratch / "tree")
            os.rename(scratch / "tree", tree)
    return tree


@contextlib.contextmanager
def cache_scratch():
    """A scratch folder in the cache, for one process at a time."""
    cache_dir().mkdir(parents=True, mode=0o700, exist_ok=True)
    with open(cache_dir() / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with tempfile.TemporaryDirectory(prefix=".scratch-", dir=cache_dir()) as scratch:
            yield Path(scratch)


TAR = ("--numeric-owner", "--xattrs", "--xattrs-include=*", "--use-compress-program=zstd -T0")


def bootstrap(scratch):
    tree = scratch / "tree"
    # A mount namespace of its own: what debootstrap mounts is gone with it, however it ends.
    private = ("unshare", "--mount", "--propagation", "private", "--")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    for scheme in ("http", "https"):
        if proxy := output("apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy"):
            environment[f"{scheme}_proxy"] = shlex.split(proxy)[0].partition("=")[2]

    # Nobody needs this tree to survive a power cut while it is being made.
    (tree / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
    (tree / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n")
    log = scratch / "log"
    options = ("--force-check-gpg", "--variant=minbase", f"--include={','.join(PACKAGES)}")
    command = [*private, "debootstrap", *options, suite(), tree, mirror()]
    with open(log, "w") as out:
        made = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)
    if made.returncode:
        detail = tree / "debootstrap/debootstrap.log"
        raise Failed(f"debootstrap failed:\n{tail(log)}\n{tail(detail) if detail.exists() else ''}")
    run(*private, "chroot", tree, "/bin/sh", input=SETUP, env=dict(environment, PATH="/usr/sbin:/usr/bin:/sbin:/bin"))
    run("tar", *TAR, "--create", "--file", scratch / "tree.tar.zst", "--directory", tree, ".")
