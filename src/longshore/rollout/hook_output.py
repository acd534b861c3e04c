"""What the hooks and checks of a rollout print: read from their logs, while they run and afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from longshore.masking import mask_text
from longshore.model import Rollout
from longshore.rollout.log_files import hook_logs

#: bytes of each log that are read at a time
BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class HookLine:
    """phase: pre_deploy, post_deploy, canary_check."""

    phase: str
    text: str


class HookOutput:
    """A reader of the output of one rollout's hooks; secrets of the configuration are masked as in its steps."""

    def __init__(self, directory: Path, rollout: Rollout) -> None:
        self._directory, self._rollout = directory, rollout
        #: phase → bytes read of its log, and the beginning of a line that is not finished
        self._read: dict[str, tuple[int, bytes]] = {}

    def more(self, *, over: bool) -> list[HookLine]:
        """What was written since the last call, phase by phase. over: nothing more will be, so what is there of the
        last line is a line. Raises OSError."""
        found: list[HookLine] = []
        for phase, log in hook_logs(self._directory, self._rollout.number).items():
            while self._more(phase, log, found):
                pass
            position, rest = self._read[phase]
            if over and rest:
                found.append(self._line(phase, rest))
                self._read[phase] = (position, b"")
        return found

    # --- private

    def _more(self, phase: str, log: Path, found: list[HookLine]) -> bool:
        position, rest = self._read.setdefault(phase, (0, b""))
        with log.open("rb") as file:
            file.seek(position)
            data = file.read(BLOCK)
        *lines, rest = (rest + data).split(b"\n")
        found += [self._line(phase, line) for line in lines]
        self._read[phase] = (position + len(data), rest)
        return len(data) == BLOCK

    def _line(self, phase: str, data: bytes) -> HookLine:
        text = data.decode("utf-8", "replace").removesuffix("\r")
        return HookLine(phase, mask_text(text, self._rollout.spec.configuration))
