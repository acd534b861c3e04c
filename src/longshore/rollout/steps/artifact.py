"""Fetch an artifact into an immutable release directory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from longshore.artifacts.base import ArtifactError
from longshore.artifacts.stopping import in_thread
from longshore.errors import RolloutFailed
from longshore.files import FilesError, Unpacked, WorkingDirectory
from longshore.model import Release, ReleaseState, RolloutKind
from longshore.rollout.plan import Context, Step


@dataclass(frozen=True)
class FetchArtifact(Step):
    """`version` stands unpacked in releases/VERSION/.

    new   False where the release is kept already: then there is nothing to fetch, and nothing for undo to remove. A
          kept release that somebody has deleted from the disk is unpacked again, where the artifact is at hand.
    """

    kind: ClassVar[str] = "fetch_artifact"
    version: str
    artifact_path: str
    sha256: str
    command: str | tuple[str, ...] | None
    new: bool

    @property
    def undoable(self) -> bool:
        return self.new

    def describe(self) -> str:
        if not self.new:
            return f"use release {self.version}, which is kept"
        return f"unpack {self.artifact_path} as release {self.version}"

    async def run(self, context: Context) -> str:
        store, spec = context.world.store, context.spec
        directory = context.world.files_of(spec)
        if not self.new:
            if await asyncio.to_thread(directory.release, self.version) is not None:
                return f"release {self.version} is kept, nothing to fetch"
            return await self._restore(context)
        release = Release(
            deployment=context.name,
            version=self.version,
            sha256=self.sha256,
            spec=spec,
            command=self.command,
            path=str(directory.releases / self.version),
            size_bytes=0,
            state=ReleaseState.fetching,
            created_at=context.world.clock.now(),
        )
        store.save_release(release)
        unpacked = await self._unpack(context, self.sha256)
        store.save_release(replace(release, size_bytes=unpacked.size_bytes, state=ReleaseState.kept))
        return f"unpacked {unpacked.size_bytes:,} bytes to releases/{self.version}"

    async def _restore(self, context: Context) -> str:
        """Deploying a version again mends what was deleted; its row, and so its history, stays as it is."""
        release = context.world.store.release(context.name, self.version)
        where = context.world.files_of(context.spec).releases / self.version
        if context.rollout.kind is RolloutKind.rollback or release is None:
            raise RolloutFailed(
                f"Release {self.version} is no longer on the disk: somebody has deleted {where}. Roll back to another "
                "release, or deploy this version again from its artifact, which restores it.",
                cause=f"{where} is missing",
            )
        unpacked = await self._unpack(context, release.sha256)
        return f"warning: {where} had been deleted; unpacked {unpacked.size_bytes:,} bytes to it again"

    async def _unpack(self, context: Context, sha256: str) -> Unpacked:
        spec, world = context.spec, context.world
        directory = world.files_of(spec)
        try:
            await asyncio.to_thread(directory.claim, world.claim_of(context.name))
            return await in_thread(
                lambda limits: directory.unpack_release(
                    Path(self.artifact_path), self.version, sha256, spec.shared_paths, limits, world.owner_of(spec)
                ),
                world.artifact_limits,
            )
        except (ArtifactError, FilesError) as error:
            raise RolloutFailed(
                f"The artifact {self.artifact_path} could not be unpacked: {error}", cause=str(error)
            ) from error

    async def undo(self, context: Context) -> str:
        if not self.new:
            return ""
        release = context.world.store.release(context.name, self.version)
        if release is None:
            return ""
        directory = context.world.files_of(context.spec)
        await asyncio.to_thread(directory.remove_release, self.version)
        await self._give_up(context, directory)
        context.world.store.delete_release(context.name, self.version)
        return f"removed releases/{self.version}"

    async def _give_up(self, context: Context, directory: WorkingDirectory) -> None:
        """Where nothing ever served from the directory, somebody else may have it, as it was before."""
        store, claim = context.world.store, context.world.claim_of(context.name)
        deployment = store.deployment(context.name)
        if deployment is not None and deployment.current_version is not None:
            return
        if await asyncio.to_thread(directory.holder) == claim:
            if all(release.version == self.version for release in store.releases(context.name)):
                await asyncio.to_thread(directory.remove_all)
            await asyncio.to_thread(directory.disclaim, claim)
