"""The soak: a real manager, several deployments under light load, users at work, and things that break, for minutes.

    make soak MINUTES=30        or        python benchmarks/soak.py --minutes 30 --deployments 8 --seed 7

Exit status 0 only if no request was lost without a reason and every invariant held, 1 otherwise, 130 after Ctrl-C. The
seed says what is done and in which order; how it falls together is left to the machine. See docs/reliability.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import signal
import sys
import time
from dataclasses import asdict, dataclass

import uvloop
from harness import Figure, table
from rich.console import Console
from soaking.faults import break_things
from soaking.figures import figures, sample
from soaking.invariants import check
from soaking.operations import BOUND_S, spec, work
from soaking.stand import App, Stand, entries

from longshore.demo.stage import open_stage
from longshore.drivers.process import MARK

#: between two checks of the invariants
ROUND_S = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    minutes: float
    deployments: int
    seed: int
    as_json: bool


def main() -> int:
    options = parsed()
    console = Console(width=None if sys.stdout.isatty() else 140, stderr=options.as_json)
    console.print(f"seed {options.seed}", highlight=False)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            results, violations = runner.run(soak(options, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted; everything it started was taken down")
        return 130
    if options.as_json:
        print(json.dumps({"title": "Soak", "figures": [asdict(each) for each in results], "violations": violations}))
    else:
        console.print(table(f"Soak, {options.minutes:g} minutes, {options.deployments} deployments", results))
    return 0 if all(figure.ok for figure in results) else 1


def parsed() -> Options:
    parser = argparse.ArgumentParser(description="Longshore under load, at work and in trouble, for minutes.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--deployments", type=int, default=8, help="2 or more; all but one under load")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of what is done; printed")
    parser.add_argument("--json", action="store_true", help="numbers for programs")
    given = parser.parse_args()
    if given.minutes <= 0 or given.deployments < 2:
        parser.error("--minutes must be above 0, --deployments 2 or more")
    return Options(given.minutes, given.deployments, given.seed, given.json)


async def soak(options: Options, console: Console) -> tuple[list[Figure], list[str]]:
    task = asyncio.current_task()
    assert task is not None
    # Ctrl-C cancels the task already; a service manager's SIGTERM is to take everything down as well.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with open_stage(kind=Stand) as stand:
        assert isinstance(stand, Stand)
        stand.on_violation = lambda what: console.print(what, style="bold red", highlight=False, markup=False)
        stand.add_apps(options.deployments, options.seed)
        await asyncio.gather(*(stand.client.deploy(spec(stand, app), timeout=BOUND_S) for app in stand.apps))
        await check(stand)
        first = sample(stand)
        await rounds(stand, options, console)
        last = sample(stand)
        manager = stand.rows("SELECT id FROM manager")[0]["id"]
    left = [stat.pid for stat, _ in entries(f"{MARK}={manager}/")] + [stat.pid for stat in stand.envoys()]
    if left:
        stand.violated(f"processes {left} are left over after everything was deleted")
    return figures(stand, first, last), stand.violations


async def rounds(stand: Stand, options: Options, console: Console) -> None:
    """Work and trouble, a minute at a time; then everybody holds still, but for the clients, and it is looked at."""
    chance = random.Random(f"{options.seed}/faults")
    end = time.monotonic() + 60 * options.minutes
    async with asyncio.TaskGroup() as clients:
        over = asyncio.Event()
        for app in stand.apps:
            if app.loaded:
                clients.create_task(ask(app, over))
        while (now := time.monotonic()) < end:
            until = min(end, now + ROUND_S)
            async with asyncio.TaskGroup() as group:
                group.create_task(break_things(stand, chance, until))
                for app in stand.apps:
                    group.create_task(work(stand, app, until))
            await look(stand, console)
        over.set()
    await look(stand, console)


async def ask(app: App, over: asyncio.Event) -> None:
    """Its clients, until it is over and what they hold has come home."""
    async with app.load:
        await over.wait()


async def look(stand: Stand, console: Console) -> None:
    await check(stand)
    sent = sum(len(app.load.ledger) for app in stand.apps)
    taken = sample(stand)
    console.print(
        f"[{stand.now():.0f} s] {sent} requests, {stand.unexplained.total()} lost, "
        f"{stand.in_flight.total()} in what was killed; {stand.outcomes.total()} operations, "
        f"{len(stand.faults)} faults, {len(stand.violations)} violations; manager {taken.fds} fds, "
        f"{taken.threads} threads, {taken.rss / 1e6:.0f} MB; Envoy {taken.envoy_rss / 1e6:.0f} MB",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    sys.exit(main())
