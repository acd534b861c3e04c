"""What a person asks of a rollout while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Control:
    """One for each rollout that this manager runs. The service journals a wish before it sets it here."""

    def __init__(self) -> None:
        self.abort_reason: str | None = None
        self.pause_wanted = False
        self.promote_wanted = False
        self._resumes = 0
        self._aborted = asyncio.Event()
        self._changed = asyncio.Event()

    def abort(self, reason: str) -> None:
        self.abort_reason = self.abort_reason or reason
        self._aborted.set()
        self._changed.set()

    def pause(self) -> None:
        self.pause_wanted = True

    def resume(self) -> None:
        self.pause_wanted = False
        self._resumes += 1
        self._changed.set()

    def promote(self) -> None:
        """No more waiting: the rest of the canary's pauses is skipped."""
        self.promote_wanted = True
        self.resume()

    async def aborted(self) -> None:
        await self._aborted.wait()

    async def resumed(self) -> None:
        """Wait until there is no wish to pause (or one to abort)."""
        while self.pause_wanted and self.abort_reason is None:
            self._changed.clear()
            await self._changed.wait()

    def promotion(self) -> Callable[[], Awaitable[None]]:
        """What a step waits with until resume or promote is asked for. Whoever sees the step begin may ask at once, so
        what counts is asked for after this call, not after the wait has begun; a promote also when it was before."""
        seen = self._resumes

        async def promoted() -> None:
            while not self.promote_wanted and self._resumes == seen:
                self._changed.clear()
                await self._changed.wait()

        return promoted
