"""Why a host does not let us in, and what to do: for people who have a shell and the configuration."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from longshore.hosts.base import HostUnreachable

if TYPE_CHECKING:
    from asyncssh import SSHKey

#: where host keys are looked up when the configuration names no file
KNOWN_HOSTS = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom we talk to: a host, or the host that is gone through to it."""

    #: of the host, as HostUnreachable has it
    name: str
    #: for messages: `host web1`, `jump host of web1`
    title: str
    user: str
    address: str
    port: int
    key: Path | None
    known_hosts: Path | None
    #: [USER@]ADDRESS of what is gone through; "": nothing
    through: str = ""

    @property
    def where(self) -> str:
        return f"{self.user}@{self.address}:{self.port}"

    @property
    def known_files(self) -> tuple[Path, ...]:
        if self.known_hosts is not None:
            return (self.known_hosts.expanduser(),)
        return tuple(path.expanduser() for path in KNOWN_HOSTS)

    def refusal(self, message: str, *, passing: bool = False) -> HostUnreachable:
        return HostUnreachable(self.name, f"{self.title} ({self.where}) {message}", passing=passing)


def unknown_host_key(peer: Peer, offered: SSHKey | None, known: bool) -> HostUnreachable:
    """known: the files have another key of it."""
    file = peer.known_files[0]
    scan = f"ssh-keyscan -p {peer.port} {peer.address}"
    if peer.through:
        scan = f"ssh {peer.through} {scan}"
    shown = f" It shows {_print(offered)}." if offered is not None else ""
    compare = "that is right if `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says the same on the host itself"
    if known:
        pattern = peer.address if peer.port == 22 else f"[{peer.address}]:{peer.port}"
        return peer.refusal(
            f"has another host key than {file} says: it was installed anew, or somebody else answers in its place."
            f"{shown} Look at the fingerprint ({compare}). If it is: "
            f"`ssh-keygen -f {shlex.quote(str(file))} -R {shlex.quote(pattern)}` and then "
            f"`{scan} >> {shlex.quote(str(file))}`"
        )
    return peer.refusal(
        f"is not in {' or '.join(str(path) for path in peer.known_files)}.{shown} Look at the fingerprint "
        f"(`{scan} | ssh-keygen -lf -`; {compare}), then add it: `{scan} >> {shlex.quote(str(file))}`"
    )


def key_refused(peer: Peer) -> HostUnreachable:
    key = f"the key {peer.key}" if peer.key else "any key of the ssh agent or of ~/.ssh"
    copy = f"ssh-copy-id -p {peer.port} {peer.user}@{peer.address}"
    if peer.key:
        copy = f"ssh-copy-id -i {shlex.quote(str(peer.key))} -p {peer.port} {peer.user}@{peer.address}"
    return peer.refusal(
        f"does not accept {key}: add its public key to ~{peer.user}/.ssh/authorized_keys there (`{copy}`), or name "
        "another `user` or `key` for the host"
    )


def key_unusable(peer: Peer, error: Exception) -> HostUnreachable:
    import asyncssh

    why = said_by(error)
    if isinstance(error, asyncssh.KeyEncryptionError) or "assphrase" in why:
        why = "it has a passphrase: give it to the agent (`ssh-add`) and leave `key` out, or take one without"
    return peer.refusal(f"cannot be logged in to: the key {peer.key} cannot be used: {why}")


def not_begun(peer: Peer, becomes_root: bool, code: int | None, stderr: bytes) -> HostUnreachable:
    """A shell ended before it has done anything."""
    said = stderr.decode(errors="replace").strip()
    if becomes_root and "sudo" in said:
        if "not found" in said:
            what = f"install sudo there, or log in as root. It says: {said}"
        else:
            what = (
                "put this line into /etc/sudoers.d/longshore there: "
                f"`{peer.user} ALL=(root) NOPASSWD: /bin/sh`, or log in as root. sudo says: {said}"
            )
        return peer.refusal(f"does not let {peer.user} become root by `sudo -n`: {what}")
    how = "did not say how it ended" if code is None else f"ended with status {code}"
    return peer.refusal(f"runs no script: a shell there {how}{f' and said: {said}' if said else ''}")


def no_session(peer: Peer, error: Exception) -> HostUnreachable:
    return peer.refusal(
        f"refuses another session ({said_by(error)}): MaxSessions in its sshd_config must be at least 10", passing=True
    )


def not_connected(peer: Peer, error: BaseException, bound_s: float) -> HostUnreachable:
    if isinstance(error, TimeoutError | asyncio.TimeoutError) and not str(error):
        return peer.refusal(f"did not answer within {bound_s:g} s", passing=True)
    return peer.refusal(f"cannot be reached: {said_by(error)}", passing=True)


def lost(peer: Peer, error: BaseException | None) -> HostUnreachable:
    why = f": {said_by(error)}" if error is not None else ""
    return peer.refusal(f"was lost: the connection is gone{why}", passing=True)


def said_by(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def files(paths: Sequence[Path]) -> str:
    return " or ".join(str(path) for path in paths)


def _print(key: SSHKey) -> str:
    return f"{key.get_algorithm()} {key.get_fingerprint()}"
