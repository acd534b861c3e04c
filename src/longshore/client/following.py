"""Following logs, events and the output of hooks: streams that go on over lost connections and new managers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from longshore.client.calls import at, loads, path_of
from longshore.client.decode import decode
from longshore.client.effects import ChannelClosed, Emit, Event, Flow, Open, Receive
from longshore.client.errors import ConnectionLost, DeploymentNotFound, InternalError, ManagerUnreachable
from longshore.client.results import Endpoints, HookLine, Instances, LogLine, LogProblem
from longshore.client.results import Event as History
from longshore.client.watching import Patience

#: lines of each instance that are shown before the new ones
TAIL = 10
#: lines of each instance that are remembered, to know them again
REMEMBERED = 2000
#: seconds within which an instance that has just written may be behind the others
LATELY = 5.0
#: seconds within which the time of a line is known, or it may be told later the second time than the first
EXACT = 3.0
#: seconds before the loss of a connection of which lines are asked for again
AGAIN = 10.0

Revised: TypeAlias = Endpoints | Instances
#: what a stream is opened with the first time, or again
Opening = Callable[[], tuple[str, Mapping[str, Any], Mapping[str, str]]]


def follow_logs(
    name: str,
    instance: str | None,
    tail: int | None,
    since: str | None,
    patience_s: float,
    on_problem: Callable[[LogProblem], None] | None = None,
) -> Flow[None]:
    """Emits each LogLine, until the deployment, or the one instance, is gone and all was read.

    After a lost connection no line is missing; lines that are the same word for word may be there twice. on_problem is
    told of what cannot be read now.
    """
    seen, asked = Seen(), {"follow": "true", **({"instance": instance} if instance else {})}
    if tail is None and since is None:
        tail = TAIL

    def opening() -> tuple[str, Mapping[str, Any], Mapping[str, str]]:
        again = seen.resume()
        begin = {"since": again} if again else {"tail": tail, "since": since}
        params = {**asked, **{key: value for key, value in begin.items() if value is not None}}
        return path_of(name, "logs"), params, {}

    def take(event: Event) -> list[LogLine]:
        if event.kind == "problem" and on_problem is not None:
            on_problem(decode(LogProblem, loads(event.data)))
        return seen.take(decode(LogLine, loads(event.data))) if event.kind == "message" else []

    yield from _follow(opening, take, patience_s)


def follow_events(name: str | None, after: int | None, patience_s: float) -> Flow[None]:
    """Emits each Event of a deployment, or of all (None), that is newer than `after` (None: than now)."""
    last = "" if after is None else str(after)

    def opening() -> tuple[str, Mapping[str, Any], Mapping[str, str]]:
        headers = {"Last-Event-ID": last} if last else {}
        if name is None:
            return "/api/v1/events", {}, headers
        return path_of(name, "events"), {"follow": "true"}, headers

    def take(event: Event) -> list[History]:
        nonlocal last
        last = event.id or last
        return [decode(History, loads(event.data))] if event.kind == "event" else []

    yield from _follow(opening, take, patience_s)


def follow_hooks(name: str, rollout: str, tail: int, patience_s: float) -> Flow[None]:
    """Emits each HookLine until the rollout is over. After a lost connection it begins anew, without what was read."""
    skip = read = 0

    def opening() -> tuple[str, Mapping[str, Any], Mapping[str, str]]:
        nonlocal skip
        skip = read
        params = {"follow": "true", "tail": 10_000 if read else tail}
        return path_of(name, "rollouts", rollout, "hooks"), params, {}

    def take(event: Event) -> list[HookLine]:
        nonlocal skip, read
        if event.kind != "message":
            return []
        if skip:
            skip -= 1
            return []
        read += 1
        return [decode(HookLine, loads(event.data))]

    yield from _follow(opening, take, patience_s)


def follow_revisions(kind: type[Revised], name: str, what: str, patience_s: float) -> Flow[None]:
    """Emits each of what has a revision (endpoints, instances): as it is, then whenever it has changed."""
    found, patience = (yield from at(kind, name, what, None)), Patience(patience_s)
    while True:
        yield Emit(found)
        before = found.revision
        while found.revision == before:
            try:
                found = yield from at(kind, name, what, before)
                patience.reset()
            except (ConnectionLost, ManagerUnreachable, InternalError) as error:
                # A manager that stops answers what waits with an error; the next one knows what has changed.
                yield from patience.wait(error)


def _follow(opening: Opening, take: Callable[[Event], list[Any]], patience_s: float) -> Flow[None]:
    """Until the stream says that it is over. The first time it has to open; later it is tried for `patience_s`."""
    patience, opened = Patience(patience_s), False
    while True:
        try:
            path, params, headers = opening()
            yield Open("stream", path, params, headers)
            opened = True
            while True:
                event: Event = yield Receive()
                if event.kind == "end":
                    return
                patience.reset()
                for item in take(event):
                    yield Emit(item)
        except ChannelClosed:
            # A manager that leaves: the next one is coming.
            yield from patience.wait(ConnectionLost("", "the manager ended the stream"))
        except ConnectionLost as error:
            yield from patience.wait(error)
        except ManagerUnreachable as error:
            if not opened:
                raise
            yield from patience.wait(error)
        except DeploymentNotFound:
            if not opened:
                raise
            return


@dataclass
class _Known:
    """The last lines of an instance; after a new connection those, too, that may or may not be new."""

    lines: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    last: LogLine | None = None
    heard: float = 0.0
    #: where in `lines` what has come since may begin; None: nothing is in doubt
    matches: list[int] | None = None
    held: list[LogLine] = field(default_factory=list)


class Seen:
    """What was read of each instance, so that after a lost connection it goes on where it was, as nearly as times tell.

    The manager is asked again for a little more than is missing; what comes of that and was read already is left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, _Known] = {}
        #: the manager's time, less the clock's, at the least
        self._offset: float | None = None

    def resume(self) -> str | None:
        """From when on to ask again; None: nothing was read yet."""
        if self._offset is None:
            return None
        now = self._clock()
        begin = now + self._offset - AGAIN
        read = [known for known in self._known.values() if known.last is not None]
        for known in sorted(read, key=_latest, reverse=True):
            # The last line is either asked for again, or so much older that it cannot be among those that come.
            if _latest(known) >= begin - EXACT or now - known.heard < LATELY:
                begin = min(begin, _earliest(known))
        for known in read:
            known.matches = list(range(len(known.lines))) if _latest(known) >= begin else None
            known.held = []
        moment = datetime.fromtimestamp(begin, UTC) - timedelta(milliseconds=1)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def take(self, line: LogLine) -> list[LogLine]:
        """Those that are new, by now."""
        known = self._known.setdefault(line.instance, _Known())
        if line.time is not None:
            offset = line.time.timestamp() - self._clock()
            self._offset = offset if self._offset is None else max(offset, self._offset)
        new = [line] if known.matches is None else self._sift(known, line)
        for each in new:
            known.lines.append(each.line)
            known.last, known.heard = each, self._clock()
        return new

    def _sift(self, known: _Known, line: LogLine) -> list[LogLine]:
        if not known.held and line.time is not None and line.earliest is not None:
            if line.time.timestamp() < _earliest(known):
                return []  # older than what was read
            if line.earliest.timestamp() > _latest(known):
                known.matches = None
                return [line]
        place, lines = len(known.held), list(known.lines)
        known.held.append(line)
        known.matches = [n for n in known.matches or () if n + place < len(lines) and lines[n + place] == line.line]
        held = known.held
        if not known.matches:
            known.matches, known.held = None, []
            return held
        if known.matches[-1] + place + 1 == len(lines):
            known.matches, known.held = None, []
        return []


def _latest(known: _Known) -> float:
    return known.last.time.timestamp() if known.last is not None and known.last.time is not None else 0.0


def _earliest(known: _Known) -> float:
    if known.last is None or known.last.earliest is None:
        return _latest(known) - EXACT
    return known.last.earliest.timestamp()
