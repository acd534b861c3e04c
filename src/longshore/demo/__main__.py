"""The demo. Exit status 0: every scene went as it should and no request failed; 1: not so; 130: interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time

import uvloop
from rich.console import Console

from longshore.client import ApiError, ClientError
from longshore.demo.ledger import Ledger
from longshore.demo.load import Load, Mix
from longshore.demo.manager import ManagerFailed
from longshore.demo.scenes import OPENING, SCENES, Play, Scene, SceneFailed, reason
from longshore.demo.stage import Stage, open_stage
from longshore.demo.view import View

#: Enough to notice anything, little enough to leave a small machine room for three versions, a manager and a proxy.
MIX = Mix(pause_s=0.015)
#: seconds after each scene before it is counted up: Envoy passes the end of a WebSocket on up to a second late
CURTAIN_S = 1.2
#: failed requests that are listed one by one
LISTED = 10


async def demo(console: Console) -> int:
    began = time.monotonic()
    ledger = Ledger()
    console.print("starting a manager …", highlight=False)
    async with open_stage() as stage:
        console.print(
            f"deploying an application with 3 replicas on http://127.0.0.1:{stage.port}, then sending it load: "
            f"{MIX.connections} keep-alive connections (a quarter of it POSTs), and all the while {MIX.websockets} "
            f"WebSockets, {MIX.streams} event streams and {MIX.slow} requests that take {MIX.held_s:g} s each",
            highlight=False,
        )
        try:
            with View((OPENING, *SCENES), ledger, console) as view:
                played = await show(stage, view, ledger)
        finally:
            console.print("taking everything down …", highlight=False)
    return verdict(console, view, ledger, played, time.monotonic() - began)


async def show(stage: Stage, view: View, ledger: Ledger) -> bool:
    """Play the scenes until one fails; whether none did."""
    if not await play(OPENING, stage, view, ledger):
        return False
    async with Load("127.0.0.1", stage.port, MIX, ledger):
        await asyncio.sleep(CURTAIN_S)
        for scene in SCENES:
            if not await play(scene, stage, view, ledger):
                return False
    return True


async def play(scene: Scene, stage: Stage, view: View, ledger: Ledger) -> bool:
    first = len(ledger)
    view.begin(scene)
    try:
        result, failed = await scene.play(Play(stage, ledger, view.tell)), False
    except (ApiError, SceneFailed) as error:
        result, failed = reason(error), True
    view.curtain()
    await asyncio.sleep(CURTAIN_S)
    view.end(result, ledger.summary(first), failed=failed)
    return not failed


def verdict(console: Console, view: View, ledger: Ledger, played: bool, seconds: float) -> int:
    total = ledger.summary()
    if not console.is_terminal:
        console.print(view.table())
    for row in view.rows:
        if row.failed:
            console.print(f"{row.scene.title}: {row.result}", style="bold red", markup=False)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in total.kinds.most_common())
    console.print(f"{total.sent:,} requests ({kinds}) in {seconds:.0f} s, everything included", highlight=False)
    if total.failed:
        failures = ", ".join(f"{count} x {outcome}" for outcome, count in total.failures.most_common())
        console.print(f"{total.failed} requests failed: {failures}", style="bold red")
        for loss in ledger.losses()[:LISTED]:
            who, when = loss.version or "unknown", view.scene_at(loss.ended)
            console.print(f"  {loss.kind}: {loss.outcome} (version {who}), {when}", markup=False)
        return 1
    if not played:
        console.print("no request failed, but a scene did", style="bold red")
        return 1
    console.print("no request failed", style="bold green")
    return 0


def main() -> int:
    # Not a terminal: as wide as the table wants to be, and without escape codes.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(interruptible(console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted; everything was taken down", highlight=False)
        return 130
    except (ManagerFailed, ClientError) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1


async def interruptible(console: Console) -> int:
    """SIGTERM takes everything down as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await demo(console)


if __name__ == "__main__":
    sys.exit(main())
