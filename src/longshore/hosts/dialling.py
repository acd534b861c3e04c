"""Making one SSH connection: whose key the host has to show, which key we show, and by which way."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longshore.hosts import refusals
from longshore.hosts.refusals import Peer
from longshore.hosts.settings import SshSettings

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection, SSHKey, SSHKnownHosts

#: unanswered keepalives after which a connection is lost: asyncssh waits for one more interval
UNANSWERED = 2

#: ciphers that are offered first: of those that both sides have, what costs the manager's processor least (a third of
#: what chacha20-poly1305 does, which asyncssh computes in parts); in asyncssh's words, `^` is "before all others"
CIPHERS = "^aes128-gcm@openssh.com,aes256-gcm@openssh.com"

Lost = Callable[[Exception | None], None]


async def dial(peer: Peer, jump: Peer | None, ssh: SshSettings, lost: Lost) -> tuple[SSHClientConnection, str]:
    """A connection, and the IP address of the host. Raises HostUnreachable; TimeoutError is the caller's to bound."""
    if jump is None:
        return await _dial(peer, ssh, lost, None)
    tunnel, _ = await _dial(jump, ssh, _nobody, None)
    try:
        connection, address = await _dial(peer, ssh, lost, tunnel)
    except BaseException:
        tunnel.abort()
        raise
    closing = asyncio.create_task(_close_after(connection, tunnel))
    _CLOSINGS.add(closing)
    closing.add_done_callback(_CLOSINGS.discard)
    return connection, address


_CLOSINGS: set[asyncio.Task[None]] = set()


def _nobody(error: Exception | None) -> None:
    """The jump host's connection is lost: so is the one through it, which tells."""


async def _close_after(connection: SSHClientConnection, tunnel: SSHClientConnection) -> None:
    await connection.wait_closed()
    tunnel.close()


async def _dial(
    peer: Peer, ssh: SshSettings, lost: Lost, tunnel: SSHClientConnection | None
) -> tuple[SSHClientConnection, str]:
    import asyncssh

    offered: list[SSHKey] = []

    class Client(asyncssh.SSHClient):
        def validate_host_public_key(self, host: str, addr: str, port: int, key: SSHKey) -> bool:
            offered.append(key)  # it is none of those that are known
            return False

        def connection_lost(self, exc: Exception | None) -> None:
            lost(exc)

    known = _known_hosts(peer)
    address = peer.address if tunnel is not None else await _resolved(peer)
    options: dict[str, Any] = {
        "config": None,  # what is not in our configuration does not count
        "username": peer.user,
        "port": peer.port,
        "host_key_alias": peer.address,
        "known_hosts": known,
        "client_factory": Client,
        "preferred_auth": "publickey",
        "encryption_algs": CIPHERS,
        "keepalive_interval": ssh.keepalive_s,
        "keepalive_count_max": UNANSWERED,
        "connect_timeout": ssh.connect_timeout_s,
        "login_timeout": ssh.connect_timeout_s,
        "tunnel": tunnel or (),
        "x509_trusted_certs": None,
    }
    if peer.key is not None:
        options |= {"client_keys": [await _key(peer)], "agent_path": None}
    try:
        connection = await asyncssh.connect(address, **options)
    except asyncssh.HostKeyNotVerifiable:
        raise refusals.unknown_host_key(peer, offered[0] if offered else None, _knows(known, peer, address)) from None
    except asyncssh.KeyExchangeFailed as error:
        if "host key" in str(error) and _knows(known, peer, address):
            raise refusals.unknown_host_key(peer, None, True) from None
        raise refusals.not_connected(peer, error, ssh.connect_timeout_s) from None
    except asyncssh.PermissionDenied:
        raise refusals.key_refused(peer) from None
    except (asyncssh.Error, OSError) as error:
        raise refusals.not_connected(peer, error, ssh.connect_timeout_s) from None
    return connection, await _address_there(connection, address)


def _known_hosts(peer: Peer) -> SSHKnownHosts:
    import asyncssh

    known = asyncssh.SSHKnownHosts()
    for path in peer.known_files:
        try:
            known.load(path.read_text(errors="replace"))
        except FileNotFoundError:
            continue  # whoever is in none of the files is told which they are
        except OSError as error:
            raise peer.refusal(f"is not connected to: {path} cannot be read: {refusals.said_by(error)}") from None
        except ValueError as error:
            raise peer.refusal(f"is not connected to: {path} has a line that cannot be read: {error}") from None
    return known


def _knows(known: SSHKnownHosts, peer: Peer, address: str) -> bool:
    port = peer.port if peer.port != 22 else None
    return any(known.match(peer.address, address if address != peer.address else "", port)[:2])


async def _key(peer: Peer) -> SSHKey:
    import asyncssh

    assert peer.key is not None
    try:
        return asyncssh.import_private_key(await asyncio.to_thread(Path(peer.key).read_bytes))
    except asyncssh.KeyImportError as error:
        raise refusals.key_unusable(peer, error) from None
    except OSError as error:
        raise refusals.key_unusable(peer, error) from None


async def _resolved(peer: Peer) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(peer.address, peer.port, type=socket.SOCK_STREAM)
    except OSError as error:
        message = f"cannot be reached: its address cannot be found: {refusals.said_by(error)}"
        raise peer.refusal(message, passing=True) from None
    return str(found[0][4][0])


async def _address_there(connection: SSHClientConnection, address: str) -> str:
    """The IP address: of a name that only the jump host knows, it is what the host says itself."""
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        done = await connection.run("echo $SSH_CONNECTION", encoding="utf-8")
        parts = str(done.stdout or "").split()
        return parts[2] if len(parts) == 4 else address
    return address
