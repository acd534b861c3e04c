"""Whether a host's instances can be reached: what the connection to the listener there says."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from longshore.doctor.finding import Finding
from longshore.doctor.ports import ports
from longshore.hosts.base import Host


class Listening:
    """A host with a listener that comes up."""

    name, address, listen = "host1", "10.0.0.5", "0.0.0.0"

    @asynccontextmanager
    async def lines(self, _script: str, place: str) -> AsyncIterator[AsyncIterator[bytes]]:
        async def said() -> AsyncIterator[bytes]:
            yield f"Listening on {place} as 3.".encode()

        yield said()


async def found(monkeypatch: pytest.MonkeyPatch, error: int) -> Finding:
    """What is found where connecting ends with this error."""

    async def refuse(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(asyncio, "open_connection", refuse)
    (finding,) = await ports(cast(Host, Listening()), (20000, 29999))
    return finding


async def test_a_connection_that_ends_as_soon_as_it_is_there_has_been_there(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = await found(monkeypatch, errno.ECONNRESET)
    assert (finding.level, finding.text) == ("ok", "instances can be reached: 10.0.0.5:29999 answers")


@pytest.mark.parametrize("error", [errno.ECONNREFUSED, errno.EHOSTUNREACH])
async def test_a_connection_that_is_refused_has_not(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    finding = await found(monkeypatch, error)
    assert finding.level == "fail"
    assert os.strerror(error) in finding.text
