"""The committed release: where `current` points, and what is kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from longshore.concurrency import to_its_end
from longshore.errors import RolloutFailed
from longshore.files import FilesError
from longshore.rollout.plan import Context, Step
from longshore.rollout.pruning import prune


async def point_current(context: Context, version: str | None) -> str:
    """Make `current` name this release; "" where it does already."""
    directory = context.world.files_of(context.spec)
    if await asyncio.to_thread(directory.current) == version:
        return ""
    try:
        await to_its_end(directory.set_current, version)
    except FilesError as error:
        raise RolloutFailed(f"`current` could not be switched to {version}: {error}", cause=str(error)) from error
    return f"current → releases/{version}" if version else "removed the link current"


@dataclass(frozen=True)
class SwitchCurrent(Step):
    """`current` names the release `after`: for a release of files, that is what puts it before its users."""

    kind: ClassVar[str] = "switch_current"
    before: str | None
    after: str

    def describe(self) -> str:
        return f"switch current from {self.before or 'nothing'} to {self.after}"

    async def run(self, context: Context) -> str:
        return await point_current(context, self.after) or f"current names {self.after} already"

    async def undo(self, context: Context) -> str:
        return await point_current(context, self.before)


@dataclass(frozen=True)
class Commit(Step):
    """The pivot. `current` names the release; the engine writes the rest in one transaction with this step's record.

    It has an undo for the one moment in which the link has moved and that transaction is not yet on disk.
    """

    kind: ClassVar[str] = "commit"
    version: str
    before: str | None
    #: the instances that are committed with it
    instances: tuple[str, ...]

    def describe(self) -> str:
        return f"commit {self.version}: from here on nothing is undone"

    async def run(self, context: Context) -> str:
        await point_current(context, self.version)
        return f"{self.version} is committed"

    async def undo(self, context: Context) -> str:
        return await point_current(context, self.before)


@dataclass(frozen=True)
class Prune(Step):
    """Releases beyond the newest `keep` are removed from the disk, but for those in use, pinned or gone back to."""

    kind: ClassVar[str] = "prune"
    keep: int

    def describe(self) -> str:
        return f"remove releases beyond the newest {self.keep}"

    async def run(self, context: Context) -> str:
        removed = await prune(context.world, context.name, self.keep)
        if not removed:
            return f"nothing beyond the newest {self.keep}"
        return f"removed {', '.join(release.version for release in removed)}"
