"""What every kind of check of PROBES keeps."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import get_args, get_type_hints

import pytest

from longshore.drivers.base import Inspection
from longshore.health.probes import PROBES, Check, probe


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else can listen on it, and on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def gone() -> Inspection:
    return Inspection("exited", None, "pid 1 ended")


def test_the_kinds_of_a_check_are_those_registered() -> None:
    assert set(get_args(get_type_hints(Check)["kind"])) == PROBES.keys()


@pytest.mark.parametrize("kind", PROBES)
async def test_what_is_not_there_is_unhealthy_and_says_so(kind: str, closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}/"
    found = await probe(Check(kind, port=closed_port, url=url, inspect=gone))  # type: ignore[arg-type]
    assert not found.ok
    assert found.message.startswith(str(Check(kind, port=closed_port, url=url)))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", PROBES)
async def test_a_probe_can_be_cancelled(kind: str, closed_port: int) -> None:
    check = Check(kind, port=closed_port, url=f"http://127.0.0.1:{closed_port}/")  # type: ignore[arg-type]
    task = asyncio.create_task(probe(check))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
