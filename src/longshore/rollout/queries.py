"""What the API reads: from the store and what the monitor knows. Only `health` asks the instances."""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator

from longshore.bus import Subscription
from longshore.drivers.base import LogLine, Output
from longshore.errors import NotFound
from longshore.model import (
    Deployment,
    Event,
    Health,
    Instance,
    Progress,
    Release,
    Rollout,
    State,
    StepRecord,
)
from longshore.rollout.checkup import check_up
from longshore.rollout.endpoints import read_endpoints
from longshore.rollout.hook_output import HookOutput
from longshore.rollout.instance_list import read_instances
from longshore.rollout.log_files import logged_instances
from longshore.rollout.reports import EndpointList, HealthReport, InstanceList, Status, Summary
from longshore.rollout.revisions import next_revision
from longshore.rollout.status import get_deployment, health_of, read_status, summaries
from longshore.rollout.world import World


class Queries:
    """Changes nothing. Methods that name a deployment raise DeploymentNotFound, those that name a rollout NotFound."""

    def __init__(self, world: World) -> None:
        self._world = world

    def status(self, name: str) -> Status:
        return read_status(self._world, name)

    def stamp(self, name: str) -> int:
        return self._world.store.stamp(name)

    def list(
        self, *, environment: str | None, state: State | None, limit: int, offset: int
    ) -> tuple[builtins.list[Summary], int]:
        return summaries(self._world, environment=environment, state=state, limit=limit, offset=offset)

    async def health(self, name: str) -> HealthReport:
        deployment = get_deployment(self._world, name)
        return await check_up(self._world, name, self._world.driver_of(deployment.environment))

    def health_now(self, name: str) -> Health:
        """From what the monitor knows, without asking."""
        deployment = self._world.store.deployment(name)
        if deployment is None or deployment.current_version is None:
            return Health.unhealthy
        release = self._world.store.release(name, deployment.current_version)
        last = self._world.store.last_rollout_of(name)
        return health_of(self._world, deployment, release, last, self._world.store.instances(name))

    def deployment(self, name: str) -> Deployment:
        return get_deployment(self._world, name)

    def rollout(self, name: str, rollout_id: str) -> Rollout:
        get_deployment(self._world, name)
        rollout = self._world.store.rollout(rollout_id)
        if rollout is None and (waiting := self._world.store.waiting(rollout_id)) is not None:
            rollout = waiting.as_rollout()
        if rollout is None or rollout.deployment != name:
            raise NotFound(f"{name} has no rollout {rollout_id!r}.", deployment=name, operation="find")
        return rollout

    def rollouts(self, name: str, *, limit: int, offset: int) -> tuple[builtins.list[Rollout], int]:
        get_deployment(self._world, name)
        return self._world.store.rollouts(name, limit=limit, offset=offset)

    def steps(self, rollout_id: str) -> builtins.list[StepRecord]:
        return self._world.store.journal(rollout_id)

    def progress_pct(self, rollout_id: str) -> int:
        return self._world.store.progress_pct(rollout_id)

    def releases(self, name: str) -> builtins.list[Release]:
        get_deployment(self._world, name)
        return self._world.store.releases(name)

    def events(self, name: str, *, limit: int, before: int | None) -> builtins.list[Event]:
        get_deployment(self._world, name)
        return self._world.store.events(name, limit=limit, before=before)

    async def endpoints(self, name: str, after: str | None = None) -> EndpointList:
        """after: a revision; waits, up to revisions.WAIT_S, until it is another one."""
        if after is None:
            return read_endpoints(self._world, name)
        return await next_revision(self._world, name, after, read_endpoints)

    async def running_now(self, name: str, after: str | None = None) -> InstanceList:
        """What runs, and who gets the requests; as endpoints()."""
        if after is None:
            return read_instances(self._world, name)
        return await next_revision(self._world, name, after, read_instances)

    def instances(self, name: str) -> builtins.list[Instance]:
        get_deployment(self._world, name)
        return self._world.store.instances(name)

    def logged(self, name: str) -> builtins.list[str]:
        """Instances that are gone and have left a log on this machine, oldest first."""
        get_deployment(self._world, name)
        there = {instance.id for instance in self._world.store.instances(name)}
        return [id for id in logged_instances(self._world.logs / name) if id not in there]

    def log(
        self, name: str, instance: str, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """Lines of an instance, as Driver.logs says; the instance may be gone."""
        deployment = get_deployment(self._world, name)
        found = self._world.store.instance(instance)
        output = self._world.fleet.output_of(found) if found is not None else self._gone(deployment, instance)
        driver = self._world.driver_of(deployment.environment)
        return driver.logs(output, tail=tail, since=since, follow=follow)

    def _gone(self, deployment: Deployment, instance: str) -> Output:
        """Of an instance that nothing is known of any more: its unit had the name that those of now have."""
        name = deployment.name
        release = next(iter(self._world.store.releases(name)), None)
        service = (release.spec.service_name if release is not None else "") or name
        return Output(name, instance, self._world.instance_log(name, instance), service=service)

    def hook_output(self, name: str, rollout_id: str) -> HookOutput:
        return HookOutput(self._world.logs / name, self.rollout(name, rollout_id))

    def watch(self, name: str, rollout_id: str | None, after: int) -> Subscription:
        """Progress of the rollout in progress (or of the last one), then of all that follow."""
        store = self._world.store
        last = store.rollout(rollout_id) if rollout_id else store.last_rollout_of(name)
        history: builtins.list[Progress] = []
        if rollout_id and (waiting := store.waiting(rollout_id)) is not None and waiting.ask.deployment == name:
            history = [waiting.progress()]
        if last is not None and last.deployment == name:
            history = store.progress(last.id, after)
        return self._world.bus.subscribe(name, history)
