"""What is known of a unit, asked by several at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from longshore.drivers.systemd import manager
from longshore.drivers.systemd.manager import Systemd
from longshore.hosts.base import HERE
from support.launching import until


class Bus:
    """A session whose systemd answers when it is let. asked: calls so far, two for each look."""

    def __init__(self) -> None:
        self.asked, self.answers = 0, asyncio.Event()

    async def call(self, *_: Any) -> list[Any]:
        self.asked += 1
        await self.answers.wait()
        return [{}]


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Bus:
    bus = Bus()

    async def opened(self: Systemd) -> Bus:
        return bus

    monkeypatch.setattr(Systemd, "_open", opened)
    monkeypatch.setattr(manager, "state_of", lambda name, of_unit, of_service: object())
    return bus


async def test_those_who_ask_at_once_share_a_look_and_who_asks_later_gets_one_of_its_own(bus: Bus) -> None:
    systemd = Systemd(_Host())  # type: ignore[arg-type]
    first = [asyncio.create_task(systemd.state("shop@1.service")) for _ in range(3)]
    other = asyncio.create_task(systemd.state("shop@2.service"))
    await until(lambda: bus.asked == 4, "that 4 calls were made")
    later = asyncio.create_task(systemd.state("shop@1.service"))
    await until(lambda: bus.asked == 6, "that 6 calls were made")
    bus.answers.set()
    states = await asyncio.gather(*first, other, later)
    assert len({id(state) for state in states}) == 3
    assert bus.asked == 6
    assert states[0] is states[1] is states[2]


async def test_whoever_gives_up_takes_the_look_from_nobody(bus: Bus) -> None:
    systemd = Systemd(_Host())  # type: ignore[arg-type]
    impatient, patient = (asyncio.create_task(systemd.state("shop@1.service")) for _ in range(2))
    await until(lambda: bus.asked == 2, "that 2 calls were made")
    impatient.cancel()
    await asyncio.gather(impatient, return_exceptions=True)
    bus.answers.set()
    assert await patient is not None


class _Host:
    name = HERE
