"""Tokens, locks and environments: methods of `Longshore`. `AsyncAccess` (aio_access.py) has the same, awaited."""

from __future__ import annotations

from collections.abc import Sequence

from longshore.client import access
from longshore.client import results as r
from longshore.client.calls import get
from longshore.client.carrier import Carrier


class Access:
    _carrier: Carrier

    def create_token(
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
        return self._carrier.run(access.create_token(name, role, environments, expires_in))

    def tokens(self) -> r.Tokens:
        """Every token that was ever made, by name."""
        return self._carrier.run(get(r.Tokens, access.TOKENS))

    def revoke_token(self, name: str) -> r.Token:
        """From now on it opens nothing. Raises NotFound."""
        return self._carrier.run(access.revoke_token(name))

    def lock(
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
        return self._carrier.run(access.lock(name, environment, message, expires_in, if_revision))

    def unlock(
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
        return self._carrier.run(access.unlock(name, environment, force, if_revision))

    def locks(self) -> r.Locks:
        """All locks that hold now."""
        return self._carrier.run(get(r.Locks, access.LOCKS))

    def doctor(self, environment: str) -> r.Diagnosis:
        """What each host of an environment lacks, as the manager sees it: it looks now, which takes some seconds.

        Raises NotFound for an environment there is not.
        """
        return self._carrier.run(access.doctor(environment))
