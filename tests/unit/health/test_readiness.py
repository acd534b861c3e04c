"""Instances that say themselves that they are ready: what answers on their port does not make them so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from longshore.drivers.base import Inspection
from longshore.health import probes
from longshore.health.board import Board
from longshore.health.readiness import NotReady, Readiness
from longshore.model import Instance
from support.engine import Clock
from support.makers import make_instances, make_spec

SPEC = make_spec(health_check_url="")


class Notifier:
    """A driver whose one instance listens on `port`, and has said `ready` or not. asked: how often that was asked."""

    def __init__(self, port: int, *, notifies: bool = True, found: Inspection | None = None) -> None:
        self.port, self._notifies = port, notifies
        self.found = found or Inspection("running", None, "it has not said yet that it is ready", ready=False)
        self.asked = 0

    def notifies(self, handle: object) -> bool:
        return self._notifies

    async def inspect(self, handle: object) -> Inspection:
        self.asked += 1
        return self.found

    async def exited(self, handle: object) -> None:
        await asyncio.Event().wait()

    async def ports(self, handle: object) -> frozenset[int]:
        return frozenset({self.port})

    async def stranger(self, handle: object, port: int) -> str:
        return ""


@asynccontextmanager
async def listening(**said: Any) -> AsyncIterator[tuple[Readiness, Notifier, Board, Instance]]:
    """An instance whose port can be connected to, whatever it has said."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (instance,) = make_instances(1)
    instance = replace(instance, port=port, handle={})
    driver, clock = Notifier(port, **said), Clock()
    board = Board(clock, lambda deployment: None)

    async def log_lines(*_: object) -> list[str]:
        return ["warming up"]

    fleet: Any = SimpleNamespace(address=lambda of: "127.0.0.1", spec_of=lambda of: SPEC, log_lines=log_lines)
    store: Any = SimpleNamespace(instance=lambda id: instance)
    readiness = Readiness(
        fleet=fleet, store=store, clock=clock, driver_of=lambda environment: driver, board=board, prober=probes  # type: ignore[arg-type, return-value]
    )  # fmt: skip
    try:
        yield readiness, driver, board, instance
    finally:
        server.close()
        await server.wait_closed()


async def test_what_listens_is_not_ready_before_it_says_so() -> None:
    async with listening() as (readiness, driver, _, instance):
        with pytest.raises(NotReady, match=r"connected, but not ready .* it has not said yet that it is ready"):
            await readiness.await_ready(instance.id, SPEC)
        driver.found = Inspection("running")
        await readiness.await_ready(instance.id, SPEC)


async def test_what_has_said_it_is_not_ready_before_its_port_answers() -> None:
    async with listening(found=Inspection("running")) as (readiness, _, _, instance):
        check = readiness.check(replace(instance, port=1), SPEC)
        assert not (await readiness.probe(check)).ok


async def test_what_cannot_be_asked_whether_it_is_ready_is_not() -> None:
    async with listening(found=Inspection("unknown", None, "host a does not answer")) as (readiness, _, _, instance):
        result = await readiness.probe_instance(instance, SPEC)
        assert (result.ok, "host a does not answer" in result.message) == (False, True)


async def test_what_is_ready_is_not_asked_for_it_again_before_it_was_unready() -> None:
    async with listening(found=Inspection("running")) as (readiness, driver, board, instance):
        board.mark(instance.id, "shop", ready=True, message="")
        assert (await readiness.probe_instance(instance, SPEC)).ok
        assert driver.asked == 0
        board.mark(instance.id, "shop", ready=False, message="it was killed by signal 9")
        assert (await readiness.probe_instance(instance, SPEC)).ok
        assert driver.asked == 1


async def test_what_does_not_say_it_itself_is_only_asked_on_its_port() -> None:
    async with listening(notifies=False) as (readiness, driver, _, instance):
        assert (await readiness.probe_instance(instance, SPEC)).ok
        assert driver.asked == 0
