"""What the API needs of the use cases: `longshore.rollout.service.Service`, or in tests a small one of their own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from longshore.bus import Subscription
from longshore.drivers.base import LogLine
from longshore.model import Deployment, Event, Instance, Release, Rollout, State, StepRecord
from longshore.rollout.hook_output import HookOutput
from longshore.rollout.reports import EndpointList, HealthReport, InstanceList, Preview, Status, Summary, Validation
from longshore.rollout.request import Request
from longshore.rollout.terms import Once, Terms


class Service(Protocol):
    """Every method that names a deployment raises DeploymentNotFound, one that names a rollout NotFound as well."""

    async def validate(self, request: Request) -> Validation: ...

    async def plan(self, request: Request) -> Preview: ...

    async def deploy(self, request: Request, *, terms: Terms) -> Rollout:
        """Returns once the rollout is opened; the manager owns it from then on, and `terms.once` stands for it."""

    async def rollback(self, name: str, version: str | None, *, terms: Terms) -> Rollout: ...

    async def restart(self, name: str, *, terms: Terms) -> Rollout: ...

    async def scale(self, name: str, replicas: int, *, terms: Terms) -> Rollout: ...

    async def change(self, name: str, request: Request, *, terms: Terms) -> Rollout: ...

    async def stop(self, name: str, *, terms: Terms) -> Rollout: ...

    async def start(self, name: str, *, terms: Terms) -> Rollout: ...

    def pin(self, name: str, version: str, reason: str | None, *, terms: Terms) -> Release:
        """reason: "" for none; None unpins."""

    async def prune(self, name: str, keep: int | None, *, terms: Terms) -> Sequence[Release]:
        """Returns what was removed."""

    async def outcome(self, rollout_id: str) -> Rollout:
        """Wait until the rollout is over. Cancelling the wait changes nothing."""

    def steps(self, rollout_id: str) -> Sequence[StepRecord]: ...

    def progress_pct(self, rollout_id: str) -> int: ...

    def status(self, name: str) -> Status: ...

    def stamp(self, name: str) -> int:
        """Changes whenever anything that status() shows may have changed."""

    def list(
        self, *, environment: str | None, state: State | None, limit: int, offset: int
    ) -> tuple[Sequence[Summary], int]: ...

    async def health(self, name: str) -> HealthReport: ...

    def rollout(self, name: str, rollout_id: str) -> Rollout: ...

    def rollouts(self, name: str, *, limit: int, offset: int) -> tuple[Sequence[Rollout], int]: ...

    def releases(self, name: str) -> Sequence[Release]: ...

    def events(self, name: str, *, limit: int, before: int | None) -> Sequence[Event]:
        """Newest first. before: an event id; only older ones."""

    def deployment(self, name: str) -> Deployment: ...

    async def abort(self, name: str, rollout_id: str, *, terms: Terms, reason: str = "") -> Rollout: ...

    async def approve(self, name: str, rollout_id: str, *, terms: Terms, comment: str = "") -> Rollout:
        """Raises Forbidden for who asked for it."""

    async def pause(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout: ...

    async def resume(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout: ...

    async def promote(self, name: str, rollout_id: str, *, terms: Terms) -> Rollout: ...

    async def delete(self, name: str, *, keep_files: bool, terms: Terms) -> None: ...

    async def endpoints(self, name: str, after: str | None = None) -> EndpointList:
        """after: a revision; waits, within a bound, until it is another one."""

    async def running_now(self, name: str, after: str | None = None) -> InstanceList:
        """As endpoints."""

    def instances(self, name: str) -> Sequence[Instance]: ...

    def logged(self, name: str) -> Sequence[str]:
        """Instances that are gone and whose output can still be read, oldest first."""

    def log(
        self, name: str, instance: str, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """As Driver.logs: reading it raises DriverError."""

    def hook_output(self, name: str, rollout_id: str) -> HookOutput: ...

    def idempotency_begin(self, once: Once, fingerprint: str) -> str | None:
        """The rollout this key opened, if any. Raises SpecInvalid if it came with another fingerprint."""

    def watch(self, name: str, rollout_id: str | None, after: int) -> Subscription: ...
