"""What is begun again after a lost connection, whoever tells of the loss."""

from __future__ import annotations

import asyncio
import time

import pytest

from longshore.drivers.mock import MockWorld
from longshore.hosts import attempt
from longshore.hosts.base import HostUnreachable
from longshore.hosts.losing import unless_lost
from support.far import FakeHost


@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset"), BrokenPipeError(), EOFError()])
async def test_a_socket_that_was_closed_in_between_is_a_lost_connection(error: Exception) -> None:
    tries: list[Exception] = [error]

    async def work() -> str:
        if tries:
            raise tries.pop()
        return "done"

    assert await attempt(FakeHost("a", "10.0.0.1", MockWorld()), work) == "done"  # type: ignore[arg-type]


async def test_one_that_never_holds_is_told_as_the_host_that_cannot_be_reached() -> None:
    async def work() -> str:
        raise ConnectionResetError(104, "reset")

    with pytest.raises(HostUnreachable, match="connection to host a was lost"):
        await attempt(FakeHost("a", "10.0.0.1", MockWorld()), work, bound_s=0.05)  # type: ignore[arg-type]


async def test_nothing_is_begun_on_a_host_that_has_been_lost_for_longer_than_that() -> None:
    world, begun = MockWorld(), list[str]()
    host = FakeHost("a", "10.0.0.1", world, lost_at=time.monotonic() - 60)
    host.lose()

    async def work() -> None:
        begun.append("it")

    with pytest.raises(HostUnreachable, match="host a has been out of reach for 60 s") as told:
        await attempt(host, work)  # type: ignore[arg-type]
    assert told.value.passing
    assert begun == []


async def test_one_that_is_back_is_worked_on_whenever_it_was_lost() -> None:
    async def work() -> str:
        return "done"

    lost_now = FakeHost("a", "10.0.0.1", MockWorld(), lost_at=time.monotonic())
    assert await attempt(lost_now, work) == "done"  # type: ignore[arg-type]


async def test_what_is_waited_for_is_given_up_with_the_patience_that_is_left() -> None:
    world = MockWorld()
    host = FakeHost("a", "10.0.0.1", world, lost_at=time.monotonic() - 60)
    world.lost.add("a")
    began = time.monotonic()
    with pytest.raises(HostUnreachable, match="has been out of reach"):
        await unless_lost(host, asyncio.sleep(60))  # type: ignore[arg-type]
    assert time.monotonic() - began < 5
