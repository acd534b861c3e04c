"""Carrying out one case: restore → act, killed → the next, killed in its recovery → the one after that → look."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chaos.sweeping.acts import ACTS
from chaos.sweeping.cases import Case, Course, Result
from chaos.sweeping.stand import AFTER_A_KILL, PATIENCE, Stand
from longshore.client import ApiError, ClientError, DeploymentNotFound
from longshore.demo.manager import ManagerFailed
from longshore.demo.stage import NAME
from support.manager import bounded
from support.waits import waited

#: seconds from the exec of a manager until it is ready, what it waits for a processor left out
READY_S = 2.0
#: and from then on until the rollout it found is over, its waits for others left out
SETTLED_S = 5.0
#: seconds between a write and a death "amid" what the write stands for, in turn
AMID_S = (0.005, 0.03, 0.1)
#: between two abortions that are measured, in writes of the deploy: each step has two or more
ABORT_STRIDE = 2
#: seconds that any act may take
BOUND_S = 60.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """What was seen of one manager that found an open rollout."""

    #: from its exec until /readyz answered 200
    ready_s: float
    #: of that, without what it had to wait for a processor
    own_ready_s: float
    #: from ready until the rollout was over, without its waits for others
    settled_s: float
    #: from its exec until the rollout was over, nothing left out
    whole_s: float
    writes: int


async def measure(stand: Stand, course: Course) -> None:
    """Whole acts, nobody killed: how many writes there are. Raises AssertionError, ApiError."""
    act = ACTS[course.group.act]
    if not act.aborts:
        course.writes = await _writes_of(stand, 0)
        return
    at, aborts = 1, dict[int, int]()
    while True:
        before = stand.serving
        writes = await _writes_of(stand, at)
        if stand.serving == before:
            aborts[at] = writes
        elif aborts:
            break  # past the commit there is nothing to abort
        at += ABORT_STRIDE
    course.aborts, course.writes = aborts, max(aborts.values())


async def _writes_of(stand: Stand, at: int) -> int:
    act, site, begun = ACTS[stand.group.act], stand.site, 0

    def arm() -> None:
        nonlocal begun
        begun = site.writes()

    await act.restore(stand)
    await bounded(act.do(stand, arm, at), BOUND_S, "a whole act is over")
    writes = site.writes() - begun
    await act.check(stand)
    return writes


async def carry_out(stand: Stand, case: Case) -> Result:
    """What became of it. Whatever is wrong stands in the result; the stand is then of no use any more."""
    began, first = time.monotonic(), len(stand.ledger)
    progress = _Progress()
    violation, broken = "", False
    try:
        await _kill_and_settle(stand, case, progress)
    except (AssertionError, ApiError, ClientError, ManagerFailed) as error:
        violation, broken = f"{type(error).__name__}: {error}", True
    summary, losses = stand.losses(first)
    if summary.failed:
        violation = f"{violation}; {summary.failed} requests lost: {losses}".removeprefix("; ")
    seen = progress.recovery_seen
    for name, value, bound in (("ready", seen.own_ready_s, READY_S), ("settled", seen.settled_s, SETTLED_S)):
        if value > bound:
            violation = f"{violation}; {name} after {value:.2f} s, the bound is {bound:g} s".removeprefix("; ")
    return Result(
        case,
        reached=progress.reached,
        second_reached=progress.second_reached,
        recovery=progress.recovery,
        at=progress.at,
        outcome=progress.outcome,
        requests=summary.sent,
        lost=summary.failed,
        ready_s=round(seen.ready_s, 3),
        settled_s=round(seen.settled_s, 3),
        whole_s=round(seen.whole_s, 3),
        took_s=round(time.monotonic() - began, 1),
        violation=violation,
        broken=broken,
    )


@dataclass(slots=True)
class _Progress:
    """How far a case came, so that one that ends badly tells that as well."""

    #: the client was told that all went well
    answered: bool = False
    #: when the manager died it was on disk that it is not taken back any more
    committed: bool = False
    reached: bool = False
    second_reached: bool = False
    recovery: int = 0
    at: str = ""
    outcome: str = ""
    recovery_seen: Recovery = Recovery(0.0, 0.0, 0.0, 0.0, 0)


async def _kill_and_settle(stand: Stand, case: Case, progress: _Progress) -> None:
    act, site = ACTS[case.group.act], stand.site
    await act.restore(stand)
    before = stand.last_committed()
    progress.answered = await _done_before_death(stand, case)
    progress.reached = await _killed(stand)
    progress.committed = stand.last_committed() != before
    progress.at = stand.moment()
    if case.second:
        light(stand, case.second, case.second_point)
    else:
        site.put_out_fuse()  # or what it has come to would be taken for the end of the next manager
    recovery = await _recovery(stand)
    if recovery is None:
        progress.second_reached, progress.recovery = True, case.second
        site.put_out_fuse()
        recovery = await _recovery(stand)
        assert recovery is not None, "the manager ended, and nobody had killed it"
    site.put_out_fuse()
    progress.recovery += recovery.writes
    progress.recovery_seen = recovery
    progress.outcome = await act.check(stand)
    if progress.answered and act.answered:
        assert progress.outcome == act.answered, f"it was answered that it succeeded, and all is {progress.outcome}"
    if progress.committed:
        assert progress.outcome == (act.answered or "as wanted"), f"it was committed, and all is {progress.outcome}"
    await stand.at_rest(AFTER_A_KILL)


async def _done_before_death(stand: Stand, case: Case) -> bool:
    """Begin what the manager may not survive. Whether it did all of it, and said so."""
    act, site = ACTS[case.group.act], stand.site
    try:
        await bounded(act.do(stand, lambda: light(stand, case.write, case.point), case.abort_at), BOUND_S, "it is over")
    except ApiError:
        raise  # nobody was killed, and yet it failed
    except ClientError:
        assert await site.burnt(), "the connection broke, and nobody had killed the manager"
        return False
    return True


async def _killed(stand: Stand) -> bool:
    """Whether its fuse has killed the manager. If not, as it had fewer writes this time, it is killed at rest."""
    site = stand.site
    if await site.burnt():
        return True
    await site.kill()
    site.put_out_fuse()
    return False


def light(stand: Stand, number: int, point: str) -> None:
    """The fuse, for one of the POINTS."""
    if point == "amid":
        stand.site.light_fuse(number, "committed", AMID_S[number % len(AMID_S)])
    else:
        stand.site.light_fuse(number, point)


async def _recovery(stand: Stand) -> Recovery | None:
    """A new manager brings what it finds to an end. None: it was killed before that."""
    site = stand.site
    try:
        ready_s = await site.restart()
    except ManagerFailed:
        if await site.burnt():
            return None
        raise
    ready_at, own_ready_s = datetime.now(UTC), ready_s - queued(site.manager.pid)
    await stand.until_finished()
    writes = site.writes()
    try:
        last = await site.last_rollout()
        rollout = await site.client.rollout(NAME, last.id) if last is not None else None
    except DeploymentNotFound:
        rollout = None
    except ClientError:
        if not await site.burnt():
            raise
    if await site.burnt():
        return None
    end = rollout.end_time if rollout is not None and rollout.end_time is not None else datetime.now(UTC)
    took = max(0.0, (end - ready_at).total_seconds())
    waits = waited(rollout, ready_at, PATIENCE) if rollout is not None else 0.0
    return Recovery(ready_s, own_ready_s, max(0.0, took - waits), ready_s + took, writes)


def queued(pid: int) -> float:
    """Seconds that a process's first thread was ready to run and had no processor; 0.0 where the kernel does not count.

    Source: Linux, Documentation/scheduler/sched-stats.rst: the second number of /proc/PID/schedstat, in nanoseconds.
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
