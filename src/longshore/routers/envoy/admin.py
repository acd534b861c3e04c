"""Envoy's admin interface, asked over its unix socket.

A connection for each question: 0.3 ms, nothing to keep in order when Envoy dies between two questions.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from longshore.routers.base import RouterError, Target

#: Parsing 0.35 ms of JSON per kB keeps the admin interface waiting; 500 deployments come to 0.3 s.
ANSWER_S = 5.0
_HEAD = "{method} {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class AdminUnavailable(RouterError):
    """Envoy does not answer on its admin socket."""


@dataclass(frozen=True, slots=True)
class Acks:
    """What Envoy says about one of its files. Empty versions: it does not read the file (yet)."""

    versions: frozenset[str]
    #: since Envoy's start: contents it refused, contents it could not read
    rejected: int
    failed: int


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of one cluster as Envoy's workers see them."""

    all: frozenset[Target]
    unhealthy: frozenset[Target]


class Admin:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def ready(self) -> bool:
        try:
            status, _ = await self._ask("GET", "/ready")
        except AdminUnavailable:
            return False
        return status == 200

    async def acks(self, pattern: str) -> Acks:
        """pattern   regex of the statistics' common prefix, such as `listener_manager\\.lds`"""
        found = await self.stats(f"{pattern}\\.(version_text|update_rejected|update_failure)$")
        versions = {v.strip('"') for k, v in found.items() if k.endswith(".version_text")}
        return Acks(
            versions=frozenset(versions),
            rejected=sum(int(v) for k, v in found.items() if k.endswith(".update_rejected")),
            failed=sum(int(v) for k, v in found.items() if k.endswith(".update_failure")),
        )

    async def stats(self, pattern: str) -> dict[str, str]:
        text = (await self.get(f"/stats?filter={quote(pattern)}")).decode()
        return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)

    async def hosts(self, deployment: str | None = None) -> dict[str, Hosts]:
        """Hosts by cluster; of one deployment's clusters, or of all. A cluster that still warms up is not listed."""
        query = f"&filter={quote('^' + re.escape(deployment) + '[.]')}" if deployment else ""
        answer = await self.get_json(f"/clusters?format=json{query}")
        return {str(c["name"]): _hosts(c.get("host_statuses", [])) for c in answer.get("cluster_statuses", [])}

    async def answered_on_standby(self, cluster: str) -> int:
        """Requests of a cluster that its hosts of priority 1 answered; begins at 0 whenever the cluster changes."""
        answer = await self.get_json(f"/clusters?format=json&filter={quote(f'^{re.escape(cluster)}$')}")
        hosts = [host for c in answer.get("cluster_statuses", []) for host in c.get("host_statuses", [])]
        return sum(
            int(stat.get("value", 0))
            for host in hosts
            if host.get("priority")
            for stat in host.get("stats", [])
            if stat["name"] in ("rq_success", "rq_error")
        )

    async def listeners(self) -> frozenset[str]:
        """Names of the listeners that listen."""
        answer = await self.get_json("/listeners?format=json")
        return frozenset(str(entry["name"]) for entry in answer.get("listener_statuses", []))

    async def get(self, path: str) -> bytes:
        """The body of a 200. Raises AdminUnavailable for anything else."""
        return await self._expect("GET", path)

    async def get_json(self, path: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = json.loads(await self._expect("GET", path))
        return answer

    async def post(self, path: str) -> None:
        await self._expect("POST", path)

    def peer_pid(self) -> int | None:
        """The process that listens on the socket; None: nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(1.0)
            try:
                connection.connect(str(self.path))
            except OSError:
                return None
            # struct ucred: pid, uid, gid (unix(7))
            raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid: int = struct.unpack("3i", raw)[0]
        return pid or None

    # --------------------------------------------------------------------------------------------------- private

    async def _expect(self, method: str, path: str) -> bytes:
        status, body = await self._ask(method, path)
        if status != 200:
            raise AdminUnavailable(f"Envoy answers {status} to {method} {path}: {body[:200].decode(errors='replace')}")
        return body

    async def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(str(self.path))
                try:
                    writer.write(_HEAD.format(method=method, path=path).encode())
                    answer = await reader.read(-1)
                finally:
                    writer.close()
        except TimeoutError:
            raise AdminUnavailable(
                f"Envoy did not answer {method} {path} within {ANSWER_S:g} s ({self.path})"
            ) from None
        except OSError as error:
            raise AdminUnavailable(f"Envoy does not answer on {self.path}: {error}") from None
        return _parse(answer)


def _parse(answer: bytes) -> tuple[int, bytes]:
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        raise AdminUnavailable("Envoy closed the admin connection before it had answered")
    status = int(head.split(b" ", 2)[1])
    return status, _dechunked(body) if b"transfer-encoding: chunked" in head.lower() else body


def _dechunked(body: bytes) -> bytes:
    """RFC 9112, 7.1. A body cut short means that Envoy died while it answered."""
    parts: list[bytes] = []
    at = 0
    while True:
        end = body.find(b"\r\n", at)
        if end < 0:
            raise AdminUnavailable("Envoy's answer on the admin socket was cut short")
        size = int(body[at:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def _hosts(statuses: list[Mapping[str, Any]]) -> Hosts:
    healthy: set[Target] = set()
    unhealthy: set[Target] = set()
    for status in statuses:
        address = status["address"]["socket_address"]
        failed = any(key.startswith("failed") for key in status.get("health_status", {}))
        (unhealthy if failed else healthy).add(Target(str(address["address"]), int(address["port_value"])))
    return Hosts(all=frozenset(healthy | unhealthy), unhealthy=frozenset(unhealthy))
