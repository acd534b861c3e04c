"""Whether instances of a host can be reached from the manager's machine: a listener there, for a moment, that is
connected to from here. systemd brings the program that listens; nothing of ours is needed."""

from __future__ import annotations

import asyncio
import socket

from longshore.doctor.finding import Finding
from longshore.hosts.base import Host, ScriptFailed

#: ports that are tried, from the last one down: one may be in use
TRIES = 4
#: seconds until a connection must be there, and until the listener must be
CONNECT_S, LISTEN_S = 3.0, 10.0

#: ADDRESS:PORT. It ends with the connection, or by itself where nobody comes.
LISTEN = r"""
command -v systemd-socket-activate > /dev/null || { echo lacks; exit; }
SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=info exec timeout 15 systemd-socket-activate -l "$1" /bin/true 2>&1
"""


async def ports(host: Host, among: tuple[int, int]) -> list[Finding]:
    """among: the first and the last of the ports that instances are given. Raises HostUnreachable, LeaseLost."""
    first, last = among
    said = ""
    for port in range(last, max(first, last - TRIES + 1) - 1, -1):
        said, why = await _tried(host, port)
        if said == "listens":
            return [_judged(host, among, port, why)]
        if said == "lacks":
            break
    how = "it has no systemd-socket-activate" if said == "lacks" else f"nothing can listen there: {said or 'no answer'}"
    remedy = f"see to it that no firewall keeps the manager from {host.address}, TCP ports {first}-{last}"
    return [Finding(host.name, "ports", "warn", f"whether instances can be reached is not known: {how}", remedy)]


async def _tried(host: Host, port: int) -> tuple[str, str]:
    """("listens", why it cannot be connected to or ""), or (what the listener said, "")."""
    said = ""
    listen = f"[{host.listen}]" if ":" in host.listen else host.listen
    try:
        async with asyncio.timeout(LISTEN_S + CONNECT_S), host.lines(LISTEN, f"{listen}:{port}") as lines:
            async for line in lines:
                said = line.decode(errors="replace").strip()
                if said == "lacks":
                    break
                if "Listening on" in said:
                    return "listens", await _connected(host.address, port)
    except TimeoutError:
        said = f"it did not listen within {LISTEN_S:g} s"
    except ScriptFailed:
        pass  # it has said why
    return said, ""


async def _connected(address: str, port: int) -> str:
    """Why not; "" where it is."""
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(address, port)
    except ConnectionResetError:
        return ""  # It was there: the listener ends with its first connection, at times before we have heard of ours.
    except TimeoutError:
        return f"no answer within {CONNECT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""


def _judged(host: Host, among: tuple[int, int], port: int, why: str) -> Finding:
    first, last = among
    if not why:
        return Finding(host.name, "ports", "ok", f"instances can be reached: {host.address}:{port} answers")
    source = _source(host.address)
    text = f"instances cannot be reached from the manager's machine: {host.address}:{port}: {why}"
    remedy = (
        f"open TCP ports {first}-{last} there, for the manager alone: "
        f"ufw allow proto tcp from {source} to any port {first}:{last}\n"
        "(or the same in nftables, firewalld, or the provider's own firewall). A jump host helps with SSH only: "
        "the manager must reach the address itself, over a VPN for example"
    )
    return Finding(host.name, "ports", "fail", text, remedy)


def _source(address: str) -> str:
    """Our address on the way there, as far as no translation changes it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((address, 9))
            return str(asking.getsockname()[0])
    except OSError:
        return "THE_MANAGERS_ADDRESS"
