"""What breaks: each fault by chance, one at a time, and how long it took until all was well again."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from longshore.demo.manager import ManagerFailed
from longshore.demo.wire import Connection, Failed
from longshore.drivers.identity import send
from soaking.stand import App, Fault, Stand, until

#: seconds from the end of one fault to the next
PAUSE_S = (4.0, 9.0)
#: until a manager has settled the rollouts it found, drains and health checks included
SETTLED_S = 60.0
#: until an instance runs again: the monitor's back-off may reach 60 s for one that was killed again and again
BACK_S = 75.0
ENVOY_S = 20.0

Act = Callable[[Stand, Fault, random.Random], Awaitable[None]]


async def break_things(stand: Stand, chance: random.Random, end: float) -> None:
    """One fault after the other, until time.monotonic() is `end`."""
    while (at := time.monotonic() + chance.uniform(*PAUSE_S)) < end:
        await asyncio.sleep(at - time.monotonic())
        kind = chance.choice(list(FAULTS))
        fault = Fault(kind, None, time.monotonic())
        await FAULTS[kind](stand, fault, chance)
        fault.settled = time.monotonic()


# ------------------------------------------------------------------------------------------- the faults


async def kill_manager(stand: Stand, fault: Fault, _: random.Random) -> None:
    stand.faults.append(fault)
    await stand.manager.kill()
    await _come_back(stand, fault)


async def restart_manager(stand: Stand, fault: Fault, _: random.Random) -> None:
    stand.faults.append(fault)
    try:
        await stand.manager.stop()
    except ManagerFailed as error:
        stand.violated(str(error))
    stand.recovered("SIGTERM → manager ended", fault.at)
    await _come_back(stand, fault)


async def _come_back(stand: Stand, fault: Fault) -> None:
    found = set(stand.open_rollouts())
    await stand.start_manager()
    stand.recovered(f"{fault.kind} → ready", fault.at)
    if not found:
        return

    async def settled() -> bool:
        return not found & set(stand.open_rollouts())

    if await until(settled, SETTLED_S):
        stand.recovered(f"{fault.kind} → open rollouts settled", fault.at)
    else:
        left = found & set(stand.open_rollouts())
        stand.violated(f"not within {SETTLED_S:g} s of the start: rollouts {left} of before are settled")


async def kill_instance(stand: Stand, fault: Fault, chance: random.Random) -> None:
    handles = stand.handles()
    if not handles:
        return
    instance = chance.choice(sorted(handles))
    handle = handles[instance]
    app = next(app for app in stand.apps if app.name == handle["deployment"])
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
        stand.recovered("instance killed → started again", fault.at)


async def kill_envoy(stand: Stand, fault: Fault, _: random.Random) -> None:
    victims = stand.envoys()
    stand.faults.append(fault)
    for victim in victims:
        send(victim.pid, victim.start_time, signal.SIGKILL)
    stand.envoy_kills.append(time.monotonic())

    async def serves() -> bool:
        return bool({each.pid for each in stand.envoys()} - {each.pid for each in victims}) and await _all_answer(stand)

    if await until(serves, ENVOY_S):
        stand.recovered("Envoy killed → all ports answer", fault.at)
    else:
        stand.violated(f"not within {ENVOY_S:g} s: Envoy runs again and all ports answer")


async def _all_answer(stand: Stand) -> bool:
    return all(await asyncio.gather(*(_answers(app) for app in stand.apps if app.loaded)))


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


# To add a fault: a function here that appends the Fault when it strikes, waits until all is well again and says how
# long that took (Stand.recovered), and a line below. Requests that it may cost are told apart by Stand.judge.
# docs/reliability.md names them in its section on the soak.
FAULTS: dict[str, Act] = {
    "manager killed": kill_manager,
    "manager restarted": restart_manager,
    "instance killed": kill_instance,
    "Envoy killed": kill_envoy,
}
