"""Hooks on hosts: units of their own there, so that a lost connection can neither end one nor make it run twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from longshore.errors import HookFailed
from longshore.hosts.base import HostUnreachable
from longshore.proc import HookResult
from longshore.rollout.plan import Context
from longshore.rollout.prefixed_log import PrefixedLog
from longshore.rollout.steps.variables import variables_of


async def run_there(
    context: Context, hosts: Sequence[str], command: str, number: int, purpose: str, timeout_s: float
) -> list[tuple[str, HookResult]]:
    """Run a shell line in the release's directory on each of the hosts, at once; their names with how it ended there.

    number    of this command among those with the same purpose, which it is told (DEPLOYMENT_HOOK)
    Raises HookFailed where there is no host to run it on, or one was lost whose answer is needed.
    """
    from longshore.drivers.systemd.commands import command_name, run_command

    world, spec = context.world, context.spec
    directory = Path(spec.working_directory, "releases", context.rollout.version)
    environment = {
        **spec.configuration,
        **variables_of(context),
        "DEPLOYMENT_RELEASE_DIR": str(directory),
        "DEPLOYMENT_HOOK": purpose,
    }
    if not hosts:
        raise HookFailed("There is no host that the hook could run on: none is in reach.", cause="no host in reach")

    log = world.hook_log(context.name, context.rollout.number, purpose)

    async def one(name_of_host: str) -> tuple[str, HookResult]:
        output = PrefixedLog(log, f"{name_of_host}: ")
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
        await asyncio.to_thread(output.end)
        return name_of_host, result

    outcomes = await asyncio.gather(*(one(each) for each in hosts), return_exceptions=True)
    found: list[tuple[str, HookResult]] = []
    for outcome in outcomes:
        if isinstance(outcome, HostUnreachable):
            if len(hosts) == 1:
                raise HookFailed(f"{purpose} hook: {outcome}", cause=str(outcome)) from outcome
            context.say(context.absence.pass_over(outcome))
        elif isinstance(outcome, BaseException):
            raise outcome
        else:
            found.append(outcome)
    return found


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
