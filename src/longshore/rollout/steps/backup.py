"""Make sure there is something to go back to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import ClassVar

from longshore.concurrency import to_its_end
from longshore.errors import RolloutFailed
from longshore.files import PRE_LONGSHORE, FilesError
from longshore.model import Release, ReleaseState, RolloutKind, Spec
from longshore.rollout.plan import Context, Step


@dataclass(frozen=True)
class CreateBackup(Step):
    """What serves is a kept release that can be gone back to; a directory that was not ours is copied into one."""

    kind: ClassVar[str] = "create_backup"
    #: the committed version, None at the first deploy
    current: str | None
    #: the working directory holds something that Longshore did not put there
    foreign: bool

    @property
    def undoable(self) -> bool:
        return self.foreign

    def describe(self) -> str:
        if self.foreign:
            return f"copy what the working directory holds into release {PRE_LONGSHORE}"
        return f"keep release {self.current} to go back to" if self.current else "nothing to back up yet"

    async def run(self, context: Context) -> str:
        store = context.world.store
        directory = context.world.files_of(context.spec)
        if self.foreign:
            try:
                taken = await to_its_end(directory.take_over, PRE_LONGSHORE)
            except FilesError as error:
                raise RolloutFailed(f"What was in {directory.path} could not be copied: {error}") from error
            if taken is None:
                return "there was nothing to take over"
            now = context.world.clock.now()
            store.save_release(
                Release(
                    deployment=context.name,
                    version=PRE_LONGSHORE,
                    sha256=taken.sha256,
                    spec=_as_it_was(context.spec),
                    command=None,
                    path=str(taken.path),
                    size_bytes=taken.size_bytes,
                    state=ReleaseState.kept,
                    # It was here before the release that is fetched, and a rollback goes to what is older.
                    created_at=context.rollout.started_at,
                    healthy_at=now,
                )
            )
            return f"copied what {directory.path} held to releases/{PRE_LONGSHORE}"
        if self.current is None:
            return "the first release: nothing to back up"
        release = store.release(context.name, self.current)
        if release is None or await asyncio.to_thread(directory.release, self.current) is None:
            gone = f"release {self.current}, which serves, is no longer in {directory.releases}"
            if context.rollout.kind is RolloutKind.rollback:
                # Whoever flees from what is broken must not be kept there because it is broken.
                return f"warning: {gone}: this rollback cannot be undone"
            raise RolloutFailed(
                f"{gone[0].upper()}{gone[1:]}: there would be nothing to go back to. Deploy {self.current} again from "
                "its artifact, which restores it, or roll back.",
                cause=gone,
            )
        return f"release {self.current} is kept in releases/{self.current}"

    async def undo(self, context: Context) -> str:
        directory = context.world.files_of(context.spec)
        # Also where a manager died after the copy was made and before it was written down.
        if not self.foreign or await asyncio.to_thread(directory.release, PRE_LONGSHORE) is None:
            return ""
        await to_its_end(directory.remove_release, PRE_LONGSHORE)
        if context.world.store.release(context.name, PRE_LONGSHORE) is not None:
            context.world.store.delete_release(context.name, PRE_LONGSHORE)
        return f"removed the copy releases/{PRE_LONGSHORE}; the originals were never touched"


def _as_it_was(spec: Spec) -> Spec:
    """Files that somebody else looked after: what the new release runs, asks and needs means nothing to them."""
    return replace(
        spec,
        version=PRE_LONGSHORE,
        command=None,
        port=None,
        health_check_url="",
        dependencies=(),
        pre_deploy_hooks=(),
        post_deploy_hooks=(),
    )
