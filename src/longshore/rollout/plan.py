"""Plans and steps as data, and their JSON, which is what the journal stores and recovery runs.

A step is frozen and serialisable, has one effect, and states it absolutely (what is to be, and what was before), so
that running it twice is running it once and undoing what never ran does nothing. A plan is an ordered list of steps
with exactly one Commit: before it a failure undoes, after it the rest is finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from longshore import __version__
from longshore.errors import RolloutFailed
from longshore.hosts.base import HERE
from longshore.model import Instance, Release, Rollout, RolloutKind, Routing, Spec, StepRecord, VerdictReport
from longshore.rollout.absence import Absence

if TYPE_CHECKING:
    from longshore.rollout.world import World


#: of the plan's JSON as a whole; a step has no number of its own, its fields are what it is
FORMAT = 1


@dataclass(frozen=True, slots=True)
class View:
    """The world of one deployment, read once before planning. Strategies see this and nothing else."""

    name: str
    #: of the rollout being planned; new instances are named after it
    number: int
    kind: RolloutKind
    #: id for the pool of the new instances
    pool_id: str
    #: what serves; None at the first deploy
    current: Release | None
    #: the committed instances, by slot
    serving: tuple[Instance, ...] = ()
    #: instances of the wanted release that a blue-green switch left warm, by slot
    warm: tuple[Instance, ...] = ()
    #: the pool the warm ones are in
    warm_pool: str | None = None
    #: other instances that exist (an older warm set); they are retired after the commit
    leftover: tuple[Instance, ...] = ()
    routing: Routing | None = None
    #: the wanted release has something to run
    runs: bool = True
    #: the wanted release has a public port that the router serves
    routed: bool = True
    #: version → its probe path, for pools
    directory_is_foreign: bool = False
    #: the wanted release is to be fetched (a deploy of what is not kept yet)
    fetch: bool = True
    #: the kept release whose files the wanted one takes (a change of everything else)
    source: Release | None = None
    sha256: str = ""
    command: str | tuple[str, ...] | None = None
    #: names of the hosts that instances are spread over, in order; HERE: this machine
    hosts: tuple[str, ...] = (HERE,)

    @property
    def is_far(self) -> bool:
        """Whether the instances are on other hosts than this machine."""
        return HERE not in self.hosts


class StepWarning(Exception):
    """Raised by a step that failed in a way the rollout survives: recorded as failed, shown as a warning."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a step may use while it runs."""

    world: World
    rollout: Rollout
    #: a line of progress of the step, shown at once
    say: Callable[[str], None]
    #: the rollout has got somewhere: its progress deadline starts anew
    advance: Callable[[], None]
    #: waits until promote or resume was asked for; used by a canary that pauses for a person
    promoted: Callable[[], Any]
    #: from here on the step waits for a person, and says for what: the rollout is paused, no bound counts, and a
    #: manager that is restarted meanwhile runs the step again, with a rollout that is paused
    pause: Callable[[str], None] = lambda _: None
    #: a line of the deployment's history
    note: Callable[[str], None] = lambda _: None
    #: what a candidate is judged by now: goes with all that is told of the step from here on
    judged: Callable[[VerdictReport], None] = lambda _: None
    #: hosts that the rollout goes on without
    absence: Absence = field(default_factory=Absence)

    @property
    def spec(self) -> Spec:
        return self.rollout.spec

    @property
    def name(self) -> str:
        return self.rollout.deployment


@dataclass(frozen=True)
class Step:
    """One named effect. Subclasses are frozen dataclasses of plain values, one line each in STEPS."""

    #: of a step that a newer Longshore has planned nothing may be left out: it would be another step
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    #: key in STEPS
    kind: ClassVar[str]
    #: past the commit, what follows is only done once this is: nothing is stopped that may still get requests
    guards: ClassVar[bool] = False
    #: name in the journal, in `steps[]`, in progress and in logs
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.kind)

    @property
    def undoable(self) -> bool:
        """Whether there can be anything to undo; steps for which that depends on their values say so themselves."""
        return type(self).undo is not Step.undo

    def describe(self) -> str:
        """What it will do, for a plan that is shown before it runs."""
        return self.name.replace("_", " ")

    def bound(self, spec: Spec) -> float | None:
        """Seconds the step may take without progress; the default is the progress deadline; None: no bound."""
        return spec.progress_deadline

    async def run(self, context: Context) -> str:
        """Do it, looking at the world first. Returns a sentence for the journal. Raises RolloutFailed or a subclass."""
        raise NotImplementedError

    async def undo(self, context: Context) -> str:
        """Make it not done. Harmless where run() never happened, or only in part. "" when there was nothing to do."""
        return ""


