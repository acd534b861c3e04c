"""From what is asked to what is to be rolled out: looked up, resolved, checked; nothing is changed.

Done when it is asked for, and once more when it begins where it had to wait in between: what it inherits may have
changed by then, and what it changes may be gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from longshore.artifacts.base import Scan
from longshore.errors import DeploymentInProgress, Issue, SpecInvalid
from longshore.files import FilesError
from longshore.model import Ask, Release, RolloutKind, Spec, StrategyName
from longshore.rollout.request import Request
from longshore.rollout.specs import changed, changed_version, resolve
from longshore.rollout.status import get_deployment
from longshore.rollout.validation import Checked, check
from longshore.rollout.world import World
from longshore.settings import Environment, Settings


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a rollout is opened and run with."""

    spec: Spec
    strategy: StrategyName
    #: False: files only
    runs: bool = True
    #: of the artifact, where one is deployed
    scan: Scan | None = None
    #: the release whose files a change takes
    source: Release | None = None


class Preparation:
    def __init__(self, world: World, settings: Settings, defaults: Mapping[str, Mapping[str, Any]]) -> None:
        """defaults: environment → fields of a request, in model units, where neither it nor the release has them."""
        self._world, self._settings, self._defaults = world, settings, defaults

    async def of(self, ask: Ask, issues: tuple[Issue, ...] = ()) -> Prepared:
        """issues: what is wrong with the shape of the request, to be told with everything else that is.

        Raises SpecInvalid and its kinds for what cannot be, DeploymentNotFound
        """
        if ask.unreadable:
            message = (
                "What was asked for was written down by another version, and cannot be read by this one: ask again."
            )
            raise SpecInvalid(message, cause=ask.unreadable, **_about(ask))
        return await PREPARATIONS[ask.kind](self, ask, Request(ask.fields, issues, ask.dropped))

    async def check(self, request: Request) -> Checked:
        """A deploy's spec, and everything that is wrong with it."""
        name = request.fields.get("name", "")
        deployment = self._world.store.deployment(name) if name else None
        current = (
            self._world.store.release(name, deployment.current_version)
            if deployment is not None and deployment.current_version
            else None
        )
        wanted = request.fields.get("environment") or (deployment.environment if deployment else "default")
        spec = resolve(
            request.fields,
            current=current.spec if current is not None else None,
            deployment=deployment,
            defaults=self._defaults.get(wanted, {}),
            apps=self._apps(wanted),
            hosts=self._hosts(wanted, request, current),
        )
        return await check(self._world, request, spec, self._settings.environment(wanted))

    def _apps(self, environment: str) -> Path:
        """Where deployments live that name no working directory: on the hosts, where there are any."""
        if self._world.is_far(environment):
            return Path(self._settings.environment(environment).apps_there)
        return self._settings.data_dir / "apps"

    def _hosts(self, environment: str, request: Request, current: Release | None) -> int:
        """How many hosts get instances; 0: this machine alone."""
        if not self._world.is_far(environment):
            return 0
        labels = request.fields.get("host_labels", current.spec.host_labels if current is not None else {})
        places = self._world.hosts_of(environment).values()
        return sum(labels.items() <= place.labels.items() for place in places)

    def environment(self, spec: Spec) -> Environment:
        return self._settings.environment(spec.environment)

    def expect_unchanged(self, source: Release) -> None:
        """Raise DeploymentInProgress where another release, or this one with another spec, is committed by now."""
        name = source.deployment
        now = self._committed(Ask(RolloutKind.change, name))
        if (now.version, now.spec) != (source.version, source.spec):
            raise DeploymentInProgress(f"{name} was changed at the same moment: look at it again.", deployment=name)

    # --- private: one for each kind

    async def _deploy(self, ask: Ask, request: Request) -> Prepared:
        checked = await self.check(request)
        checked.findings.raise_if_any(checked.spec.name)
        spec = checked.spec
        return Prepared(spec, spec.strategy, runs=checked.command is not None, scan=checked.scan)

    async def _change(self, ask: Ask, request: Request) -> Prepared:
        source = self._committed(ask)
        spec = changed(source.spec, ask.fields, ask.dropped)
        if spec == source.spec and not request.issues:
            raise SpecInvalid(f"{spec.name} is like that: nothing would change.", **_about(ask))
        spec = replace(spec, version=changed_version(source.version, await self._taken_versions(spec.name)))
        checked = await check(self._world, request, spec, self.environment(spec), source=source)
        checked.findings.raise_if_any(spec.name)
        return Prepared(spec, spec.strategy, runs=checked.command is not None, source=source)

    async def _restart(self, ask: Ask, _: Request) -> Prepared:
        return Prepared(self._running(ask).spec, "rolling")

    async def _stop(self, ask: Ask, _: Request) -> Prepared:
        spec = self._running(ask).spec
        return Prepared(spec, spec.strategy)

    async def _start(self, ask: Ask, _: Request) -> Prepared:
        release = self._committed(ask)
        if not get_deployment(self._world, ask.deployment).stopped:
            raise SpecInvalid(f"{ask.deployment} is not stopped: there is nothing to start.", **_about(ask))
        return Prepared(release.spec, "recreate")

    async def _scale(self, ask: Ask, _: Request) -> Prepared:
        spec, replicas = self._running(ask).spec, ask.fields["replicas"]
        if replicas == spec.replicas:
            raise SpecInvalid(issues=[Issue("replicas", f"{ask.deployment} has {replicas} already")], **_about(ask))
        return Prepared(replace(spec, replicas=replicas), spec.strategy)

    def _committed(self, ask: Ask) -> Release:
        name = ask.deployment
        version = get_deployment(self._world, name).current_version
        release = self._world.store.release(name, version) if version is not None else None
        if release is None:
            raise SpecInvalid(f"{name} never served, so there is nothing to {ask.kind}.", **_about(ask))
        return release

    def _running(self, ask: Ask) -> Release:
        release, name = self._committed(ask), ask.deployment
        if not release.runs:
            raise SpecInvalid(f"{name} has nothing that runs, so there is nothing to {ask.kind}.", **_about(ask))
        if get_deployment(self._world, name).stopped:
            remedy = "" if ask.kind is RolloutKind.stop else ": start it first"
            raise SpecInvalid(f"{name} is stopped, so there is nothing to {ask.kind}{remedy}.", **_about(ask))
        return release

    async def _taken_versions(self, name: str) -> set[str]:
        """Those that were ever released, and whatever else stands in their place on the disk."""
        directory = self._world.files_of(get_deployment(self._world, name))
        try:
            standing = await asyncio.to_thread(directory.places)
        except FilesError as error:
            raise SpecInvalid(issues=[Issue("working_directory", str(error))], deployment=name) from error
        return standing | {release.version for release in self._world.store.releases(name)}


def _about(ask: Ask) -> dict[str, Any]:
    return {"deployment": ask.deployment, "operation": ask.kind.value}


# To add a kind that can be asked for: a method above, a line here, a case in frame.plan_rollout and in runner._called.
# A rollback is none of them: it never waits, and looks for its release by itself.
PREPARATIONS: dict[RolloutKind, Callable[[Preparation, Ask, Request], Awaitable[Prepared]]] = {
    RolloutKind.deploy: Preparation._deploy,
    RolloutKind.change: Preparation._change,
    RolloutKind.restart: Preparation._restart,
    RolloutKind.stop: Preparation._stop,
    RolloutKind.start: Preparation._start,
    RolloutKind.scale: Preparation._scale,
}
