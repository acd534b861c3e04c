"""A release of another one's files: what a change of configuration rolls out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import ClassVar

from longshore.artifacts.stopping import in_thread
from longshore.errors import RolloutFailed
from longshore.files import FilesError
from longshore.model import Release, ReleaseState
from longshore.rollout.plan import Context, Step


@dataclass(frozen=True)
class CopyRelease(Step):
    """`version` stands in releases/VERSION/, a copy of the kept release `source`."""

    kind: ClassVar[str] = "copy_release"
    version: str
    source: str

    def describe(self) -> str:
        return f"copy release {self.source} as {self.version}"

    async def run(self, context: Context) -> str:
        world, spec = context.world, context.spec
        source = world.store.release(context.name, self.source)
        if source is None or source.state is not ReleaseState.kept:
            raise RolloutFailed(f"Release {self.source} is no longer kept: deploy it again, then change it.")
        directory = world.files_of(spec)
        release = Release(
            deployment=context.name,
            version=self.version,
            sha256=source.sha256,
            spec=spec,
            command=spec.command if spec.command is not None else source.command,
            path=str(directory.releases / self.version),
            size_bytes=0,
            state=ReleaseState.fetching,
            created_at=world.clock.now(),
        )
        world.store.save_release(release)
        try:
            copied = await in_thread(
                lambda limits: directory.copy_release(self.source, self.version, world.owner_of(spec), limits.stop),
                world.artifact_limits,
            )
        except FilesError as error:
            raise RolloutFailed(
                f"Release {self.source} could not be copied as {self.version}: {error}", cause=str(error)
            ) from error
        world.store.save_release(replace(release, size_bytes=copied.size_bytes, state=ReleaseState.kept))
        return f"copied {copied.size_bytes:,} bytes to releases/{self.version}"

    async def undo(self, context: Context) -> str:
        if context.world.store.release(context.name, self.version) is None:
            return ""
        directory = context.world.files_of(context.spec)
        await asyncio.to_thread(directory.remove_release, self.version)
        context.world.store.delete_release(context.name, self.version)
        return f"removed releases/{self.version}"
