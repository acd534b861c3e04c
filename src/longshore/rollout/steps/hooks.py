"""The user's own commands before and after the switch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from longshore.durations import format_duration
from longshore.errors import HookFailed
from longshore.model import Spec
from longshore.proc import HookResult, end_left_over, run_shell
from longshore.rollout.plan import Context, Step, StepWarning
from longshore.rollout.steps.far_commands import end_there, run_there
from longshore.rollout.steps.variables import ROLLOUT_VARIABLE, variables_of


@dataclass(frozen=True)
class RunHooks(Step):
    """Hooks run once each, in order, until one fails. What they did is not undone; one that still runs is ended."""

    kind: ClassVar[str] = "run_hooks"
    phase: Literal["pre_deploy", "post_deploy"]
    commands: tuple[str, ...]
    #: a failing hook is only a warning
    tolerant: bool
    #: where they run; none: on this machine
    hosts: tuple[str, ...] = ()

    @property
    def undoable(self) -> bool:
        return bool(self.commands)

    def describe(self) -> str:
        count = len(self.commands)
        if not count:
            return f"no {self.phase.replace('_', '-')} hooks"
        return f"run {count} {self.phase.replace('_', '-')} hook{'s' if count != 1 else ''}"

    def bound(self, spec: Spec) -> float | None:
        # run_shell has the bound of each; one more minute says that bound failed.
        return spec.hook_timeout * max(1, len(self.commands)) + 60.0

    async def run(self, context: Context) -> str:
        try:
            return await self._run_all(context)
        except HookFailed as error:
            if not self.tolerant:
                raise
            raise StepWarning(f"{error.message}: {error.cause}") from error

    async def undo(self, context: Context) -> str:
        if not self.hosts:
            return await end_commands(context)
        return await end_there(context, self.hosts)

    async def _run_all(self, context: Context) -> str:
        output: list[str] = []
        for number, command in enumerate(self.commands, start=1):
            context.say(f"hook {number} of {len(self.commands)}: {command}")
            for where, result in await self._run(context, command, number):
                context.advance()
                if result.tail.strip():
                    output.append(f"{where}: {result.tail.strip()}" if where else result.tail.strip())
                if result.timed_out or result.exit_code != 0:
                    at = f" on {where}" if where else ""
                    message = f"{self.phase} hook {number} ({command}){at} {_ending(result, context.spec)}"
                    raise HookFailed(message, cause=result.tail.strip() or "it printed nothing")
        if not self.commands:
            return self.describe()
        said = "\n".join(output)
        return f"{len(self.commands)} hook{'s' if len(self.commands) != 1 else ''} ran" + (f":\n{said}" if said else "")

    async def _run(self, context: Context, command: str, number: int) -> list[tuple[str, HookResult]]:
        """One of them, where it is to run: the names of those hosts ("": this machine) with how it ended there."""
        timeout_s = context.spec.hook_timeout
        if not self.hosts:
            return [("", await run_command(context, command, purpose=self.phase, timeout_s=timeout_s))]
        present = [name for name in self.hosts if name not in context.absence.hosts]
        once = context.spec.hooks_on == "once"
        return await run_there(context, present, command, number, self.phase, timeout_s, once=once)


async def run_command(
    context: Context, command: str, *, purpose: str, timeout_s: float, variables: Mapping[str, str] | None = None
) -> HookResult:
    """Run a user's shell line for a rollout: in the new release's directory, as its user, within `timeout_s`.

    purpose     what it is told it is for (DEPLOYMENT_HOOK), and the name of its log
    variables   more of them for its environment
    """
    rollout, spec, world = context.rollout, context.spec, context.world
    environment = variables_of(context)
    world.fence()
    return await run_shell(
        command,
        cwd=Path(environment["DEPLOYMENT_RELEASE_DIR"]),
        env={
            **world.base_environment(spec),
            **spec.configuration,
            **environment,
            "DEPLOYMENT_HOOK": purpose,
            **(variables or {}),
        },
        timeout_s=timeout_s,
        user=world.user_of(spec),
        log=world.hook_log(context.name, rollout.number, purpose),
    )


async def end_commands(context: Context) -> str:
    """End what a manager that was killed could not: its command runs on, and would act on what is being undone."""
    context.world.fence()
    ended, left = await end_left_over(ROLLOUT_VARIABLE, context.rollout.id)
    if left:
        return f"warning: pid {', '.join(str(pid) for pid in left)}, started by a command, could not be ended"
    return f"ended {ended} process{'es' if ended != 1 else ''} of an interrupted command" if ended else ""


def _ending(result: HookResult, spec: Spec) -> str:
    if result.timed_out:
        return f"did not end within {format_duration(spec.hook_timeout)} and was killed, with all it had started"
    if result.exit_code is not None and result.exit_code < 0:
        return f"was killed by signal {-result.exit_code}"
    return f"exited with code {result.exit_code}"
