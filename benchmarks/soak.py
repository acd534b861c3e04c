"""The soak: a real manager, twenty deployments under steady load, users at work, and things that break, for minutes.

    make soak MINUTES=30        or        python benchmarks/soak.py --minutes 30 --deployments 20 --seed 7

In the first part everything breaks; in the rest only instances do, so that one manager and one Envoy live long enough
for it to be seen whether they grow. Exit status 0 only if no request was lost without a reason, every invariant held
and every figure keeps to its target; 1 otherwise, 130 after Ctrl-C. The seed says what is done and in which order; how
it falls together is left to the machine. See docs/reliability.md.
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
from soaking.faults import FAULTS, MILD, break_things
from soaking.figures import figures
from soaking.invariants import check
from soaking.operations import work
from soaking.page import write
from soaking.patience import BOUND_S
from soaking.roles import SPECIAL, spec
from soaking.sampling import Sample, sample
from soaking.stand import Stand, entries

from longshore.demo.stage import open_stage
from longshore.drivers.process import MARK

#: between two checks of the invariants: each gives a sample, and there have to be enough of one life to tell its growth
ROUND_S = 30.0
#: of the time, the part in which managers and Envoys are killed too
HARSH = 0.4


@dataclass(frozen=True, slots=True)
class Options:
    minutes: float
    deployments: int
    seed: int
    harsh: float
    as_json: bool
    write: bool


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
    title = f"Soak, {options.minutes:g} minutes, {options.deployments} deployments, seed {options.seed}"
    if options.as_json:
        print(json.dumps({"title": title, "figures": [asdict(each) for each in results], "violations": violations}))
    else:
        console.print(table(title, results))
    if options.write:
        console.print(f"written to {write(title, results)}", highlight=False)
    return 0 if all(figure.ok for figure in results) else 1


def parsed() -> Options:
    parser = argparse.ArgumentParser(description="Longshore under load, at work and in trouble, for minutes.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--deployments", type=int, default=20, help=f"{len(SPECIAL) + 1} or more")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of what is done; printed")
    parser.add_argument(
        "--harsh", type=float, default=HARSH, help="part of the time in which managers and Envoys are killed, 0 to 1"
    )
    parser.add_argument("--json", action="store_true", help="numbers for programs")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    given = parser.parse_args()
    if given.minutes <= 0 or given.deployments <= len(SPECIAL) or not 0 <= given.harsh <= 1:
        parser.error(f"--minutes must be above 0, --deployments above {len(SPECIAL)}, --harsh from 0 to 1")
    return Options(given.minutes, given.deployments, given.seed, given.harsh, given.json, given.write)


async def soak(options: Options, console: Console) -> tuple[list[Figure], list[str]]:
    task = asyncio.current_task()
    assert task is not None
    # Ctrl-C cancels the task already; a service manager's SIGTERM is to take everything down as well.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with open_stage(kind=Stand) as stand:
        assert isinstance(stand, Stand)
        stand.on_violation = lambda what: console.print(what, style="bold red", highlight=False, markup=False)
        stand.add_apps(options.deployments, options.seed)
        for app in stand.apps:
            await stand.client.deploy(spec(stand, app), timeout=BOUND_S)
        await check(stand)
        await stand.begin_load()
        samples = await rounds(stand, options, console)
        losses, total = await stand.clients.end()
        stand.judge(losses)
        manager = stand.rows("SELECT id FROM manager")[0]["id"]
    left = [stat.pid for stat, _ in entries(f"{MARK}={manager}/")] + [stat.pid for stat in stand.envoys()]
    if left:
        stand.violated(f"processes {left} are left over after everything was deleted")
    return figures(stand, total, samples), stand.violations


async def rounds(stand: Stand, options: Options, console: Console) -> list[Sample]:
    """Work and trouble, a round at a time; then everybody holds still, but for the clients, and it is looked at."""
    chance, samples = random.Random(f"{options.seed}/faults"), list[Sample]()
    begin = time.monotonic()
    end, harsh = begin + 60 * options.minutes, begin + 60 * options.minutes * options.harsh
    while (now := time.monotonic()) < end:
        until = min(end, now + ROUND_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(break_things(stand, chance, until, list(FAULTS) if now < harsh else MILD))
            for app in stand.apps:
                group.create_task(work(stand, app, until))
        samples.append(await look(stand, console))
    return samples


async def look(stand: Stand, console: Console) -> Sample:
    await check(stand)
    stand.judge(await stand.clients.look())
    taken = await sample(stand)
    console.print(
        f"[{stand.now():.0f} s] {stand.clients.sent} requests, {stand.unexplained.total()} lost, "
        f"{stand.in_flight.total()} in killed instances, {stand.emptied.total()} in emptied pools, "
        f"{stand.cut.total()} with Envoy; "
        f"{stand.outcomes.total()} operations, {len(stand.faults)} faults, {len(stand.violations)} violations; "
        + ", ".join(f"{name.replace('manager: ', '')} {taken.values[name]:,.0f}" for name in TOLD),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return taken


#: of the measures, those that are told after each round
TOLD = ("manager: open files", "manager: tasks", "manager: objects", "manager: memory", "Envoy: memory")


if __name__ == "__main__":
    sys.exit(main())
