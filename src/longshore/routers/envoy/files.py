"""ResourceFile: one of the 18 files Envoy watches, and the handshake by which it tells what became of a change.

    change() ──► temporary file ──► rename ──► Envoy reads ──► version_text is ours: taken
                                                          └──► a counter moved: refused; what was before goes back

Each file always holds the whole list; what is missing from it is removed. One change is in flight per file, so that a
refusal has one culprit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from longshore.clock import Clock
from longshore.fence import Fence, unfenced
from longshore.routers.base import RouterError
from longshore.routers.envoy.admin import Acks, Admin, AdminUnavailable
from longshore.routers.envoy.resources import SHARDS, Json, route_frame

#: Measured: 2 ms idle, 8.6 ms loaded, 0.35 ms per kB of JSON; Envoy started anew by its watchdog: 160 ms.
ACK_S = 5.0
POLL_S = 0.002

#: Given the size that envoy.log had before the change, the reason for a refusal.
Reason = Callable[[int], Awaitable[str]]


class Refused(RouterError):
    """Envoy refused a change; the file is as it was before."""


class ResourceFile:
    """A named set of resources in one file. `items` are JSON texts by name, in the order they were added."""

    def __init__(
        self,
        path: Path,
        acks: str,
        admin: Admin,
        clock: Clock,
        log: Path,
        reason: Reason,
        frame: Json | None = None,
        fence: Fence = unfenced,
    ) -> None:
        """
        acks    regex of the prefix of this file's statistics
        log     envoy.log
        frame   the one resource that holds the items as its virtual hosts; None: the items are the resources
        fence   passed before each write
        """
        self.path = path
        self.items: dict[str, str] = {}
        self.version = 0
        #: why it is not known what the file held when this manager came; "" where it is
        self.lost = ""
        self._acks = acks
        self._admin = admin
        self._clock = clock
        self._log = log
        self._reason = reason
        self._frame = frame
        self._fence = fence
        self._lock = asyncio.Lock()
        #: written, but Envoy has not said that it has it: the wait was cancelled, or in vain
        self._pending = False

    def load(self) -> None:
        """Take over what an earlier manager wrote; nothing, and `lost`, where that is gone or cannot be read."""
        try:
            stored = json.loads(self.path.read_bytes())
            self.version = int(stored["version_info"])
            resources = stored["resources"]
            if self._frame is not None:
                resources = resources[0].get("virtual_hosts", [])
            self.items = {str(resource["name"]): _text(resource) for resource in resources}
        except FileNotFoundError:
            self.items, self.version, self.lost = {}, 0, "it is missing"
        except (OSError, ValueError, LookupError, TypeError) as error:
            self.items, self.version, self.lost = {}, 0, f"it cannot be read: {error}"

    def resource(self, name: str) -> Json | None:
        text = self.items.get(name)
        return None if text is None else json.loads(text)

    def lay(self, resources: Mapping[str, Json]) -> None:
        """Make these the whole list, for an Envoy that is not running; write() follows."""
        self.items = {name: _text(resource) for name, resource in resources.items()}

    def write(self, items: Mapping[str, str] | None = None) -> None:
        """Put the whole list in place, without asking what becomes of it. Durable against the manager's death, not
        against the machine's: after a reboot the manager writes all files anew before it starts Envoy."""
        items = self.items if items is None else items
        # Increasing across restarts of the manager: it is the handle for the acknowledgement.
        version = max(self.version + 1, int(self._clock.now() * 1e6))
        body = ",\n".join(items.values())
        if self._frame is not None:
            body = json.dumps({**self._frame, "virtual_hosts": ["@"]}).replace('"@"', body)
        temporary = self.path.with_suffix(".tmp")
        self._fence()
        try:
            temporary.write_text(f'{{"version_info": "{version}", "resources": [\n{body}\n]}}\n')
            temporary.replace(self.path)
        except OSError as error:
            raise RouterError(f"{self.path} cannot be written, what it held before stands: {error}") from error
        self.items, self.version = dict(items), version

    async def change(self, put: Mapping[str, Json] | None = None, drop: Iterable[str] = ()) -> None:
        """Add or replace these resources and remove those; writes nothing if that changes nothing.

        Returns when Envoy has taken it. Raises Refused, with Envoy's reason, or RouterError if Envoy says nothing for
        5 s; both leave the file as it was.
        """
        async with self._lock:
            before = self.items
            after = {name: text for name, text in before.items() if name not in frozenset(drop)}
            after |= {name: _text(resource) for name, resource in (put or {}).items()}
            if after == before and not self._pending:
                return
            try:
                await self._push(after)
            except Refused:
                # Awaited: until Envoy has it back, other deployments of this file would look as if not in effect.
                with contextlib.suppress(RouterError):
                    await self._push(before)
                raise
            except RouterError:
                if self.items != before:
                    self.write(before)
                raise

    async def served(self) -> bool:
        """Whether Envoy says that it has exactly what the file holds. Raises AdminUnavailable."""
        async with self._lock:
            return str(self.version) in (await self._admin.acks(self._acks)).versions

    async def confirm(self) -> None:
        """Wait until Envoy has what the file holds, writing it once more if it has not. Raises as change() does."""
        async with self._lock:
            acks = await self._admin.acks(self._acks)
            unused = self._frame is not None and not acks.versions
            if str(self.version) not in acks.versions and not unused:
                await self._push(self.items)
            self._pending = False

    # --------------------------------------------------------------------------------------------------- private

    async def _push(self, items: Mapping[str, str]) -> None:
        self._pending = True
        await self._write_and_wait(items)
        self._pending = False

    async def _write_and_wait(self, items: Mapping[str, str]) -> None:
        before = await self._ask()
        log_size = self._log.stat().st_size if self._log.exists() else 0
        self.write(items)
        if before is not None and not before.versions and self._frame is not None:
            return  # No listener uses this shard yet: Envoy reads it when one does.
        deadline = self._clock.monotonic() + ACK_S
        while True:
            now = await self._ask()
            if now is not None:
                if str(self.version) in now.versions:
                    return
                if before is not None and (now.rejected > before.rejected or now.failed > before.failed):
                    raise Refused(await self._reason(log_size))
                if before is None or now.rejected < before.rejected or now.failed < before.failed:
                    # Envoy is a new one: its counters began at 0.
                    before = Acks(now.versions, 0, 0)
                    continue
            if self._clock.monotonic() > deadline:
                raise RouterError(
                    f"Envoy has not taken {self.path.name} version {self.version} within {ACK_S:g} s; see {self._log}"
                )
            await self._clock.sleep(POLL_S)

    async def _ask(self) -> Acks | None:
        try:
            return await self._admin.acks(self._acks)
        except AdminUnavailable:
            return None


class Files:
    """All that Envoy reads: listeners, clusters, and sixteen shards of routes."""

    def __init__(
        self, directory: Path, admin: Admin, clock: Clock, log: Path, reason: Reason, fence: Fence = unfenced
    ) -> None:
        def file(name: str, acks: str, frame: Json | None = None) -> ResourceFile:
            return ResourceFile(directory / name, acks, admin, clock, log, reason, frame, fence)

        self.listeners = file("lds.json", r"^listener_manager\.lds")
        self.clusters = file("cds.json", r"^cluster_manager\.cds")
        # The statistic carries the name of the listener that subscribed first, and keeps it when that one is gone.
        self.shards = tuple(file(f"rds{k}.json", rf"^http\..*\.rds\.r{k}", route_frame(k)) for k in range(SHARDS))

    @property
    def all(self) -> tuple[ResourceFile, ...]:
        """In the order they have to be written: what is referred to before what refers to it."""
        return (self.clusters, *self.shards, self.listeners)

    def load(self) -> None:
        for file in self.all:
            file.load()

    def write(self) -> None:
        for file in self.all:
            file.write()


def _text(resource: Mapping[str, Any]) -> str:
    return json.dumps(resource, separators=(",", ":"))
