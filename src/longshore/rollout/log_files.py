"""The files in a deployment's directory of logs: which instance or which hooks each is of.

NAME-NUMBER-SLOT.log       what an instance wrote
rollout-NUMBER-PHASE.log   what hooks wrote
*.log.N, *.times           what rotation made of them, and when their lines were written
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

_LOG = re.compile(
    r"(?P<instance>[a-z0-9-]+-(?P<started>\d+)-(?P<slot>\d+))\.log(?P<more>\..+)?"
    r"|rollout-(?P<hooks>\d+)-(?P<phase>\w+)\.log(\..+)?"
)

#: in the order of a rollout
_PHASES = ("pre_deploy", "canary_check", "post_deploy")


def logged_instances(directory: Path) -> list[str]:
    """Ids of instances that have a log there, oldest rollout first. Raises OSError but for a directory that is gone."""
    if not directory.is_dir():
        return []
    found = (_LOG.fullmatch(path.name) for path in directory.iterdir())
    ids = [(int(f["started"]), int(f["slot"]), f["instance"]) for f in found if f and f["instance"] and not f["more"]]
    return [id for _, _, id in sorted(ids)]


def hook_logs(directory: Path, number: int) -> dict[str, Path]:
    """Phase → log of that rollout's hooks, in the order of a rollout. Raises OSError."""
    if not directory.is_dir():
        return {}
    found = [(path, _LOG.fullmatch(path.name)) for path in directory.glob(f"rollout-{number}-*.log")]
    known = {match["phase"]: path for path, match in found if match}
    return dict(sorted(known.items(), key=lambda each: _PHASES.index(each[0]) if each[0] in _PHASES else len(_PHASES)))


def forget_logs(directory: Path, up_to: int, alive: Collection[str]) -> None:
    """Delete the logs of rollouts up to that number, but for those of instances that exist. Raises OSError."""
    if up_to <= 0 or not directory.is_dir():
        return
    for path in directory.iterdir():
        found = _LOG.fullmatch(path.name)
        if found is None or found["instance"] in alive:
            continue
        if int(found["started"] or found["hooks"]) <= up_to:
            path.unlink(missing_ok=True)
