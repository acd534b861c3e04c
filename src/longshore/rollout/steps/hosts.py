"""What a rollout does on every host that its instances are on, before and beside those."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import ClassVar

from longshore.drivers.base import DriverError
from longshore.errors import RolloutFailed
from longshore.files import FilesError
from longshore.files.far import FarDirectory, Stock
from longshore.hosts.attempt import attempt
from longshore.hosts.base import HostUnreachable
from longshore.hosts.losing import expect_there
from longshore.model import Spec
from longshore.rollout.plan import Context, Step
from longshore.rollout.providing import prune_there
from longshore.rollout.steps.far_commands import end_there


async def on_each(
    context: Context, hosts: tuple[str, ...], work: Callable[[FarDirectory], Awaitable[str]]
) -> list[str]:
    """Do it on all of them at once, but for those that the rollout goes on without; what each said, where it did.

    Raises RolloutFailed naming the host, where one is out of reach that may not be, or could not do it.
    """
    world, spec = context.world, context.spec

    async def one(name: str) -> str:
        try:
            said = await work(world.far_directory(world.host(spec.environment, name), spec.working_directory))
        except HostUnreachable as error:
            context.say(context.absence.pass_over(error))
            return ""
        except (FilesError, DriverError) as error:
            # Most errors name the host; those of the manager's own copy of a release do not.
            message = str(error) if str(error).startswith(f"host {name}") else f"host {name}: {error}"
            raise RolloutFailed(f"{message[0].upper()}{message[1:]}", cause=str(error)) from error
        context.advance()
        return f"{name}: {said}" if said else ""

    present = [name for name in hosts if name not in context.absence.hosts]
    outcomes = await asyncio.gather(*(one(name) for name in present), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, str) and outcome]


@dataclass(frozen=True)
class CheckHosts(Step):
    """Every host answers, but for as many as may fail."""

    kind: ClassVar[str] = "check_hosts"
    hosts: tuple[str, ...]

    def describe(self) -> str:
        return f"ask {len(self.hosts)} host{'s' if len(self.hosts) != 1 else ''} whether they are there"

    async def run(self, context: Context) -> str:
        async def ask(directory: FarDirectory) -> str:
            host = directory.host
            await host.connect()
            # A connection that is kept may be one to nobody, as nobody has noticed yet.
            await attempt(host, lambda: expect_there(host))
            return "here"

        there = await on_each(context, self.hosts, ask)
        return f"{len(there)} of {len(self.hosts)} hosts answer"


@dataclass(frozen=True)
class ShipRelease(Step):
    """`version` stands in releases/VERSION/ on each host.

    new   False where it was kept already: then there is nothing for undo to remove
    """

    kind: ClassVar[str] = "ship_release"
    version: str
    hosts: tuple[str, ...]
    new: bool

    @property
    def undoable(self) -> bool:
        return self.new

    def describe(self) -> str:
        return f"bring release {self.version} to {', '.join(self.hosts)}"

    async def run(self, context: Context) -> str:
        world, spec = context.world, context.spec
        stock = Stock(world.files_of(spec))  # read once for all hosts

        async def ship(directory: FarDirectory) -> str:
            shipped = await directory.ship(
                stock,
                self.version,
                spec.shared_paths,
                world.user_of(spec) or "",
                lambda *_: context.advance(),
                world.claim_of(context.name),
            )
            if not shipped.sent_bytes:
                return "there already"
            out_of = f", the rest is out of {shipped.base}" if shipped.base else ""
            return f"{shipped.sent_bytes:,} of {shipped.size_bytes:,} bytes sent{out_of}"

        return "; ".join(await on_each(context, self.hosts, ship)) or "no host was there"

    async def undo(self, context: Context) -> str:
        if not self.new:
            return ""
        deployment = context.world.store.deployment(context.name)
        nothing_serves = deployment is None or deployment.current_version is None

        async def remove(directory: FarDirectory) -> str:
            await directory.remove_release(self.version)
            if nothing_serves and await directory.holder() == context.world.claim_of(context.name):
                # Nothing ever served from there: somebody else may have the directory, as it was.
                await directory.remove_all()
                await directory.disclaim(context.world.claim_of(context.name))
            return "removed"

        return "; ".join(await on_each(context, self.hosts, remove))


@dataclass(frozen=True)
class SwitchHosts(Step):
    """`current` names the release `after` on each host."""

    kind: ClassVar[str] = "switch_hosts"
    before: str | None
    after: str
    hosts: tuple[str, ...]

    def describe(self) -> str:
        return f"switch current to {self.after} on {', '.join(self.hosts)}"

    async def run(self, context: Context) -> str:
        await on_each(context, self.hosts, lambda directory: _point(directory, self.after))
        return f"current → releases/{self.after}"

    async def undo(self, context: Context) -> str:
        await on_each(context, self.hosts, lambda directory: _point(directory, self.before))
        return f"current → releases/{self.before}" if self.before else "removed the link current"


@dataclass(frozen=True)
class PruneHosts(Step):
    """Releases that are not kept are not on the hosts either; nor is what is known there of the rollout's hooks."""

    kind: ClassVar[str] = "prune_hosts"
    hosts: tuple[str, ...]

    def describe(self) -> str:
        return "remove there what is not kept here"

    def bound(self, spec: Spec) -> float | None:
        return spec.progress_deadline

    async def run(self, context: Context) -> str:
        async def prune(directory: FarDirectory) -> str:
            return ", ".join(await prune_there(context.world, context.name, directory))

        removed = "; ".join(await on_each(context, self.hosts, prune))
        if context.spec.hooks_on != "local" and (context.spec.pre_deploy_hooks or context.spec.post_deploy_hooks):
            await end_there(context, self.hosts)
        return removed or "nothing to remove"


async def _point(directory: FarDirectory, version: str | None) -> str:
    return "switched" if await directory.set_current(version) else ""
