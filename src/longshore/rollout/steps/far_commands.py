"""Hooks on hosts: units of their own there, so that a lost connection can neither end one nor make it run twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from longshore.drivers.base import DriverError
from longshore.errors import HookFailed
from longshore.hosts.base import HostUnreachable
from longshore.proc import HookResult
from longshore.rollout.plan import Context
from longshore.rollout.prefixed_log import PrefixedLog
from longshore.rollout.steps.variables import variables_of


async def run_there(
    context: Context, hosts: Sequence[str], command: str, number: int, purpose: str, timeout_s: float, *, once: bool
) -> list[tuple[str, HookResult]]:
    """Run a shell line in the release's directory on each of the hosts, at once; or `once`, on the first of them that
    answers. The names of those it has run on with how it ended there.

    number    of this command among those with the same purpose, which it is told (DEPLOYMENT_HOOK)
    Raises HookFailed where it has run on no host, or nobody knows whether it has; RolloutFailed where more hosts are
    out of reach than may be.
    """
    from longshore.drivers.systemd.commands import NotBegun, command_name, run_command

    world, spec = context.world, context.spec
    directory = Path(spec.working_directory, "releases", context.rollout.version)
    environment = {
        **spec.configuration,
        **variables_of(context),
        "DEPLOYMENT_RELEASE_DIR": str(directory),
        "DEPLOYMENT_HOOK": purpose,
    }
    hook = f"{purpose} hook {number} ({command})"
    log = world.hook_log(context.name, context.rollout.number, purpose)

    async def one(name_of_host: str) -> HookResult | HostUnreachable:
        output = PrefixedLog(log, f"{name_of_host}: ")
        try:
            result = await run_command(
                world.host(spec.environment, name_of_host),
                command_name(context.rollout.id, purpose, number),
                command,
                directory=directory,
                environment={**environment, "DEPLOYMENT_HOST": name_of_host},
                user=world.user_of(spec),
                timeout_s=timeout_s,
                fence=world.fence,
                on_output=output.add,
            )
        except HostUnreachable as error:
            if once and not isinstance(error, NotBegun):
                message = f"{hook} was begun on {name_of_host}, which was lost: it may have run, and runs nowhere else"
                raise HookFailed(message, cause=str(error)) from error
            return error
        except DriverError as error:
            raise HookFailed(f"{hook} failed on {name_of_host}", cause=str(error)) from error
        await asyncio.to_thread(output.end)
        return result

    found: list[tuple[str, HookResult]] = []
    for names in [[name] for name in hosts] if once else [hosts]:
        outcomes = await asyncio.gather(*(one(name) for name in names), return_exceptions=True)
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, HostUnreachable):
                context.say(context.absence.pass_over(outcome))
                context.advance()
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                found.append((name, outcome))
        if found:
            return found
    raise HookFailed(f"{hook} has run on no host", cause="none is in reach")


async def end_there(context: Context, hosts: Sequence[str]) -> str:
    """End what a manager that was killed has left running there, and remove what hooks have left: only until then is it
    known how they ended."""
    from longshore.drivers.systemd.commands import end_commands

    world = context.world
    ended = 0
    for name in hosts:
        try:
            host = world.host(context.spec.environment, name)
            ended += await end_commands(host, context.rollout.id, world.fence)
        except HostUnreachable as error:
            context.say(context.absence.pass_over(error))
    return f"ended {ended} interrupted hook{'s' if ended != 1 else ''}" if ended else ""
