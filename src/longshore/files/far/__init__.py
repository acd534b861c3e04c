"""Releases on other hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from longshore.files.working_directory import WorkingDirectory
from longshore.hosts.base import Host


@dataclass(frozen=True, slots=True)
class Shipped:
    """sent_bytes: of content; kept: it stood there already."""

    sent_bytes: int
    kept: bool


class FarDirectory:
    def __init__(self, host: Host, path: str) -> None:
        self.host, self.path = host, path

    async def claim(self, owner: str) -> None: ...
    async def holder(self) -> str | None: ...
    async def disclaim(self, owner: str) -> None: ...
    async def free_bytes(self) -> int: ...
    async def ship(
        self,
        local: WorkingDirectory,
        version: str,
        *,
        user: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Shipped: ...
    async def set_current(self, version: str | None) -> None: ...
    async def current(self) -> str | None: ...
    async def versions(self) -> tuple[str, ...]: ...
    async def remove_release(self, version: str) -> None: ...
    async def remove_all(self) -> None: ...
    async def sweep(self) -> None: ...
