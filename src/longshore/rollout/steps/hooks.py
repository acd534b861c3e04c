"""The user's own commands before and after the switch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from longshore.durations import format_duration
from longshore.errors import HookFailed
from longshore.model import Spec
from longshore.proc import HookResult, end_left_over, run_shell
from longshore.rollout.plan import Context, Step, StepWarning

#: in the environment of every hook, and of nothing else: tells what a rollout's hooks have started
ROLLOUT_VARIABLE = "DEPLOYMENT_ROLLOUT_ID"


@dataclass(frozen=True)
class RunHooks(Step):
    """Hooks run once each, in order, until one fails. What they did is not undone; one that still runs is ended."""

    kind: ClassVar[str] = "run_hooks"
    phase: Literal["pre_deploy", "post_deploy"]
    commands: tuple[str, ...]
    #: a failing hook is only a warning
    tolerant: bool

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
        output: list[str] = []
        for number, command in enumerate(self.commands, start=1):
            context.say(f"hook {number} of {len(self.commands)}: {command}")
            result = await self._run_one(context, command)
            context.advance()
            if result.tail.strip():
                output.append(result.tail.strip())
            if result.timed_out or result.exit_code != 0:
                message = f"{self.phase} hook {number} ({command}) {_ending(result, context.spec)}"
                cause = result.tail.strip() or "it printed nothing"
                if self.tolerant:
                    raise StepWarning(f"{message}: {cause}")
                raise HookFailed(message, cause=cause)
        if not self.commands:
            return self.describe()
        said = "\n".join(output)
        return f"{len(self.commands)} hook{'s' if len(self.commands) != 1 else ''} ran" + (f":\n{said}" if said else "")

    async def undo(self, context: Context) -> str:
        # A manager that was killed could not end its hook: that one runs on, and would act on what is being undone.
        context.world.fence()
        ended, left = await end_left_over(ROLLOUT_VARIABLE, context.rollout.id)
        if left:
            return f"warning: pid {', '.join(str(pid) for pid in left)}, started by a hook, could not be ended"
        return f"ended {ended} process{'es' if ended != 1 else ''} of an interrupted hook" if ended else ""

    async def _run_one(self, context: Context, command: str) -> HookResult:
        rollout, spec, world = context.rollout, context.spec, context.world
        release = world.store.release(context.name, rollout.version)
        directory = Path(release.path) if release else Path(spec.working_directory)
        variables = {
            "DEPLOYMENT_NAME": context.name,
            "DEPLOYMENT_VERSION": rollout.version,
            "DEPLOYMENT_PREVIOUS_VERSION": rollout.previous_version or "",
            "DEPLOYMENT_ENVIRONMENT": spec.environment,
            "DEPLOYMENT_STRATEGY": rollout.strategy,
            "DEPLOYMENT_RELEASE_DIR": str(directory),
            ROLLOUT_VARIABLE: rollout.id,
            "DEPLOYMENT_HOOK": self.phase,
        }
        world.fence()
        return await run_shell(
            command,
            cwd=directory,
            env={**world.base_environment(spec), **spec.configuration, **variables},
            timeout_s=spec.hook_timeout,
            user=world.user_of(spec),
            log=world.hook_log(context.name, rollout.number, self.phase),
        )


def _ending(result: HookResult, spec: Spec) -> str:
    if result.timed_out:
        return f"did not end within {format_duration(spec.hook_timeout)} and was killed, with all it had started"
    if result.exit_code is not None and result.exit_code < 0:
        return f"was killed by signal {-result.exit_code}"
    return f"exited with code {result.exit_code}"
