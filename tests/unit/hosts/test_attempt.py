"""What is begun again after a lost connection, whoever tells of the loss."""

from __future__ import annotations

import pytest

from longshore.drivers.mock import MockWorld
from longshore.hosts import attempt
from longshore.hosts.base import HostUnreachable
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