@dataclass(frozen=True)
class Unreadable(Step):
    """A step of a stored plan that this Longshore cannot read. It can be neither run nor undone, and says so."""

    kind: ClassVar[str] = "unreadable"
    guards: ClassVar[bool] = True
    why: str

    @property
    def undoable(self) -> bool:
        return True

    def describe(self) -> str:
        return f"a step of another version of Longshore, which {__version__} cannot read"

    async def run(self, context: Context) -> str:
        raise self._failure()

    async def undo(self, context: Context) -> str:
        raise self._failure()

    def _failure(self) -> RolloutFailed:
        return RolloutFailed(
            f"Longshore {__version__} cannot read the step {self.name} of this rollout, which another version has "
            f"planned ({self.why}). Start that version again: it can.",
            operation=self.name,
            cause=self.why,
        )


@dataclass(frozen=True)
class UnreadableCommit(Unreadable):
    """The same of the commit, so that it is known what comes before it."""

    kind: ClassVar[str] = "commit"


def unreadable(kind: str, name: str, why: str) -> Unreadable:
    return (UnreadableCommit if kind == "commit" else Unreadable)(why=why, name=name)


def unreadable_plan(begun: Sequence[StepRecord], why: str, *, committed: bool) -> Plan:
    """What is known of a plan that cannot be read at all: the steps that were begun, by their names in the journal."""
    names = {record.position: record.name for record in begun}
    steps = [unreadable(names.get(i, ""), names.get(i, "?"), why) for i in range(max(names, default=-1) + 1)]
    if not any(step.kind == "commit" for step in steps):
        steps.append(unreadable("commit", "commit", why))
    if committed:
        steps.append(Unreadable(why=why, name="the_rest"))
    return Plan(tuple(steps))


@dataclass(frozen=True)
class Plan:
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        commits = [step for step in self.steps if step.kind == "commit"]
        if len(commits) != 1:
            raise ValueError(f"a plan has exactly one commit, this one has {len(commits)}")

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        return tuple(step for step in self.steps if isinstance(step, Unreadable))

    @property
    def commit_position(self) -> int:
        return next(i for i, step in enumerate(self.steps) if step.kind == "commit")


_ADAPTERS: dict[type[Step], TypeAdapter[Any]] = {}


def _adapter(cls: type[Step]) -> TypeAdapter[Any]:
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = TypeAdapter(cls)
    return _ADAPTERS[cls]


def encode_plan(plan: Plan) -> str:
    """The plan as JSON: a list of objects, `step` naming the class in STEPS."""
    steps = [{"step": s.kind, **_adapter(type(s)).dump_python(s, mode="json")} for s in plan.steps]
    return json.dumps({"format": FORMAT, "steps": steps})


def decode_plan(text: str, registry: Mapping[str, type[Step]]) -> Plan:
    """The plan that encode_plan wrote, by this or an earlier Longshore.

    A step that a newer one wrote, and this one cannot read, becomes an Unreadable in its place: what was not begun
    need not be read to be undone. Raises ValueError where there is no telling the steps at all.
    """
    try:
        stored = json.loads(text)
        if stored["format"] != FORMAT:
            raise ValueError(f"its format is {stored['format']!r}, not {FORMAT}")
        return Plan(tuple(_decode_step(dict(item), registry) for item in stored["steps"]))
    except (LookupError, TypeError) as error:
        raise ValueError(f"it is no plan: {error!r}") from error


def _decode_step(item: dict[str, Any], registry: Mapping[str, type[Step]]) -> Step:
    kind, name = str(item.pop("step")), item.get("name")
    cls = registry.get(kind)
    if cls is None:
        return unreadable(kind, str(name or kind), "there is no such step")
    try:
        step: Step = _adapter(cls).validate_python(item)
    except ValidationError as error:
        first = error.errors()[0]
        return unreadable(kind, str(name or kind), f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
    return step
