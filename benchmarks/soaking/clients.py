"""The clients of the deployments, in a process of their own: what the soak itself does must not make them slow.

Clients   the soak's end: begin, ask what was lost, end
main()    the process: lines of JSON in (the first says whom to ask, then "look" or "end"), one line out for each
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import uvloop

from longshore.demo.ledger import Loss, percentile
from longshore.demo.load import Load, Mix

#: seconds for an answer: held requests have to end first, and those that got nowhere to time out
ANSWER_S = 90.0
PROGRAM = str(Path(__file__).resolve())


@dataclass(frozen=True, slots=True)
class Class:
    """All requests of one kind, of all deployments, that were answered well. Times in seconds."""

    kind: str
    answered: int
    p50_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Total:
    classes: tuple[Class, ...]
    #: deployment → 99th percentile of its quick requests, seconds
    p99_s: Mapping[str, float]


class Clients:
    """`await begin()`, `await look()` now and then, `await end()`; `kill()` where something else went wrong."""

    def __init__(self) -> None:
        self.sent = 0
        self._process: asyncio.subprocess.Process | None = None

    async def begin(self, ports: Mapping[str, int], mix: Mapping[str, Any]) -> None:
        """ports: deployment → public port; mix: fields of longshore.demo.load.Mix, for each of them."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", PROGRAM),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
            # Ctrl-C in the terminal is for the soak, which then ends this one.
            start_new_session=True,
        )
        await self._say({"ports": dict(ports), "mix": dict(mix)})

    async def look(self) -> list[tuple[str, Loss]]:
        """What was lost since the last look: (deployment, loss). Also brings `sent` up to date."""
        told = await self._ask("look")
        self.sent = told["sent"]
        return [(name, Loss(*loss)) for name, *loss in told["losses"]]

    async def end(self) -> tuple[list[tuple[str, Loss]], Total]:
        """No new requests; once the last has come home: what was lost since the last look, and how all of it went."""
        told = await self._ask("end")
        self.sent = told["sent"]
        losses = [(name, Loss(*loss)) for name, *loss in told["losses"]]
        return losses, Total(tuple(Class(**each) for each in told["classes"]), told["p99_s"])

    def processor_s(self) -> float:
        """Processor time it has taken; 0 before it began."""
        if self._process is None or self._process.returncode is not None:
            return 0.0
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    async def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _say(self, what: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        await self._process.stdin.drain()

    async def _ask(self, what: str) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        await self._say(what)
        try:
            async with asyncio.timeout(ANSWER_S):
                line = await self._process.stdout.readline()
        except TimeoutError:
            raise TimeoutError(f"the process of the clients did not answer {what!r} within {ANSWER_S:g} s") from None
        if not line:
            raise RuntimeError("the process of the clients ended by itself; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


# ------------------------------------------------------------------------------------------- the process


async def serve() -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    told = json.loads(await lines.readline())
    loads = {name: Load("127.0.0.1", port, Mix(**told["mix"])) for name, port in told["ports"].items()}
    seen, over = dict.fromkeys(loads, 0), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for load in loads.values():
            group.create_task(ask(load, over))
        while (line := await lines.readline()) and json.loads(line) != "end":
            say(news(loads, seen))
        if not line:
            sys.exit("the soak is gone, and its clients with it")
        over.set()
    p99_s = {name: load.ledger.summary().p99_s for name, load in loads.items()}
    say(news(loads, seen) | {"classes": classes(loads), "p99_s": p99_s})


async def ask(load: Load, over: asyncio.Event) -> None:
    """Its clients, until it is over and what they hold has come home."""
    async with load:
        await over.wait()


def news(loads: Mapping[str, Load], seen: dict[str, int]) -> dict[str, Any]:
    losses = []
    for name, load in loads.items():
        first, seen[name] = seen[name], len(load.ledger)
        losses += [(name, loss.ended, loss.kind, loss.outcome, loss.version) for loss in load.ledger.losses(first)]
    return {"sent": sum(seen.values()), "losses": losses}


def classes(loads: Mapping[str, Load]) -> list[dict[str, Any]]:
    took: dict[str, list[float]] = {}
    for load in loads.values():
        for kind, seconds in load.ledger.latencies().items():
            took.setdefault(kind, []).extend(seconds)
    return [
        {
            "kind": kind,
            "answered": len(seconds),
            "p50_s": percentile(seconds, 50),
            "p99_s": percentile(seconds, 99),
            "max_s": seconds[-1],
        }
        for kind, seconds in ((kind, sorted(each)) for kind, each in sorted(took.items()))
    ]


def say(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
