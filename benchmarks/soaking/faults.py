"""What breaks: each fault by chance, one at a time, and how long it took until all was well again."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from longshore.demo.manager import ManagerFailed
from longshore.demo.wire import Connection, Failed
from longshore.drivers.identity import send
from soaking.roles import App
from soaking.stand import ENVOY_KILLED, Fault, Stand, until

#: seconds from the end of one fault to the next
PAUSE_S = (4.0, 9.0)
#: until a manager has settled the rollouts it found, drains and health checks included
SETTLED_S = 60.0
#: until an instance runs again: the monitor's back-off may reach 60 s for one that was killed again and again
BACK_S = 75.0
ENVOY_S = 20.0
#: steps that wait for somebody else: an application that starts or ends, requests that end
WAITING = frozenset({"await_ready", "drain", "stop_instances", "start_instances", "retire", "health_check"})
#: what is measured of managers, in seconds: from SIGTERM, from exec, from being ready
ENDED = "SIGTERM → manager ended"
READY = "manager started → ready"
READY_BY_THE_CLOCK = "manager started → ready, with waits for a processor"
SETTLED = "manager ready → what it found settled"

Act = Callable[[Stand, Fault, random.Random], Awaitable[None]]


async def break_things(stand: Stand, chance: random.Random, end: float, kinds: Sequence[str]) -> None:
    """One fault after the other, of these kinds, until time.monotonic() is `end`."""
    left: list[str] = []
    while (at := time.monotonic() + chance.uniform(*PAUSE_S)) < end:
        await asyncio.sleep(at - time.monotonic())
        # Each kind before one comes again: a short soak is to have all of them.
        left = left or chance.sample(kinds, len(kinds))
        kind = left.pop()
        fault = Fault(kind, None, time.monotonic())
        await FAULTS[kind](stand, fault, chance)
        fault.settled = time.monotonic()


# ------------------------------------------------------------------------------------------- the faults


async def kill_manager(stand: Stand, fault: Fault, _: random.Random) -> None:
    stand.faults.append(fault)
    await stand.manager.kill()
    await _come_back(stand)


async def restart_manager(stand: Stand, fault: Fault, _: random.Random) -> None:
    stand.faults.append(fault)
    try:
        await stand.manager.stop()
    except ManagerFailed as error:
        stand.violated(str(error))
    stand.recovered(ENDED, time.monotonic() - fault.at)
    await _come_back(stand)


async def _come_back(stand: Stand) -> None:
    """Start it, and wait for the rollouts it finds, but for those that wait for a person."""
    found = {rollout for rollout, status in stand.open_rollouts().items() if status != "paused"}
    took = await stand.start_manager()
    queued, ready = _queued(stand.manager.pid), time.time()
    stand.recovered(READY, max(0.0, took - queued))
    stand.recovered(READY_BY_THE_CLOCK, took)
    if not found:
        return

    async def settled() -> bool:
        return not found & set(stand.open_rollouts())

    if await until(settled, SETTLED_S):
        took = max(_own_time(stand, rollout, ready) for rollout in found)
        stand.recovered(SETTLED, max(0.0, took - (_queued(stand.manager.pid) - queued)))
    else:
        left = found & set(stand.open_rollouts())
        stand.violated(f"not within {SETTLED_S:g} s of the start: rollouts {left} of before are settled")


def _queued(pid: int) -> float:
    """Seconds that its main thread could have run and had no processor: others have them, applications and clients.

    Source: Linux, Documentation/scheduler/sched-stats.rst: the second number of /proc/PID/schedstat, in nanoseconds.
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except OSError:  # a kernel without CONFIG_SCHED_INFO
        return 0.0


def _own_time(stand: Stand, rollout: str, ready: float) -> float:
    """Seconds from `ready` (since the epoch) to its end, without what it waited for applications and requests."""
    rows = stand.rows("SELECT name, started_at, ended_at FROM journal WHERE rollout_id = ?", rollout)
    ends = stand.rows("SELECT ended_at FROM rollouts WHERE id = ?", rollout)
    if not ends or ends[0]["ended_at"] is None:
        return 0.0  # its deployment was deleted meanwhile
    waited: float = sum(
        row["ended_at"] - max(row["started_at"], ready)
        for row in rows
        if row["name"] in WAITING and row["ended_at"] is not None and row["ended_at"] > ready
    )
    return max(0.0, float(ends[0]["ended_at"]) - ready - waited)


async def kill_instance(stand: Stand, fault: Fault, chance: random.Random) -> None:
    handles = {id_: handle for id_, handle in stand.handles().items() if stand.killable(handle["deployment"])}
    if not handles:
        return
    instance = chance.choice(sorted(handles))
    handle = handles[instance]
    app = stand.app(handle["deployment"])
    fault.app = app.name
    stand.faults.append(fault)
    if not send(handle["pid"], handle["start_time"], signal.SIGKILL):
        return
    app.kills.append(time.monotonic())

    async def replaced() -> bool:
        now = stand.handles().get(instance)
        return now is None or now["pid"] != handle["pid"]

    if not await until(replaced, BACK_S):
        stand.violated(f"not within {BACK_S:g} s: {instance} of {app.name} was started again, or is gone")
    elif instance in stand.handles():
        stand.recovered("instance killed → started again", time.monotonic() - fault.at)


async def kill_envoy(stand: Stand, fault: Fault, _: random.Random) -> None:
    victims = stand.envoys()
    stand.faults.append(fault)
    for victim in victims:
        send(victim.pid, victim.start_time, signal.SIGKILL)

    async def serves() -> bool:
        return bool({each.pid for each in stand.envoys()} - {each.pid for each in victims}) and await _all_answer(stand)

    if await until(serves, ENVOY_S):
        stand.recovered("Envoy killed → all ports answer", time.monotonic() - fault.at)
    else:
        stand.violated(f"not within {ENVOY_S:g} s: Envoy runs again and all ports answer")


async def _all_answer(stand: Stand) -> bool:
    return all(await asyncio.gather(*(_answers(app) for app in stand.apps if app.role.loaded)))


async def _answers(app: App) -> bool:
    connection = Connection("127.0.0.1", app.port)
    with suppress(Failed):
        try:
            # Longer than a recreate may hold requests back.
            async with asyncio.timeout(ENVOY_S):
                return (await connection.request("GET", "/")).status == 200
        except TimeoutError:
            return False
        finally:
            connection.close()
    return False


#: of FAULTS, those that a manager and an Envoy live through
MILD = ("instance killed",)

# To add a fault: a function here that appends the Fault when it strikes, waits until all is well again and says how
# long that took (Stand.recovered), and a line below. Requests that it may cost are told apart by Stand.judge.
# docs/reliability.md names them in its section on the soak.
FAULTS: dict[str, Act] = {
    "manager killed": kill_manager,
    "manager restarted": restart_manager,
    "instance killed": kill_instance,
    ENVOY_KILLED: kill_envoy,
}
