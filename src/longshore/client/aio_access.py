"""Tokens, locks, environments: methods of `AsyncLongshore`; the same as those of `Access` (sync_access.py), awaited."""

from __future__ import annotations

from collections.abc import Sequence

from longshore.client import access
from longshore.client import results as r
from longshore.client.aio_carrier import AsyncCarrier
from longshore.client.calls import get


class AsyncAccess:
    _carrier: AsyncCarrier

    async def create_token(
        self,
        name: str,
        role: str,
        *,
        environments: Sequence[str] | None = None,
        expires_in: str | float | None = None,
    ) -> r.Token:
        """Make a token; its text is in `token` of the answer, and can never be asked for again.

        role           read | deploy | admin
        environments   that it may change; None: all
        expires_in     such as "720h", or seconds; None: until it is revoked
        """
        return await self._carrier.run(access.create_token(name, role, environments, expires_in))

    async def tokens(self) -> r.Tokens:
        """Every token that was ever made, by name."""
        return await self._carrier.run(get(r.Tokens, access.TOKENS))

    async def revoke_token(self, name: str) -> r.Token:
        """From now on it opens nothing. Raises NotFound."""
        return await self._carrier.run(access.revoke_token(name))

    async def lock(
        self,
        name: str | None = None,
        *,
        environment: str | None = None,
        message: str = "",
        expires_in: str | float | None = None,
        if_revision: int | None = None,
    ) -> r.Lock:
        """Have every change of a deployment, or of an environment, refused but for rollbacks and overrides.

        message      why, for those it stops
        expires_in   such as "2h", or seconds; None: until it is unlocked
        Raises DeploymentLocked where somebody else has locked it.
        """
        return await self._carrier.run(access.lock(name, environment, message, expires_in, if_revision))

    async def unlock(
        self,
        name: str | None = None,
        *,
        environment: str | None = None,
        force: bool = False,
        if_revision: int | None = None,
    ) -> r.Lock:
        """Let it be changed again. force: also where somebody else has locked it; takes an admin's token.

        Raises NotFound where it is not locked, DeploymentLocked for somebody else's.
        """
        return await self._carrier.run(access.unlock(name, environment, force, if_revision))

    async def locks(self) -> r.Locks:
        """All locks that hold now."""
        return await self._carrier.run(get(r.Locks, access.LOCKS))

    async def doctor(self, environment: str) -> r.Diagnosis:
        """What each host of an environment lacks, as the manager sees it: it looks now, which takes some seconds.

        Raises NotFound for an environment there is not.
        """
        return await self._carrier.run(access.doctor(environment))
