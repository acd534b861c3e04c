"""`AsyncLongshore`: the client for asyncio. Each method is the one of `Longshore` (sync.py), awaited."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from longshore.client import calls, following, rollouts, watching
from longshore.client import results as r
from longshore.client import webhooks as w
from longshore.client.aio_access import AsyncAccess
from longshore.client.aio_carrier import AsyncCarrier
from longshore.client.calls import ROOT, Since, conflict, path_of, since_of
from longshore.client.discovery import discover
from longshore.client.effects import Flow
from longshore.client.stepper import Stepper

OnProgress = Callable[[r.Progress], None]


class AsyncLongshore(AsyncAccess):
    """A connection to a manager.

    url, token, data_dir   where it is; each None is found as the command line finds it (discovery.py)
    patience    seconds for which a manager that went away while a rollout is waited for is tried again; long enough
                for one that restarts

    Every method raises ApiError for what the manager refuses, ManagerUnreachable where none answers, ConnectionLost
    where the connection broke before an answer came, UnexpectedAnswer where what answered is no manager.
    Close it, or use it in a `async with` statement.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        patience: float = 60.0,
    ) -> None:
        self.endpoint = discover(url, token, data_dir)
        self._patience = patience
        self._carrier = AsyncCarrier(self.endpoint)

    async def close(self) -> None:
        await self._carrier.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    # ------------------------------------------------------------------------------------------- rollouts

    async def deploy(
        self,
        spec: Mapping[str, Any] | None = None,
        *,
        wait: bool = True,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        if_revision: int | None = None,
        on_conflict: str | None = None,
        queue_timeout: float | str | None = None,
        override: str | None = None,
        **fields: Any,
    ) -> r.Rollout:
        """Take a deployment to a version, and answer when it serves and the old one may be removed.

        spec, fields      the fields of the API; `fields` override those of `spec`
        wait              False: answer as soon as the rollout began, with `end_time` and `success` None
        idempotency_key   None makes one up. The same key again answers with the same rollout, for 24 h
        on_progress       called with each message of the rollout
        timeout           seconds to wait at most, else WaitTimeout; the rollout goes on. None: until it is over
        if_revision       PreconditionFailed unless the deployment is at that revision of its status; None: whatever it
                          is at. Every changing method takes it.
        on_conflict       while another rollout is in progress: "reject" (None; DeploymentInProgress), "queue" (wait for
                          its end) or "supersede" (end it). As restart, scale, stop, start and configure do
        queue_timeout     seconds, or such as "30m", that it may wait for its turn; None: an hour
        override          why a lock or a freeze window is passed over, for the history; None: DeploymentLocked or
                          DeploymentsFrozen where there is one. Every method that these can refuse takes it.

        Where somebody has to approve it, it answers at once, with `status` "queued" and `waiting_for` "approval".

        A lost connection or a restart of the manager does not lose the outcome. Raises, besides what every method
        raises, the error of a rollout that failed, such as HealthCheckFailed: its `details` have `operation` (the
        step), `cause`, `rolled_back` and `steps`.
        """
        flow = rollouts.deploy(
            {**(spec or {}), **fields, **conflict(on_conflict, queue_timeout)},
            wait=wait,
            key=idempotency_key,
            timeout=timeout,
            patience_s=self._patience,
            if_revision=if_revision,
            override=override,
        )
        return await self._carrier.run(flow, on_progress)

    async def rollback(
        self,
        name: str,
        version: str | None = None,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        if_revision: int | None = None,
    ) -> r.RollbackResult:
        """Go back to a kept release: `version`, or None for the one before that was healthy.

        Raises BackupNotFound where there is none, RollbackFailed where what served before serves on.
        """
        flow = rollouts.rollback(
            name, version or "", timeout=timeout, patience_s=self._patience, if_revision=if_revision
        )
        return await self._carrier.run(flow, on_progress)

    async def wait(
        self, name: str, rollout: str, *, on_progress: OnProgress | None = None, timeout: float | None = None
    ) -> r.Rollout:
        """The rollout once it is over, however it ended (`success`, `error`)."""
        flow = rollouts.follow(name, rollout, timeout=timeout, patience_s=self._patience)
        return await self._carrier.run(flow, on_progress)

    def watch(self, name: str, rollout: str | None = None, after: int = 0) -> AsyncIterator[r.Progress]:
        """The messages of a rollout until its end: the one in progress, else the last, else the next to begin.

        rollout, after   begin after message number `after` of that rollout
        Raises DeploymentNotFound where none began in 60 s.
        """
        return self._iterate(watching.watch(name, rollout, after, self._patience))

    async def pause(self, name: str, rollout: str | None = None, *, if_revision: int | None = None) -> r.Rollout:
        """Hold a rollout before its next step. rollout: None is the one in progress."""
        return await self._carrier.run(calls.control(name, rollout, "pause", if_revision=if_revision))

    async def resume(self, name: str, rollout: str | None = None, *, if_revision: int | None = None) -> r.Rollout:
        """Let a paused rollout go on."""
        return await self._carrier.run(calls.control(name, rollout, "resume", if_revision=if_revision))

    async def promote(self, name: str, rollout: str | None = None, *, if_revision: int | None = None) -> r.Rollout:
        """Take a canary to its end without its remaining pauses."""
        return await self._carrier.run(calls.control(name, rollout, "promote", if_revision=if_revision))

    async def abort(
        self, name: str, rollout: str | None = None, *, reason: str = "", if_revision: int | None = None
    ) -> r.Rollout:
        """Have a rollout undone. Answers when that has begun; `wait` tells how it ended."""
        return await self._carrier.run(calls.control(name, rollout, "abort", reason, if_revision))

    async def approve(
        self,
        name: str,
        rollout: str | None = None,
        *,
        comment: str = "",
        queue_timeout: float | str | None = None,
        if_revision: int | None = None,
    ) -> r.Rollout:
        """Let begin what somebody else asked for and what needs an approval; answers at once.

        rollout         None: the one that waits for an approval. Raises NotFound where none does, or more than one
        queue_timeout   seconds, or such as "30m", that it may then wait for its turn; None: an hour
        """
        return await self._carrier.run(calls.approve(name, rollout, comment, queue_timeout, if_revision))

    async def restart(
        self,
        name: str,
        *,
        wait: bool = True,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        if_revision: int | None = None,
        on_conflict: str | None = None,
        queue_timeout: float | str | None = None,
        override: str | None = None,
    ) -> r.Rollout:
        """Replace every instance by a new one of the release that serves, a few at a time."""
        body = conflict(on_conflict, queue_timeout)
        return await self._roll(name, "restart", body, wait, on_progress, timeout, if_revision, override)

    async def scale(
        self,
        name: str,
        replicas: int,
        *,
        wait: bool = True,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        if_revision: int | None = None,
        on_conflict: str | None = None,
        queue_timeout: float | str | None = None,
        override: str | None = None,
    ) -> r.Rollout:
        """Change the number of instances of the release that serves."""
        body = {"replicas": replicas, **conflict(on_conflict, queue_timeout)}
        return await self._roll(name, "scale", body, wait, on_progress, timeout, if_revision, override)

    async def stop(
        self,
        name: str,
        *,
        wait: bool = True,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        if_revision: int | None = None,
        on_conflict: str | None = None,
        queue_timeout: float | str | None = None,
        override: str | None = None,
    ) -> r.Rollout:
        """Stop every instance: clients get 503 until the next start, deploy or rollback."""
        body = conflict(on_conflict, queue_timeout)
        return await self._roll(name, "stop", body, wait, on_progress, timeout, if_revision, override)

    async def start(
        self,
        name: str,
        *,
        wait: bool = True,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        if_revision: int | None = None,
        on_conflict: str | None = None,
        queue_timeout: float | str | None = None,
        override: str | None = None,
    ) -> r.Rollout:
        """Start what was stopped, as it was."""
        body = conflict(on_conflict, queue_timeout)
        return await self._roll(name, "start", body, wait, on_progress, timeout, if_revision, override)

    async def configure(
        self,
        name: str,
        patch: Mapping[str, Any],
        *,
        wait: bool = True,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        if_revision: int | None = None,
        on_conflict: str | None = None,
        queue_timeout: float | str | None = None,
        override: str | None = None,
    ) -> r.Rollout:
        """Change fields of what serves without a new artifact: a release of its own, of the same files.

        patch   a merge patch (RFC 7396): None takes a field back to its default, or a variable out of `configuration`
        """
        body = {**patch, **conflict(on_conflict, queue_timeout)}
        return await self._roll(name, "", body, wait, on_progress, timeout, if_revision, override)

    async def pin(self, name: str, version: str, *, reason: str = "", if_revision: int | None = None) -> r.Release:
        """Never prune that release. Raises BackupNotFound where it is not kept."""
        return await self._carrier.run(calls.pin(name, version, "pin", reason, if_revision))

    async def unpin(self, name: str, version: str, *, if_revision: int | None = None) -> r.Release:
        """Let that release be pruned as any other."""
        return await self._carrier.run(calls.pin(name, version, "unpin", "", if_revision))

    async def prune(
        self, name: str, *, keep: int | None = None, if_revision: int | None = None, override: str | None = None
    ) -> r.Pruned:
        """Remove releases beyond the newest `keep` now, but for those in use, pinned or gone back to.

        keep   None: as many as the manager keeps
        """
        return await self._carrier.run(calls.prune(name, keep, if_revision, override))

    async def delete(
        self, name: str, *, keep_files: bool = False, if_revision: int | None = None, override: str | None = None
    ) -> r.Deleted:
        """Stop a deployment and forget it; its releases too, unless `keep_files`."""
        return await self._carrier.run(calls.delete(name, keep_files, if_revision, override))

    # ------------------------------------------------------------------------------------------- before a rollout

    async def validate(self, spec: Mapping[str, Any] | None = None, **fields: Any) -> r.Validation:
        """Everything a deploy would refuse, and what would surprise. A specification that is invalid raises nothing."""
        return await self._carrier.run(calls.validate({**(spec or {}), **fields}))

    async def plan(self, spec: Mapping[str, Any] | None = None, **fields: Any) -> r.Preview:
        """What a deploy would do, step by step, without doing it."""
        return await self._carrier.run(calls.plan({**(spec or {}), **fields}))

    # ------------------------------------------------------------------------------------------- looking

    async def ready(self) -> None:
        """Return if the manager is ready (`/readyz`). Raises UnexpectedAnswer or ApiError if it is not yet."""
        await self._carrier.run(calls.ready())

    async def get(self, name: str) -> r.Status:
        """The status of a deployment. Raises DeploymentNotFound."""
        return await self._carrier.run(calls.get(r.Status, path_of(name)))

    async def status(self, name: str) -> r.Status:
        """The same as `get`."""
        return await self.get(name)

    async def list(
        self, *, environment: str | None = None, state: str | None = None, limit: int = 50, offset: int = 0
    ) -> r.Deployments:
        """One page of the deployments, sorted by name. limit: 1 to 500."""
        query = {"environment": environment, "state": state, "limit": limit, "offset": offset}
        return await self._carrier.run(calls.get(r.Deployments, ROOT, **query))

    def list_all(self, *, environment: str | None = None, state: str | None = None) -> AsyncIterator[r.Summary]:
        """Every deployment, page after page as the iteration goes on."""
        return self._iterate(calls.all_pages(environment=environment, state=state))

    async def health(self, name: str) -> r.Health:
        """Probe a deployment now."""
        return await self._carrier.run(calls.get(r.Health, path_of(name, "health")))

    async def rollouts(self, name: str, *, limit: int = 20, offset: int = 0) -> r.Rollouts:
        """One page of a deployment's history, newest first."""
        return await self._carrier.run(calls.get(r.Rollouts, path_of(name, "rollouts"), limit=limit, offset=offset))

    async def rollout(self, name: str, rollout: str) -> r.Rollout:
        """One attempt, as it stands. Raises NotFound."""
        return await self._carrier.run(calls.get(r.Rollout, path_of(name, "rollouts", rollout)))

    async def releases(self, name: str) -> r.Releases:
        """The versions that were deployed, and which of them can be rolled back to."""
        return await self._carrier.run(calls.get(r.Releases, path_of(name, "releases")))

    async def endpoints(self, name: str, *, after: str | None = None) -> r.Endpoints:
        """Where requests of a deployment are to go. after: a revision: answers when it is another, or after 50 s."""
        return await self._carrier.run(calls.at(r.Endpoints, name, "endpoints", after))

    def follow_endpoints(self, name: str) -> AsyncIterator[r.Endpoints]:
        """Where requests are to go: now, and each time that has changed, until the loop is left."""
        return self._iterate(following.follow_revisions(r.Endpoints, name, "endpoints", self._patience))

    async def instances(self, name: str, *, after: str | None = None) -> r.Instances:
        """What runs of a deployment, and who gets the requests. after: as of `endpoints`."""
        return await self._carrier.run(calls.at(r.Instances, name, "instances", after))

    def follow_instances(self, name: str) -> AsyncIterator[r.Instances]:
        """What runs: now, and each time that has changed, until the loop is left."""
        return self._iterate(following.follow_revisions(r.Instances, name, "instances", self._patience))

    async def events(self, name: str, *, limit: int = 50, before: int | None = None) -> r.Events:
        """Events of a deployment, newest first. before: only those older than the event with that id."""
        return await self._carrier.run(calls.get(r.Events, path_of(name, "events"), limit=limit, before=before))

    async def logs(
        self, name: str, *, instance: str | None = None, tail: int | None = None, since: Since = None
    ) -> r.Logs:
        """What the instances wrote, or one of them did: the last `tail` lines of each (None: 100, with `since` all).

        since   an aware time, or how long ago in seconds or such as "10m"; then also of instances that are gone
        """
        asked = {"instance": instance, "tail": tail, "since": since_of(since)}
        return await self._carrier.run(calls.get(r.Logs, path_of(name, "logs"), **asked))

    def follow_logs(
        self,
        name: str,
        *,
        instance: str | None = None,
        tail: int | None = None,
        since: Since = None,
        on_problem: Callable[[r.LogProblem], None] | None = None,
    ) -> AsyncIterator[r.LogLine]:
        """Those lines (the last 10 of each where nothing is said), then each new one, of instances that start meanwhile
        too, until the deployment, or the one instance, is gone.

        Goes on over lost connections and restarts of the manager: no line is missing then, and none is there twice but
        perhaps one that reads the same as the one before it.

        on_problem  is told once of each instance whose output cannot be read, while it is tried again
        """
        flow = following.follow_logs(name, instance, tail, since_of(since), self._patience, on_problem)
        return self._iterate(flow)

    def follow_events(self, name: str | None = None, *, after: int | None = None) -> AsyncIterator[r.Event]:
        """Events as they happen, of a deployment or of all, without an end (but that of the deployment). Goes on over
        lost connections and restarts of the manager without missing one.

        after   begin after the event with that id; None: with what happens from now on
        """
        return self._iterate(following.follow_events(name, after, self._patience))

    async def hooks(self, name: str, rollout: str | None = None, *, tail: int = 1000) -> r.Hooks:
        """What the hooks of a rollout printed: of the one in progress, else the last, where it is None."""
        return await self._carrier.run(calls.hooks(name, rollout, tail))

    def follow_hooks(self, name: str, rollout: str, *, tail: int = 1000) -> AsyncIterator[r.HookLine]:
        """The same as it is printed, until the rollout is over."""
        return self._iterate(following.follow_hooks(name, rollout, tail, self._patience))

    # ------------------------------------------------------------------------------------------- webhooks

    async def webhooks(self) -> w.Webhooks:
        """The webhooks of the manager's configuration."""
        return await self._carrier.run(w.webhooks())

    async def deliveries(
        self, webhook: str, *, state: str | None = None, limit: int = 50, offset: int = 0
    ) -> w.Deliveries:
        """What a webhook was or is to be told, newest first. state: pending, delivered or dead. Raises NotFound."""
        return await self._carrier.run(w.deliveries(webhook, state=state, limit=limit, offset=offset))

    async def delivery(self, webhook: str, id: str) -> w.Delivery:
        """One message, as it stands. Raises NotFound."""
        return await self._carrier.run(w.delivery(webhook, id))

    async def redeliver(self, webhook: str, id: str) -> w.Delivery:
        """Have a message sent once more, whatever became of it. Answers before it is."""
        return await self._carrier.run(w.redeliver(webhook, id))

    async def test_webhook(self, webhook: str) -> w.Delivery:
        """Have a message of a rollout that never was sent, once. Answers before it is; `delivery` tells how it went."""
        return await self._carrier.run(w.test(webhook))

    # --- private

    async def _roll(
        self,
        name: str,
        verb: str,
        body: Mapping[str, Any],
        wait: bool,
        on_progress: OnProgress | None,
        timeout: float | None,
        if_revision: int | None,
        override: str | None,
    ) -> r.Rollout:
        flow = rollouts.change(
            name, verb, body, wait=wait, timeout=timeout, patience_s=self._patience, if_revision=if_revision,
            override=override,
        )  # fmt: skip
        return await self._carrier.run(flow, on_progress)

    def _iterate(self, flow: Flow[None]) -> AsyncIterator[Any]:
        return self._carrier.iterate(Stepper(flow))
