"""The manager that comes after: another process on the same data directory, of this version of Longshore or another.

    successor(site)             from now on the site's manager is another one, yet to be started
    newer(directory)            a version that plans differently, to be upgraded to and gone back from

The newer one has a step that this one does not know (`consider`, before, right before and after the commit), a field
more in a step that this one does know (`drain`) and in the specification, and a version of its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import longshore
from longshore.demo.manager import Manager
from support.manager import Site

VERSION = "99.0"

_STEP = '''"""A step of tomorrow."""

from dataclasses import dataclass
from typing import ClassVar

from longshore.rollout.plan import Context, Step


@dataclass(frozen=True)
class Consider(Step):
    kind: ClassVar[str] = "consider"
    what: str = "everything"

    async def run(self, context: Context) -> str:
        return f"considered {self.what}"

    async def undo(self, context: Context) -> str:
        return f"considered {self.what} no more"
'''

_PLANNING = """

_planned_before = plan_rollout


def plan_rollout(view, spec, strategy=None, *, keep_releases):
    from longshore.rollout.steps.newer import Consider

    plan = _planned_before(view, spec, strategy, keep_releases=keep_releases)
    at = plan.commit_position
    first, last = Consider("the beginning"), Consider("the end")
    return Plan((first, *plan.steps[:at], Consider(), *plan.steps[at:], last))
"""

_REGISTERED = """
from longshore.rollout.steps.newer import Consider

STEPS["consider"] = Consider
"""


def successor(site: Site, code: str | None = None) -> None:
    """code: what newer() returned; None: this version."""
    settings = {"FUSED_DATA_DIR": str(site.data), **({"PYTHONPATH": code} if code is not None else {})}
    program, site.manager = site.manager.program, Manager(site.data, settings)
    site.manager.program = program


def newer(directory: Path) -> str:
    """Make it there; returns what PYTHONPATH has to be for it."""
    package = directory / "longshore"
    shutil.copytree(Path(longshore.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "rollout/steps/newer.py").write_text(_STEP)
    _append(package / "rollout/steps/__init__.py", _REGISTERED)
    _append(package / "rollout/frame.py", _PLANNING)
    _replace(package / "__init__.py", longshore.__version__, VERSION)
    drain = '    kind: ClassVar[str] = "drain"\n    instances: tuple[str, ...]\n'
    _replace(package / "rollout/steps/traffic.py", drain, f'{drain}    how: str = "gently"\n')
    checksum = '    artifact_sha256: str = ""'
    _replace(package / "model/spec.py", checksum, f'{checksum}\n    mood: str = "calm"')
    return str(directory)


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    path.write_text(text.replace(old, new))
