"""On which terms a change is asked for: by whom, against which revision, over what stands in its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from longshore.errors import Forbidden, PreconditionFailed
from longshore.model import Deployment, Role

#: refuse (409) | wait for its turn | abort it, cancel what waits, and go on
OnConflict = Literal["reject", "queue", "supersede"]
QUEUE_TIMEOUT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Once:
    """An Idempotency-Key of a caller's. The transaction that opens a rollout binds it, so that it opens one at most."""

    caller: str
    key: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What every changing request carries beside what it changes."""

    #: shown as `requested_by`
    caller: str
    once: Once | None = None
    #: what the caller's token may: changes of these environments (None: all), and whether what takes an admin
    environments: tuple[str, ...] | None = None
    role: Role = Role.admin
    #: the deployment has to be at this one (If-Match); None: at any
    revision: int | None = None
    #: nothing may serve under this name yet (If-None-Match: *)
    absent: bool = False
    #: why a lock or a freeze window is passed over; None: it is not
    override: str | None = None
    #: what to do about a rollout that is in progress
    on_conflict: OnConflict = "reject"
    #: seconds that it may wait for its turn
    queue_timeout: float = QUEUE_TIMEOUT_S
    #: id of what waited and begins now, and who approved it
    waited: str | None = None
    approved_by: str | None = None

    def may_change(self, environment: str) -> None:
        """Raise Forbidden where the caller's token is for other environments."""
        if self.environments is not None and environment not in self.environments:
            raise Forbidden(
                f"{self.caller} may change {' and '.join(self.environments)}, and this is in {environment}.",
                cause=f"the token {self.caller} is not for {environment}",
            )

    def hold_for(self, name: str, deployment: Deployment | None) -> None:
        """Raise PreconditionFailed where the deployment is not what the caller took it for, Forbidden where it is not
        the caller's to change.

        Asked inside the transaction that writes the change, so that of two requests at one revision one is refused.
        """
        if deployment is not None:
            self.may_change(deployment.environment)
        present = deployment.revision if deployment is not None else 0
        if self.absent and deployment is not None and deployment.current_version is not None:
            raise PreconditionFailed(
                f"{name} exists, and serves {deployment.current_version}: without If-None-Match this would change it.",
                deployment=name,
                cause="If-None-Match: *",
                revision=present,
            )
        if self.revision is not None and self.revision != present:
            by = f", last by {deployment.changed_by}" if deployment is not None and deployment.changed_by else ""
            raise PreconditionFailed(
                f"{name} is at revision {present}, not {self.revision}: it was changed in between{by}. Look at it "
                "again, and ask with its revision of now.",
                deployment=name,
                cause=f"If-Match is {self.revision}, the revision {present}",
                revision=present,
            )
